"""One writer of a folder at a time: two would write the same files."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from hrpose.command import CommandError

try:
    import fcntl
except ImportError:  # Windows
    _CAN_LOCK = False
else:
    _CAN_LOCK = True

log = logging.getLogger(__name__)


@contextlib.contextmanager
def only_one(
    folder: Path | str, what: str, instead: str = "wait until it is done, or end it"
) -> Iterator[None]:
    """Holds the lock of a folder while the body runs; the folder is made if it is not there.

    The lock is the kernel's (flock of the file ``lock`` in the folder), so it ends with the process, whatever
    ends that; the file stays. Windows, and file systems that know no locks, go without.

    Args:
        folder: that only one may write.
        what: of which there may be one, in words: "evaluation of this name".
        instead: what the user can do if there is another.

    Raises:
        CommandError: if another process, or another holder in this one, has the lock, or the folder cannot be
            made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("ab")
    except OSError as error:
        raise CommandError(
            f"{folder} cannot be used as a folder to write in: {error.strerror or error}; if something else "
            "has this name, such as a link that leads nowhere, remove it"
        ) from error
    with file:
        if _CAN_LOCK:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CommandError(f"another {what} is running: {folder}; {instead}") from error
            except OSError as error:
                log.warning(
                    "%s cannot be locked (%s); see to it that no other %s runs", folder, error.strerror, what
                )
        yield
