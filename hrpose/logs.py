"""Where messages go: `logging` to the console and to a run's log file; results go to stdout.

Modules say what they have to say with ``logging.getLogger(__name__)``. Their names begin with the package's,
so that only ours are shown: what libraries log below a warning is theirs. Worker processes of a build say
nothing here; what they have to say is in what they return.
"""

import contextlib
import logging
import sys
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

#: The packages whose messages are shown from the chosen level on; others' from WARNING on.
PACKAGES = ("hrpose", "records", "pipelines", "model", "nms", "evaluate", "train")

#: absl's --verbosity, as its help has it, to levels of `logging`.
LEVELS = {-3: logging.CRITICAL, -2: logging.ERROR, -1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG}

#: Messages kept for a log file that is not known yet.
_EARLY = 1000


class _Line(logging.Formatter):
    """A message as it is; what is worse than information says so, unless the message does."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        level = record.levelname.lower()
        if record.levelno >= logging.WARNING and not record.message.startswith(level):
            record.message = f"{level}: {record.message}"
        return super().formatMessage(record)


class _Console(logging.Handler):
    """Writes to standard error, above progress bars. A terminal that is gone ends nothing.

    Attributes:
        ours: where messages of ours go while standard error is held back; None for the same place.
        least: the level from which on messages of ours are shown.
    """

    ours: TextIO | None = None
    least = logging.INFO

    def emit(self, record: logging.LogRecord) -> None:
        ours = record.name.partition(".")[0] in PACKAGES
        if ours and record.levelno < self.least:
            return
        stream = (ours and self.ours) or sys.stderr
        if stream is None:  # closed by who started us; tqdm would take stdout
            return
        try:
            tqdm.write(self.format(record), file=stream)
        except OSError:
            # Where writing fails, tqdm's own lock stays held: bars in other threads would wait for ever.
            tqdm.set_lock(threading.RLock())
        except Exception:  # a message that cannot be formatted ends nothing either
            self.handleError(record)


class _Early(logging.Handler):
    """Keeps the last messages."""

    def __init__(self) -> None:
        super().__init__()
        self.records: deque[logging.LogRecord] = deque(maxlen=_EARLY)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class _File(logging.FileHandler):
    """Adds lines to a file. That a line cannot be written, as on a full disk, is said once."""

    _said = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        if not self._said:
            self._said = True
            logging.getLogger(__name__).warning("%s lacks lines: %s", self.baseFilename, sys.exc_info()[1])


_console, _early = _Console(), _Early()
_console.setFormatter(_Line())


def start(verbosity: int = 0) -> None:
    """Sends messages to the console, and keeps them for the log file of a run.

    Args:
        verbosity: absl's, a key of `LEVELS`.
    """
    root = logging.getLogger()
    _early.records.clear()
    for handler in (_console, _early):
        root.addHandler(handler)  # once, however often it is added
    set_level(LEVELS[verbosity])


def set_level(level: int) -> None:
    """From which level on messages of ours are shown. A log file has those from INFO on anyway."""
    _console.least = level
    for package in PACKAGES:
        logging.getLogger(package).setLevel(min(level, logging.INFO))


@contextlib.contextmanager
def ours_to(stream: TextIO) -> Iterator[None]:
    """Sends messages of ours to a stream while the body runs; libraries' go where they went."""
    before, _console.ours = _console.ours, stream
    try:
        yield
    finally:
        _console.ours = before


@contextlib.contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Keeps all messages of the process in a file too, those from before it was known first, and how it ends.

    Args:
        path: of the file, to which lines are added. That it cannot be written is said, and ends nothing.
    """
    root = logging.getLogger()
    root.removeHandler(_early)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _File(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        logging.getLogger(__name__).warning("%s cannot be written: %s", path, error.strerror or error)
        yield
        return
    handler.setFormatter(_Line("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    for record in _early.records:
        handler.handle(record)
    _early.records.clear()
    root.addHandler(handler)
    try:
        yield
    except BaseException as error:  # the console has it from who runs the command
        line = f"ended by {type(error).__name__}: {error}"
        handler.handle(logging.makeLogRecord({"msg": line, "levelno": logging.INFO, "levelname": "INFO"}))
        raise
    finally:
        root.removeHandler(handler)
        with contextlib.suppress(OSError):  # of what is not written yet
            handler.close()
