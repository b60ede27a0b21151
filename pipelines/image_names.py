"""From the names that annotations give images to paths inside the image folder."""

import re
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from apache_beam.io.filesystems import FileSystems

from pipelines.errors import UnusableImageError
from pipelines.instances import AnnotatedImage
from pipelines.storage import exists

#: How a path begins that means something on one computer only; and how one is written in an address.
_ABSOLUTE = re.compile(r"/|[A-Za-z]:/|[a-z][a-z0-9+.-]*://")
_IN_ADDRESS = re.compile(r"\?d=([^&]+)$")


def locate_image(folder: str, file_name: str, name_prefix: str = "", follow_links: bool = False) -> str:
    """The path of an image inside the image folder.

    The folder itself may be a link; the image must not lead out of it, neither by name nor, unless asked
    for, by a link. In a store, where asking costs as much as opening, it need not be there; on this host
    it is.

    Args:
        folder: the image folder.
        file_name: as the annotations have it.
        name_prefix: what it begins with that is not part of the path below the folder.
        follow_links: whether links may lead out of the folder, as those of DVC, git-annex and the caches of
            Hugging Face do.

    Raises:
        UnusableImageError: if there is none there.
    """
    name = file_name.replace("\\", "/")
    if not name.startswith(name_prefix):
        raise UnusableImageError("missing_image", f"{file_name!r} does not begin with {name_prefix!r}")
    parts = name[len(name_prefix) :].split("/")
    if ".." in parts or parts[0] in ("", "~"):
        raise UnusableImageError("unsafe_path", f"{file_name!r} leaves the image folder")
    path = FileSystems.join(folder, *parts)
    if FileSystems.get_scheme(folder):
        if not _is_object_name(path):
            raise UnusableImageError("missing_image", f"{file_name!r} is no name that a store allows")
        return path
    if not FileSystems.exists(path):
        raise UnusableImageError("missing_image", path)
    if not follow_links and not Path(path).resolve().is_relative_to(Path(folder).resolve()):
        detail = f"{path} is a link that leaves the image folder; --follow_links follows such links"
        raise UnusableImageError("unsafe_path", detail)
    return path


def _is_object_name(path):
    """Whether a store can have such a path: UTF-8 of up to 1024 bytes without line ends.

    Cloud Storage's rule ("Object name requirements" in its documentation), with the bucket's name counted
    too; to ask for another name is an error there.
    """
    try:
        return len(path.encode()) <= 1024 and not set("\r\n") & set(path)
    except UnicodeEncodeError:
        return False


def match_names(images: Iterable[AnnotatedImage], folder: str) -> list[AnnotatedImage]:
    """Gives images whose names are no paths below the image folder the names of the files meant there.

    An absolute path inside the folder becomes the path below it. Where the annotations were made on another
    computer (``C:\\Users\\me\\a.jpg``, ``/data/local-files/?d=a.jpg``, ``photos/a.jpg`` where no photos are)
    or write names as addresses do (``a%20b.jpg``), it is the longest end of the path that is there, if no
    other name means the same file. A name with "..", and an absolute one of what is on this host but
    elsewhere, stay what they are.

    Args:
        folder: the image folder.

    Returns:
        A list of `AnnotatedImage`, in the same order.

    Warns:
        UserWarning: once for the names that were taken for others, once for those that could be several.
    """
    places = _Places(folder)
    meant = {image.file_name: image.file_name for image in images}
    guesses = {}
    for name in meant:
        path = _as_path(name)
        below = places.below(path)
        if below is not None:
            meant[name] = below
        elif places.is_of_elsewhere(path):
            found = next(filter(places.holds, _ends(path)), None)
            if found is not None:
                guesses[name] = found
    several = Counter({**meant, **guesses}.values())
    taken = {name: found for name, found in guesses.items() if several[found] == 1}
    unclear = {name: found for name, found in guesses.items() if several[found] > 1}
    for names, what in (
        (taken, "taken for the files there that are called alike"),
        (unclear, "not taken for files there, because several names could mean the same"),
    ):
        if names:
            example = min(names)
            warnings.warn(
                f"{len(names):,} file names are no paths below {folder} and were {what}, for example "
                f"{example!r} and {names[example]!r}",
                stacklevel=2,
            )
    meant |= taken
    return [
        image
        if meant[image.file_name] == image.file_name
        else replace(image, file_name=meant[image.file_name])
        for image in images
    ]


class _Places:
    """What is where in an image folder, asked as rarely as can be."""

    def __init__(self, folder):
        self._folder = folder
        self._remote = bool(FileSystems.get_scheme(folder))
        self._root = folder.rstrip("/") if self._remote else str(Path(folder).absolute())
        self._real_root = None if self._remote else Path(folder).resolve()
        self._folders = {"": True}
        self._real_parents = {}

    def below(self, path):
        """The path below the folder of an absolute one inside it; None for any other."""
        rest = path.removeprefix(f"{self._root}/")
        if rest != path and ".." not in rest.split("/"):
            return rest.lstrip("/")
        if self._remote or not path.startswith("/"):
            return None
        parent, _, name = path.rpartition("/")
        if parent not in self._real_parents:
            try:
                self._real_parents[parent] = Path(parent or "/").resolve()
            except (OSError, ValueError, RuntimeError):  # no path that can be, or one in circles
                self._real_parents[parent] = Path("/")
        real = self._real_parents[parent]
        return (real / name).relative_to(self._real_root).as_posix() if self._contains(real) else None

    def _contains(self, real):
        return real.is_relative_to(self._real_root)

    def is_of_elsewhere(self, path):
        """Whether a path cannot be one below the folder, and may be one of another computer."""
        if {"..", "~"} & set(path.split("/")) or not path:
            return False
        if _ABSOLUTE.match(path):
            # Of an address, "://", there is nothing to ask, and a scheme may be one that Beam does not know.
            return self._remote or "://" in path or not FileSystems.exists(path)
        parent = path.rpartition("/")[0]
        if parent not in self._folders:
            self._folders[parent] = self._is_there(parent, exists)
        return not self._folders[parent] or ("%" in path and not self.holds(path))

    def holds(self, path):
        """Whether a path below the folder is there."""
        return self._is_there(path, FileSystems.exists)

    def _is_there(self, path, ask):
        path = FileSystems.join(self._folder, *path.split("/"))
        return (not self._remote or _is_object_name(path)) and ask(path)


def _as_path(name):
    """A file name with slashes only, of a local file's address its path."""
    return name.replace("\\", "/").removeprefix("file://")


def _ends(path):
    """What a path of another computer may be called below the image folder: its ends, the longest first."""
    in_address = _IN_ADDRESS.search(path)
    paths = [in_address[1]] if in_address else [path]
    if "%" in path:
        paths.append(_as_path(unquote(paths[0])))
    for one in paths:
        parts = [part for part in one.split("/") if part not in ("", ".")]
        if ".." not in parts:
            yield from ("/".join(parts[start:]) for start in range(len(parts)))
