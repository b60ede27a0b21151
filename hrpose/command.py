"""How every command of the project parses its flags, shows its help and ends."""

import contextlib
import gc
import itertools
import math
import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TextIO

from absl import flags

from hrpose import logs
from hrpose.proxies import bypass_proxies

_HELP = ("--help", "-help", "-h", "--helpfull")

#: Flags of version 0.1 that have other names now.
_RENAMED = {
    "output_dir": ("run_dir",),
    "run": ("run_dir",),
    "accumulate": ("gradient_accumulation_steps",),
    "keep": ("max_to_keep",),
    "leave_out": ("skip_steps",),
    "people_per_shard": ("instances_per_shard",),
    "people": ("num_images",),
    "pictures": ("num_images", "images"),
    "picture": ("contact_sheet",),
    "boxes": ("detections",),
    "category": ("detection_category",),
    "batch": ("batch_size",),
}

#: What people write for a switch's value.
_WORDS = ("true", "false", "yes", "no", "on", "off", "0", "1", "t", "f", "y", "n")


class CommandError(Exception):
    """Something the user can cause and mend. The message says what was received, expected, and what to do."""

    exit_code = 1


class UsageError(CommandError):
    """The command was called wrongly."""

    exit_code = 2


def run(
    name: str,
    description: str,
    define_flags: Callable[[flags.FlagValues], None],
    main: Callable[..., int | None],
    argv: Sequence[str] | None = None,
    positional: Sequence[str] = (),
    after_dashes: bool = False,
) -> int:
    """Runs a command to its exit code, without a stack trace for anything the user can cause.

    Args:
        name: how the command is called, e.g. ``python train/main.py``.
        description: what ``--help`` says before the list of flags.
        define_flags: defines the command's flags in what it is given; every command has --verbosity too.
        main: function of the flags' values and of one more argument for each of `positional`. May return an
            exit code.
        argv: the arguments without the program's name; `sys.argv`'s by default.
        positional: what the arguments that are no flags are called in the help, e.g. ``("DIR",)``; each has
            to be given.
        after_dashes: whether arguments may follow after ``--``; main's last argument is the list of them.

    Returns:
        0, or main's exit code; 2 for a usage error, 1 for a failed run, 130 after Ctrl-C.
    """
    prepare_process()
    bypass_proxies()
    argv = list(sys.argv[1:] if argv is None else argv)
    split = argv.index("--") if "--" in argv else len(argv)
    own, rest = argv[:split], argv[split + 1 :]
    values = flags.FlagValues()
    define_flags(values)
    define_verbosity(values)
    # absl would take everything after the first argument that is no flag for such arguments.
    values.set_gnu_getopt(bool(positional))
    try:
        if any(argument in _HELP for argument in own):
            print(format_help(name, description, values, positional), flush=True)
            return 0
        given = values([name, *own])[1:]
        for flag in values:
            value = values[flag].value
            if isinstance(value, str) and value.startswith("~"):
                values[flag].value = _expanded(value)  # shells do not after --flag=
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"--{flag}={value}: expected a finite number")
        given = [_expanded(argument) for argument in given]
        if len(given) > len(positional):
            _explain_switches(own, values)
            other = "every other" if positional else "every"
            raise UsageError(f"unexpected argument {given[len(positional)]!r}: {other} option is a --flag")
        if len(given) < len(positional):
            raise UsageError(f"{positional[len(given)]} is missing\nTry {name} --help")
        if rest and not after_dashes:
            raise UsageError(f"nothing is expected after --, received {rest[0]!r}")
        logs.start(values["verbosity"].value or 0)
        return main(values, *given, *([rest] if after_dashes else [])) or 0
    except flags.Error as error:
        return _fail(name, f"{_explained(error, values)}\nTry {name} --help", UsageError.exit_code)
    except CommandError as error:
        return _fail(name, error, error.exit_code)
    except KeyboardInterrupt:
        return _fail(name, "interrupted", 130)
    except BrokenPipeError:  # the reader of our output has left, e.g. `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a folder that cannot be written, a full disk …
        return _fail(name, error, CommandError.exit_code)


def run_one_of(
    name: str,
    description: str,
    commands: Mapping[str, Callable[[Sequence[str]], int]],
    argv: Sequence[str] | None = None,
) -> int:
    """Runs the one of several commands that the first argument names.

    Args:
        name: how all of them are called, e.g. ``python model/weights.py``.
        description: what ``--help`` says; it names the commands.
        commands: {first argument: function of those after it, which calls `run` and returns its exit code}.
        argv: as for `run`.

    Returns:
        What the command does, as `run`; 2 if there is no such command.
    """
    prepare_process()
    word, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if word in commands:
        return commands[word](rest)
    names = "|".join(commands)
    if word in _HELP:
        text = textwrap.dedent(description).strip()
        usage = f"usage: {name} {names} [--flag=value ...]\n\n{text}\n\n{name} {names} --help says more"
        try:
            print(usage, flush=True)
        except OSError as error:
            return _fail(name, error, CommandError.exit_code)
        return 0
    received = f"received {word!r}" if word else "nothing is given"
    return _fail(name, f"{received}, expected {names}\nTry {name} --help", UsageError.exit_code)


def define_verbosity(values: flags.FlagValues) -> None:
    """Defines --verbosity, which every command has, on absl's scale."""
    flags.DEFINE_integer(
        "verbosity",
        0,
        "How much is said on the way: -1 warnings only, 0 what is done, 1 everything.",
        lower_bound=min(logs.LEVELS),
        upper_bound=max(logs.LEVELS),
        flag_values=values,
    )


def prepare_process() -> None:
    """Before anything is imported or printed: Keras on TensorFlow, and output that takes any text.

    Where the shell has closed standard error (``2>&-``), what is said goes nowhere, and no result into it.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the user has for other work
    if sys.stderr is None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.stderr = os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _expanded(path: str) -> str:
    """A path with the home folder in the place of ``~``; as it is if there is no such user."""
    return os.path.expanduser(path)  # noqa: PTH111 - pathlib would raise, and lose a store's slashes


def _explain_switches(arguments: Sequence[str], values: flags.FlagValues) -> None:
    """Raises UsageError for ``--flip_test False``, which absl takes for the switch and a stray word."""
    for argument, word in itertools.pairwise(arguments):
        flag = argument.lstrip("-")
        if argument.startswith("-") and flag in values and values[flag].boolean and word.lower() in _WORDS:
            raise UsageError(
                f"--{flag} {word}: a switch has no word after it; expected --{flag}, --no{flag} or "
                f"--{flag}={word.lower()}"
            )


def _explained(error: flags.Error, values: flags.FlagValues) -> str:
    """What absl says of a wrong flag, in words a user knows."""
    if isinstance(error, flags.UnrecognizedFlagError) and error.flagname in _RENAMED:
        others = [f"--{flag}" for flag in _RENAMED[error.flagname] if flag in values]
        return f"--{error.flagname} is called {' or '.join(others)} now" if others else str(error)
    found = re.match(r"flag --(\w+)=(.*?): ", str(error))
    if not found or found[1] not in values:
        return str(error)
    flag, text = found.groups()
    if "must have a value other than None" in str(error):
        return f"--{flag} is missing"
    if flag == "gpus" and re.fullmatch(r"\d+(,\d+)*", text):
        return (
            f"--gpus={text}: expected how many GPUs; the environment variable CUDA_VISIBLE_DEVICES chooses "
            "which"
        )
    if "invalid literal for int()" in str(error):
        return f"--{flag}={text}: expected a whole number"
    if "could not convert string to float" in str(error):
        return f"--{flag}={text}: expected a number"
    return str(error)


def _fail(name: str, message: object, exit_code: int) -> int:
    """Says why a command ends, and returns the exit code."""
    print(f"{name}: {message}", file=sys.stderr)
    return exit_code


@contextlib.contextmanager
def captured_stderr(foreseen: tuple[type[Exception], ...] = (CommandError,)) -> Iterator[TextIO]:
    """Holds back what native code, libraries and child processes write to standard error; our messages pass.

    It is shown only if the body fails in a way that nobody foresaw: TensorFlow greets with a dozen lines
    before any setting is read, and Beam's local workers report every step of their lives.

    Args:
        foreseen: exceptions that say all there is to say.

    Yields:
        A text stream to the real standard error, for what the user shall see meanwhile.
    """
    sys.stderr.flush()
    encoding = getattr(sys.stderr, "encoding", None)
    real_stderr = os.fdopen(os.dup(2), "w", encoding=encoding, errors="backslashreplace")
    with real_stderr as real, tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            with logs.ours_to(real):
                yield real
        except foreseen:
            raise
        except Exception:
            sys.stderr.flush()
            captured.seek(0)
            real.write(captured.read().decode(errors="replace"))
            raise
        finally:
            sys.stderr.flush()
            real.flush()
            os.dup2(real.fileno(), 2)


def import_tensorflow() -> None:
    """Imports TensorFlow and finds its devices, without its greeting."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    prepare_process()
    with captured_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()
    gc.freeze()  # modules stay: not looking through them again is a tenth of the time to build a network


def format_help(name: str, description: str, values: flags.FlagValues, positional: Sequence[str] = ()) -> str:
    """The text of ``--help``: the description and every flag in the order of definition."""
    usage = " ".join(["usage:", name, *positional, "[--flag=value ...]"])
    lines = [usage, "", textwrap.dedent(description).strip(), "", "flags:"]
    for module_flags in values.flags_by_module_dict().values():
        for flag in module_flags:
            choices = getattr(flag.parser, "enum_values", None)
            if flag.boolean:
                head = f"  --[no]{flag.name}"
            else:
                head = f"  --{flag.name}={'|'.join(choices) if choices else '...'}"
            default = (flag.default_as_str or "").strip("'")
            text = flag.help.split(">: ", 1)[-1] if choices else flag.help  # absl names the choices there
            text += f" (default: {default})" if default else ""
            lines += [head, textwrap.fill(text, 100, initial_indent=" " * 8, subsequent_indent=" " * 8)]
    return "\n".join(lines)
