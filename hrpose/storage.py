"""Paths on this host or in a cloud's store, and copies of the latter's shards for TensorFlow."""

import contextlib
import hashlib
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

from hrpose.atomic_files import write_whole
from hrpose.command import CommandError, UsageError

#: Shards that are copied at the same time; each is held in memory.
_COPIES = 8

#: A path, which a flag may leave out.
Given = TypeVar("Given", str, str | None)


def is_remote(path: Path | str) -> bool:
    """Whether a path is one of a store such as ``gs://bucket/folder``."""
    return "://" in str(path)


FOLDER = "a folder"

#: What a path can be besides a file, and how to tell from its mode.
_IRREGULAR = {
    stat.S_ISDIR: FOLDER,
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def irregular_kind(path: Path | str) -> str | None:
    """What stands at a path that is no regular file, such as "a pipe"; None if it is one, or is not there.

    Whoever opens what a user names asks this first: a pipe is waited for until somebody writes into it, a
    device may be read for ever. Of a store's paths there is nothing to ask.
    """
    if is_remote(path):
        return None
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):  # no such path, or none that can be: whoever opens it says so
        return None
    return next((kind for test, kind in _IRREGULAR.items() if test(mode)), None)


def path_of(text: Path | str) -> Path:
    """A `pathlib.Path`, ``~`` expanded; for a store's what stands for one, a `upath.UPath` that fsspec opens.

    Raises:
        CommandError: if the packages for such paths are not installed.
    """
    if not is_remote(text):
        return Path(os.path.expanduser(text))  # noqa: PTH111 - Path's own raises where there is no such user
    # gcsfs would otherwise ask what kind of bucket it is, by another interface that no emulator has, and log
    # a stack trace of everything that it raises anyway.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    try:
        from upath import UPath

        return UPath(text)
    except ImportError as error:
        raise CommandError(_not_installed(text, error)) from error
    except ValueError as error:
        raise CommandError(f"{text}: {error}; expected a path on this host or gs://bucket/folder") from error


def absolute(path: Path | str) -> str:
    """A path as text that means the same from every working directory."""
    return str(path) if is_remote(path) else str(Path(path).resolve())


def local_only(path: Given, flag: str) -> Given:
    """`path`, unless it is a store's.

    Raises:
        UsageError: naming the flag that gave it.
    """
    if path is not None and is_remote(path):
        raise UsageError(f"--{flag}={path}: expected a folder on this host; what is read may be in a store")
    return path


@contextlib.contextmanager
def remote_errors(path: Path | str) -> Iterator[None]:
    """Makes one clear line of whatever a store's library raises while the body reads from it.

    A file that is not there stays a FileNotFoundError, and so does everything on this host.

    Args:
        path: what is read.

    Raises:
        CommandError: for anything else but one.
    """
    try:
        yield
    except (CommandError, FileNotFoundError):
        raise
    except Exception as error:  # every store's library has exceptions of its own
        if not is_remote(path):
            raise
        if isinstance(error, ImportError):
            raise CommandError(_not_installed(path, error)) from error
        said = " ".join(str(error).split())[:300]
        raise CommandError(
            f"{path} cannot be read ({type(error).__name__}: {said}); for gs:// credentials come from "
            "`gcloud auth application-default login` or GOOGLE_APPLICATION_CREDENTIALS"
        ) from error


def _not_installed(path: Path | str, error: ImportError) -> str:
    return f"{path} needs packages that are not installed ({error}): pip install -r requirements-cloud.txt"


def file_sizes(folder: Path | str) -> dict[str, int]:
    """The files of a folder, with one request: {name: size in bytes}; empty if there is no such folder."""
    folder = path_of(folder)
    try:
        if is_remote(folder):
            store: Any = folder  # a UPath
            found = store.fs.ls(str(folder), detail=True, refresh=True)
            return {Path(entry["name"]).name: entry["size"] for entry in found if entry["type"] == "file"}
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    sizes = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            if path.is_file():
                sizes[path.name] = path.stat().st_size
    return sizes


def copies_folder() -> Path:
    """Where copies of stores' shards stand: below ``$XDG_CACHE_HOME``, by default ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hrpose" / "records"


class _ShardFile(Protocol):
    """What is known of a shard: file name, size in bytes, SHA-256."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...


class _Build(Protocol):
    """What `local_folder` has to know of a build; `records.manifest.Manifest` does."""

    @property
    def fingerprint(self) -> str: ...
    @property
    def shards(self) -> Sequence[_ShardFile]: ...


def local_folder(folder: Path | str, manifest: _Build, missing_ok: bool = False) -> Path | str:
    """A folder on this host with a build's shards: copies of them if they stand in a store.

    TensorFlow opens `gs://` only with Google's own servers and most other stores not at all, and every epoch
    reads all shards again. So they are copied once, each when it is not there yet. The folder is called by
    the shards' SHA-256s, so that other records get other copies; it may be removed while nothing reads it.

    Args:
        folder: of one build.
        manifest: the build's.
        missing_ok: whether to leave out shards that the store does not have, or has damaged.

    Returns:
        `folder` itself if it is on this host, else a `Path`.

    Raises:
        CommandError: if the store cannot be read, or a shard's SHA-256 is not the manifest's.
    """
    if not is_remote(folder):
        return folder
    source, copies = path_of(folder), copies_folder() / manifest.fingerprint
    there = file_sizes(copies)
    missing = [shard for shard in manifest.shards if there.get(shard.name) != shard.size]

    def copy(shard: _ShardFile) -> None:
        try:
            with remote_errors(source / shard.name):
                content = (source / shard.name).read_bytes()
        except FileNotFoundError:
            content = b""
        if hashlib.sha256(content).hexdigest() == shard.sha256:
            write_whole(copies / shard.name, content)
        elif not missing_ok:
            raise CommandError(
                f"{source / shard.name} is not what the manifest beside it says; python records/check.py "
                f"{folder} says more, and build_records.py --overwrite builds it again"
            )

    if missing:
        copies.mkdir(parents=True, exist_ok=True)
        with (
            ThreadPoolExecutor(_COPIES) as pool,
            tqdm(pool.map(copy, missing), f"copy {folder}", len(missing), unit=" shards", delay=2) as bar,
        ):
            for _ in bar:
                pass
    return copies
