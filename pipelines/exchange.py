"""Files that were made beside others, to take their place: by steps that may end at any of them.

What replaces something is made whole in a folder of its own first. The last file there is the *seal*, which
says what belongs together; from then on the exchange only moves files, and done again it goes on where it
was ended. Until the last step readers find the earlier files, or no seal: never a mixture of both under one.
"""

from collections.abc import Iterable, Sequence

from apache_beam.io.filesystems import FileSystems

from pipelines.storage import discard, list_files, move, read_if_there, write_whole


def exchange(
    made: str,
    folder: str,
    parts: Sequence[str],
    labels: Sequence[str],
    seal: str,
    obsolete: Iterable[str] = (),
) -> None:
    """Puts what was made in the place of what stands in a folder.

    Args:
        made: the folder where it was made; what is not there any more has been moved by an earlier call.
        folder: where it goes.
        parts: names of the files of which no mixture may be read.
        labels: names of further files, which describe the parts; each may be missing.
        seal: name of the file without which nobody reads the others.
        obsolete: names of files that the earlier seal needs and the new one does not.
    """
    content = read_if_there(FileSystems.join(made, seal))
    waiting, standing = list_files(made), list_files(folder)
    fresh = [name for name in parts if name in waiting and name not in standing]
    replacing = [name for name in parts if name in waiting and name in standing]
    move(fresh, made, folder)
    if replacing:
        discard(FileSystems.join(folder, name) for name in (seal, *labels))
        move(replacing, made, folder)
    move([name for name in labels if name in waiting], made, folder)
    write_whole(FileSystems.join(folder, seal), content or b"")
    discard(FileSystems.join(folder, name) for name in obsolete)
    discard([FileSystems.join(made, seal)])  # what says that there is something to exchange
