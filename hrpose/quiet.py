"""Silence from native code that writes past Python to standard error."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


def prepare_process() -> None:
    """Before anything is imported or printed: Keras on TensorFlow, and output that takes any text."""
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the user has for other work
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def quiet_stderr(expected: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Holds back what is written to standard error; shows it only if the body raises.

    Args:
        expected: exception types whose message says enough, so that nothing is shown for them.
    """
    sys.stderr.flush()
    with os.fdopen(os.dup(2), "wb") as real, tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        except expected:
            raise
        except Exception:
            sys.stderr.flush()
            captured.seek(0)
            real.write(captured.read())
            raise
        finally:
            sys.stderr.flush()
            real.flush()
            os.dup2(real.fileno(), 2)
