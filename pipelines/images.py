"""Reading a build's images: from the name in the annotations to pixels, or to the reason why not."""

import cv2
import numpy as np
import numpy.typing as npt

from hrpose.storage import irregular_kind
from pipelines.exif import decode, orient
from pipelines.image_names import locate_image
from pipelines.instances import AnnotatedImage
from pipelines.storage import read_if_there

#: (path, content, reason, detail), see `fetch_image`.
Fetched = tuple[str | None, bytes | None, str | None, str | None]

Pixels = npt.NDArray[np.uint8]


def read_image(
    folder: str,
    image: AnnotatedImage,
    name_prefix: str = "",
    follow_links: bool = False,
    exif_orientation: str = "ignore",
) -> tuple[Pixels | None, str | None, str | None]:
    """Reads and decodes an image: what `decode_image` says of what `fetch_image` does, but the note."""
    fetched = fetch_image(folder, image, name_prefix, follow_links)
    return decode_image(image, fetched, exif_orientation)[:3]


def fetch_image(
    folder: str, image: AnnotatedImage, name_prefix: str = "", follow_links: bool = False
) -> Fetched:
    """Reads an image's file: (path, content, None, None), or (path or None, None, reason, detail)."""
    path, reason, detail = locate_image(folder, image.file_name, name_prefix, follow_links)
    if path is None:
        return None, None, reason, detail
    if kind := irregular_kind(path):  # a pipe would be waited for, a device read for ever
        return path, None, "unreadable_image", f"{path} is {kind}, not a file"
    try:
        content = read_if_there(path)
    except (IsADirectoryError, PermissionError) as error:
        return path, None, "unreadable_image", str(error)
    return (path, None, "missing_image", path) if content is None else (path, content, None, None)


def decode_image(
    image: AnnotatedImage,
    fetched: Fetched,
    exif_orientation: str = "ignore",
) -> tuple[Pixels | None, str | None, str | None, str | None]:
    """Decodes what `fetch_image` has read.

    Gray and CMYK images become BGR, transparency is left away. More than 8 bits a channel are not accepted:
    which 8 of them show the instances, only the owner of such images knows. (OpenCV turns a TIFF upright
    whatever it is told.)

    Args:
        image: the `AnnotatedImage`.
        fetched: as `fetch_image` returns it.
        exif_orientation: "ignore", as COCO's own tools do, "apply" or "auto", see `orient`.

    Returns:
        (pixels (height, width, 3) uint8 BGR, None, None, note), or (None, reason, detail, None). The note is
        that of `orient`.
    """
    path, content, reason, detail = fetched
    if content is None:
        return None, reason, detail, None
    pixels, orientation = None, 1
    try:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_ANYDEPTH
        if content:
            pixels, orientation = decode(content, flags)
    except cv2.error as error:  # for example a header that promises more pixels than OpenCV allows
        return None, "unreadable_image", f"{path}: {error.err}", None
    if pixels is None:
        return None, "unreadable_image", f"{path}: {len(content)} bytes that OpenCV cannot decode", None
    if pixels.dtype != np.uint8:
        detail = f"{path} has channels of type {pixels.dtype}; convert the image to 8 bits a channel"
        return None, "unsupported_image", detail, None
    pixels, note = orient(pixels, orientation, image, exif_orientation)
    if pixels.shape[:2] != (image.height, image.width):
        received = f"{pixels.shape[1]}x{pixels.shape[0]}"
        detail = f"{path} is {received}, annotated {image.width}x{image.height}"
        if pixels.shape[:2] == (image.width, image.height) and orientation >= 5:
            other = "ignore" if exif_orientation == "apply" else "apply"
            detail += f": its EXIF orientation is {orientation}, and --exif_orientation=auto or {other} fits"
        return None, "wrong_image_size", detail, None
    return pixels, None, None, note
