"""What says what converted annotations were made of, and how both come to stand where they belong."""

import contextlib
import errno
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from apache_beam.io.filesystems import FileSystems

from pipelines.errors import BuildError
from pipelines.exchange import exchange
from pipelines.storage import PARTIAL, discard, exists, list_files, read_json_if_there, remove_folder

RECORD = "conversion.json"

#: Inside annotations/: what is converted until all of it is there.
WORK_FOLDER = ".conversion"


@contextlib.contextmanager
def hint_at_another_folder(directory: str) -> Iterator[None]:
    """Says what to do where nothing can be written.

    Raises:
        BuildError: for storage that is read-only, or that somebody else owns.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        raise BuildError(
            f"{directory} cannot be written ({error.strerror}); --annotations_dir says where the converted "
            "annotations go instead"
        ) from error


def finish_exchange(directory: str, paths: Mapping[str, str], obsolete: Sequence[str] = ()) -> None:
    """Puts whole files of a conversion in their places, if there are any; those of others' hands go then.

    Args:
        directory: the folder annotations/.
        paths: {split: where its file goes}.
        obsolete: paths of files that go.
    """
    made = FileSystems.join(directory, WORK_FOLDER)
    record, waiting = read_record(FileSystems.join(made, RECORD)), list_files(made)
    if record:
        names = {PurePath(paths[split]).name for split in record["files"] if split in paths}
        gone = [PurePath(path).name for path in obsolete]
        exchange(made, directory, sorted(names & waiting.keys()), (), RECORD, gone)
        left = [name for name in list_files(directory) if name != RECORD and PARTIAL.sub("", name) == RECORD]
        discard(FileSystems.join(directory, name) for name in left)
    if exists(made):
        remove_folder(made)


#: What version 0.1 called some fields.
_EARLIER_NAMES = {"left_out": "filtered", "unreadable_pictures": "unreadable_images"}


def read_record(path: str) -> dict[str, Any] | None:
    """The parsed `conversion.json`; None if there is none that can be used."""
    try:
        record = read_json_if_there(path)
    except ValueError:
        return None
    if isinstance(record, dict):
        record = {_EARLIER_NAMES.get(name, name): value for name, value in record.items()}
    types = {"origin": dict, "files": dict, "filtered": dict, "unreadable_images": int}
    good = isinstance(record, dict) and all(isinstance(record.get(key), kind) for key, kind in types.items())
    return record if good else None
