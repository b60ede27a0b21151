"""Where messages go: `logging` to the console and to a run's log file; results go to stdout.

Modules say what they have to say with ``logging.getLogger(__name__)``. Their names begin with the package's,
so that only ours are shown: what libraries log below a warning is theirs.
"""

import contextlib
import logging
import logging.handlers
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

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
    """Writes to standard error, above progress bars. A terminal that is gone ends nothing."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except OSError:
            # Where writing fails, tqdm's own lock stays held: bars in other threads would wait for ever.
            tqdm.set_lock(threading.RLock())


_early = logging.handlers.MemoryHandler(_EARLY, flushLevel=logging.CRITICAL + 1, flushOnClose=False)


def start(verbosity: int = 0) -> None:
    """Sends messages to the console, and keeps them for the log file of a run.

    Args:
        verbosity: absl's, a key of `LEVELS`.
    """
    root = logging.getLogger()
    for handler in (*root.handlers,):
        root.removeHandler(handler)
    console = _Console()
    console.setFormatter(_Line())
    _early.buffer.clear()
    root.addHandler(console)
    root.addHandler(_early)
    root.setLevel(logging.WARNING)
    for package in PACKAGES:
        logging.getLogger(package).setLevel(LEVELS[verbosity])


@contextlib.contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Keeps all messages of the process in a file too, those from before it was known first.

    Args:
        path: of the file, to which lines are added. That it cannot be written is said, and ends nothing.
    """
    root = logging.getLogger()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        logging.getLogger(__name__).warning("%s cannot be written: %s", path, error.strerror or error)
        yield
        return
    handler.setFormatter(_Line("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    _early.setTarget(handler)
    _early.flush()
    _early.setTarget(None)
    root.removeHandler(_early)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
