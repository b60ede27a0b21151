"""How a command parses its flags, ends, and shows its help."""

import logging

import pytest
from absl import flags

from hrpose import logs
from hrpose.command import CommandError, UsageError, run, run_one_of

log = logging.getLogger("train.test")


@pytest.fixture(autouse=True)
def quiet_again():
    """What a test has set up does not outlive it."""
    yield
    logs.start()


def define(values):
    flags.DEFINE_string("to", None, "Where to.", flag_values=values)
    flags.DEFINE_integer("count", 1, "How many.", flag_values=values)
    flags.DEFINE_bool("loud", False, "Whether.", flag_values=values)
    flags.mark_flag_as_required("to", flag_values=values)


def command(*argv, main=lambda values: None, **options):
    return run("python a.py", "Does it.", define, main, argv, **options)


def test_main_has_the_flags_what_comes_after_dashes_and_what_is_no_flag():
    seen = []

    def main(values, first, second, rest):
        seen.append((values.to, values.count, rest, first, second))
        return 7

    assert (
        command(
            "one",
            "--to=x",
            "two",
            "--count=2",
            "--",
            "--y",
            main=main,
            positional=("A", "B"),
            after_dashes=True,
        )
        == 7
    )
    assert seen == [("x", 2, ["--y"], "one", "two")]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "--to is missing"),
        (["--to=x", "--count=many"], "--count=many: expected a whole number"),
        (["--to=x", "other"], "unexpected argument 'other': every option is a --flag"),
        (["--to=x", "--loud", "no"], "--loud no: a switch has no word after it"),
        (["--to=x", "--lod"], "Unknown command line flag 'lod'"),
        (["--to=x", "--people=3"], "Unknown command line flag 'people'"),
        (["--to=x", "--", "--y"], "nothing is expected after --, received '--y'"),
        (["--to=x", "--verbosity=2"], "verbosity"),
        (["--to=x", "--verbosity=all"], "--verbosity=all: expected a whole number"),
    ],
)
def test_wrong_usage_is_one_line_and_2(capsys, argv, said):
    assert command(*argv) == 2
    assert capsys.readouterr().err.splitlines()[0].startswith("python a.py: ")
    assert command(*argv) == 2
    assert said in capsys.readouterr().err


def test_a_flag_of_the_first_version_is_told_its_name_of_today(capsys):
    def define_today(values):
        flags.DEFINE_string("run_dir", None, "The run's folder.", flag_values=values)

    assert run("python a.py", "", define_today, lambda values: None, ["--output_dir=x"]) == 2
    assert "python a.py: --output_dir is called --run_dir now\n" in capsys.readouterr().err


class OwnError(CommandError):
    pass


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OwnError("bad; do this"), 1, "python a.py: bad; do this\n"),
        (UsageError("--to=x: no"), 2, "python a.py: --to=x: no\n"),
        (OSError(28, "No space left on device"), 1, "python a.py: [Errno 28] No space left on device\n"),
        (KeyboardInterrupt(), 130, "python a.py: interrupted\n"),
    ],
)
def test_what_a_user_can_cause_is_one_line(capsys, error, code, said):
    def main(values):
        raise error

    assert command("--to=x", main=main) == code
    assert capsys.readouterr().err == said


def test_a_defect_shows_where_it_is():
    def main(values):
        raise KeyError("defect")

    with pytest.raises(KeyError):
        command("--to=x", main=main)


@pytest.mark.parametrize(
    ("flag", "said"), [((), ["info"]), (("--verbosity=1",), ["debug", "info"]), (("--verbosity=-1",), [])]
)
def test_every_command_says_as_much_as_was_asked_for(capsys, flag, said):
    def main(values):
        log.debug("debug")
        log.info("info")
        print("result")

    assert command("--to=x", *flag, main=main) == 0
    shown = capsys.readouterr()
    assert shown.err.splitlines() == said
    assert shown.out == "result\n"


def test_help_has_every_flag_and_verbosity(capsys):
    assert command("--help") == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: python a.py [--flag=value ...]\n\nDoes it.\n\nflags:\n  --to=...\n")
    assert "  --verbosity=...\n" in text


def words(*argv):
    def copy(rest):
        return run("python a.py copy", "Copies.", define, lambda values: 5, rest)

    def show(rest):
        return run("python a.py show", "Shows.", lambda values: None, print_file, rest, ("FILE",))

    commands = {"copy": copy, "show": show}
    return run_one_of("python a.py", "Copies or shows.\n\n  copy  copies", commands, argv)


def print_file(values, file):
    print(file)


def test_the_first_word_chooses_a_command_of_its_own_flags(capsys):
    assert words("copy", "--to=x") == 5
    assert words("show", "x.bin") == 0
    assert capsys.readouterr().out == "x.bin\n"
    assert words("copy") == 2
    assert "python a.py copy: --to is missing" in capsys.readouterr().err
    assert words("copy", "--help") == 0
    assert capsys.readouterr().out.startswith("usage: python a.py copy [--flag")


@pytest.mark.parametrize(
    ("argv", "said"),
    [((), "nothing is given"), (("delete",), "received 'delete'"), (("--to=x",), "received '--to=x'")],
)
def test_no_such_word_is_wrong_usage_and_names_those_there_are(capsys, argv, said):
    assert words(*argv) == 2
    assert capsys.readouterr().err == f"python a.py: {said}, expected copy|show\nTry python a.py --help\n"


def test_help_without_a_word_names_them(capsys):
    assert words("--help") == 0
    assert capsys.readouterr().out.startswith("usage: python a.py copy|show [--flag=value ...]\n\nCopies or")
