"""Sizes of images from the headers of their files, where annotations do not state them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import imagesize
from apache_beam.io.filesystems import FileSystems

from hrpose.storage import irregular_kind
from pipelines.errors import UnusableImageError
from pipelines.exif import decode
from pipelines.image_names import locate_image
from pipelines.instances import AnnotatedImage
from pipelines.storage import FETCHED, open_if_there

#: Pixels, PNG's limit (ISO/IEC 15948, 7.1); more is a damaged header.
_LARGEST_SIDE = 2**31 - 1

_JPEG = b"\xff\xd8"


def header_sizes(
    folder: str | Path, name_prefix: str = "", upright: bool = False
) -> Callable[[str], tuple[int, int] | None]:
    """A function that reads an image's size from its header.

    Links are followed wherever they lead: whether such an image is taken is decided when it is to be cut,
    and what is converted from a release stays the same.

    Args:
        folder: the image folder, on any file system Beam knows.
        name_prefix: what file names begin with that is not part of the path below it.
        upright: whether it is the size once the image is turned as its EXIF orientation says.

    Returns:
        Function: file name -> (width, height) in pixels; None for an image that is missing, unreadable, or
        not inside the folder, and for a size that no image has.
    """

    def image_size_of(file_name):
        try:
            path = locate_image(str(folder), file_name, name_prefix, follow_links=True)
            if irregular_kind(path):
                return None
            file = open_if_there(path)
            if file is None:
                return None
            with file:
                size = imagesize.get(file, exif_rotation=upright)
                if upright and min(size) > 0 and _is_turned(file):
                    size = size[::-1]
        except (UnusableImageError, OSError):
            return None
        return size if min(size) > 0 and max(size) <= _LARGEST_SIDE else None

    return image_size_of


def _is_turned(file):
    """Whether a file's orientation exchanges width and height and `imagesize` has not seen it.

    It looks into JPEGs only, and other files may have EXIF data at their end: those are decoded.
    """
    file.seek(0)
    if file.read(len(_JPEG)) == _JPEG:
        return False
    file.seek(0)
    content = file.read()
    try:
        return decode(content, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)[1] >= 5
    except cv2.error:  # it is rejected when it is to be cut
        return False


def with_sizes(
    images: Sequence[AnnotatedImage], folder: str, name_prefix: str = "", upright: bool = False
) -> tuple[list[AnnotatedImage], int]:
    """Images with the size of their files' headers where none is stated; from a store many at a time.

    Args:
        folder, name_prefix, upright: as for `header_sizes`.

    Returns:
        (list of `AnnotatedImage` in the same order, number of those that had no size). An image whose file
        does not tell stays without: it is rejected with its reason when it is to be cut.
    """
    places = [place for place, image in enumerate(images) if not (image.width and image.height)]
    images, size_of = list(images), header_sizes(folder, name_prefix, upright)
    with ThreadPoolExecutor(FETCHED if FileSystems.get_scheme(str(folder)) else 1) as pool:
        sizes = pool.map(lambda place: size_of(images[place].file_name), places)
        for place, size in zip(places, sizes, strict=True):
            width, height = size or (0, 0)
            images[place] = replace(images[place], width=width, height=height, size_stated=False)
    return images, len(places)
