"""Messages on the console, above progress bars, and in a run's log file."""

import logging
import os
import subprocess
import sys
import threading

import pytest
from tqdm import tqdm

from hrpose import logs
from tests.helpers.shared import ROOT

ours, theirs = logging.getLogger("train.somewhere"), logging.getLogger("a_library.somewhere")


def say_all():
    for log in (ours, theirs):
        for level in ("debug", "info", "warning", "error"):
            getattr(log, level)("%s of %s", level, log.name.split(".")[0])


@pytest.fixture(autouse=True)
def quiet_again():
    """What a test has set up does not outlive it."""
    yield
    logs.start()


THEIRS = ["warning of a_library", "error of a_library"]


@pytest.mark.parametrize(
    ("verbosity", "said"),
    [
        (1, ["debug of train", "info of train", "warning of train", "error of train"]),
        (0, ["info of train", "warning of train", "error of train"]),
        (-1, ["warning of train", "error of train"]),
        (-2, ["error of train"]),
        (-3, []),
    ],
)
def test_of_our_messages_those_are_shown_that_were_asked_for_of_libraries_warnings(capsys, verbosity, said):
    logs.start(verbosity)
    say_all()
    shown = capsys.readouterr()
    assert shown.err.splitlines() == said + THEIRS
    assert shown.out == ""


def test_a_message_is_a_line_as_it_is_and_a_warning_says_that_it_is_one(capsys):
    logs.start()
    ours.info("epoch %d: loss %g", 1, 0.5)
    ours.warning("no weights")
    ours.warning("warning: said already")
    assert capsys.readouterr().err == "epoch 1: loss 0.5\nwarning: no weights\nwarning: said already\n"


def test_starting_twice_says_nothing_twice(capsys):
    logs.start()
    logs.start()
    ours.info("once")
    assert capsys.readouterr().err == "once\n"


def test_a_log_file_has_what_the_console_has_from_the_start_with_the_time(tmp_path, capsys):
    logs.start()
    ours.info("before")
    path = tmp_path / "log/train.log"
    with logs.log_file(path):
        ours.info("within")
        theirs.warning("of a library")
    ours.info("after")
    with logs.log_file(path):
        ours.info("again")
    lines = path.read_text().splitlines()
    assert [line[20:] for line in lines] == ["before", "within", "warning: of a library", "again"]
    assert all(line[4] == line[7] == "-" and line[13] == line[16] == ":" for line in lines)
    assert capsys.readouterr().err.splitlines() == [
        "before",
        "within",
        "warning: of a library",
        "after",
        "again",
    ]


def test_not_more_than_a_thousand_messages_wait_for_a_log_file(tmp_path, capsys):
    logs.start()
    for number in range(2500):
        ours.info("%d", number)
    with logs.log_file(tmp_path / "log"):
        pass
    lines = (tmp_path / "log").read_text().splitlines()
    assert [int(line[20:]) for line in lines] == list(range(1500, 2500))


def test_a_log_file_that_cannot_be_made_is_warned_of(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    logs.start()
    with logs.log_file(tmp_path / "file/log"):
        ours.info("goes on")
    said = capsys.readouterr().err.splitlines()
    assert said == [f"warning: {tmp_path / 'file/log'} cannot be written: File exists", "goes on"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")  # noqa: PTH110
def test_a_full_disk_is_said_once_and_ends_nothing(tmp_path, capsys):
    (tmp_path / "log").symlink_to("/dev/full")
    logs.start()
    with logs.log_file(tmp_path / "log"):
        ours.info("one")
        ours.info("two")
    lacks = f"warning: {tmp_path / 'log'} lacks lines: [Errno 28] No space left on device"
    assert sorted(capsys.readouterr().err.splitlines()) == ["one", "two", lacks]


def test_a_terminal_that_is_gone_ends_nothing_and_leaves_no_lock(monkeypatch):
    class Gone:
        def write(self, text):
            raise OSError(5, "Input/output error")

        def flush(self):
            pass

    logs.start()
    with monkeypatch.context() as context:
        context.setattr(sys, "stderr", Gone())
        ours.info("to nobody")
    free = []
    other = threading.Thread(target=lambda: free.append(tqdm.get_lock().acquire(timeout=5)), daemon=True)
    other.start()
    other.join(10)
    assert free == [True]
    tqdm.set_lock(threading.RLock())


def test_without_standard_error_nothing_goes_to_the_results():
    code = "import logging\nfrom hrpose import logs\nlogs.start()\nlogging.getLogger('train').info('lost')"
    command = f'"{sys.executable}" -c "$CODE" 2>&-'
    ran = subprocess.run(
        ["/bin/sh", "-c", command], cwd=ROOT, env=os.environ | {"CODE": code}, capture_output=True, timeout=60
    )
    assert (ran.returncode, ran.stdout) == (0, b"")


HELD = """
import logging, os, sys
from hrpose import logs
from hrpose.command import captured_stderr
logs.start()
with captured_stderr():
    logging.getLogger("train").info("ours")
    logging.getLogger("library").warning("theirs")
    os.write(2, b"native code\\n")
    if sys.argv[1:]:
        raise KeyError("a defect")
logging.getLogger("train").info("after")
"""


def test_while_standard_error_is_held_back_our_messages_pass_and_a_defect_shows_all():
    def said(*arguments):
        command = [sys.executable, "-c", HELD, *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60).stderr

    assert said() == "ours\nafter\n"
    assert said("fail").startswith("ours\nwarning: theirs\nnative code\nTraceback")


def test_a_log_file_has_what_is_not_shown_and_how_the_process_ended(tmp_path, capsys):
    @logs.log_file(tmp_path / "train.log")
    def train():
        logging.getLogger("train.loop").info("epoch 1")
        raise ValueError("a stone in the way")

    logs.start(-1)
    with pytest.raises(ValueError, match="a stone"):
        train()
    assert capsys.readouterr().err == ""
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["epoch 1", "ended by ValueError: a stone in the way"]
