"""One evaluation of a name at a time: two would write the same files."""

import contextlib
from pathlib import Path

from records.command import CommandError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def only_one(folder, say):
    """Holds the lock of a folder while the body runs; the folder is made if it is not there.

    The lock is the kernel's (flock of the file ``lock`` in the folder), so it ends with the process, whatever
    ends that; the file stays. Windows, and file systems that know no locks, go without.

    Args:
        folder: of the parts of one evaluation.
        say: function of a line for the user.

    Raises:
        CommandError: if another process, or another evaluation in this one, holds the lock, or the folder
            cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("ab")
    except OSError as error:
        raise CommandError(
            f"{folder}, the folder for the parts, cannot be used: {error.strerror or error}; if something "
            "else has this name, such as a link that leads nowhere, remove it"
        ) from error
    with file:
        if fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CommandError(
                    f"another evaluation of this name is running: {folder.name}; wait until it is done, or "
                    "end it"
                ) from error
            except OSError as error:
                say(
                    f"note: {folder} cannot be locked ({error.strerror}); see to it that no other evaluation "
                    "of this name runs"
                )
        yield
