"""What the project says while something runs."""

import contextlib
import logging

from hrpose.logs import PACKAGES


class _Lines(logging.Handler):
    def __init__(self, lines):
        super().__init__()
        self._lines = lines

    def emit(self, record):
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        self._lines.append(level + record.getMessage())


@contextlib.contextmanager
def messages(lines):
    """Adds what our packages say while the body runs to a list, as the console shows it."""
    handler, loggers = _Lines(lines), [logging.getLogger(name) for name in PACKAGES]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
