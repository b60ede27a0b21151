"""Reading a build's images: from the name in the annotations to pixels, or to the reason why not."""

import cv2
import numpy as np
import numpy.typing as npt

from hrpose.storage import irregular_kind
from pipelines.errors import UnusableImageError
from pipelines.exif import decode, orient
from pipelines.image_names import locate_image
from pipelines.instances import AnnotatedImage
from pipelines.storage import read_if_there


def read_image(
    folder: str,
    image: AnnotatedImage,
    name_prefix: str = "",
    follow_links: bool = False,
    exif_orientation: str = "ignore",
) -> npt.NDArray[np.uint8]:
    """Reads and decodes an image: the pixels of `decode_image` of what `fetch_image` reads."""
    return decode_image(image, *fetch_image(folder, image, name_prefix, follow_links), exif_orientation)[0]


def fetch_image(
    folder: str, image: AnnotatedImage, name_prefix: str = "", follow_links: bool = False
) -> tuple[str, bytes]:
    """Reads an image's file.

    Args:
        folder, name_prefix, follow_links: as for `locate_image`.
        image: whose file it is.

    Returns:
        (path, content).

    Raises:
        UnusableImageError: if it is missing, cannot be read, or leaves the folder.
    """
    path = locate_image(folder, image.file_name, name_prefix, follow_links)
    if kind := irregular_kind(path):  # a pipe would be waited for, a device read for ever
        raise UnusableImageError("unreadable_image", f"{path} is {kind}, not a file")
    try:
        content = read_if_there(path)
    except (IsADirectoryError, PermissionError) as error:
        raise UnusableImageError("unreadable_image", str(error)) from error
    if content is None:
        raise UnusableImageError("missing_image", path)
    return path, content


def decode_image(
    image: AnnotatedImage, path: str, content: bytes, exif_orientation: str = "ignore"
) -> tuple[npt.NDArray[np.uint8], str | None]:
    """Decodes what `fetch_image` has read.

    Gray and CMYK images become BGR, transparency is left away. More than 8 bits a channel are not accepted:
    which 8 of them show the instances, only the owner of such images knows. (OpenCV turns a TIFF upright
    whatever it is told.)

    Args:
        image: what the annotations say of it.
        path, content: as `fetch_image` returns them.
        exif_orientation: "ignore", as COCO's own tools do, "apply" or "auto", see `orient`.

    Returns:
        pixels: (height, width, 3) BGR.
        note: that of `orient`.

    Raises:
        UnusableImageError: if it cannot be decoded, or is not as large as annotated.
    """
    pixels, orientation = None, 1
    try:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_ANYDEPTH
        if content:
            pixels, orientation = decode(content, flags)
    except cv2.error as error:  # for example a header that promises more pixels than OpenCV allows
        raise UnusableImageError("unreadable_image", f"{path}: {error.err}") from error
    if pixels is None:
        detail = f"{path}: {len(content)} bytes that OpenCV cannot decode"
        raise UnusableImageError("unreadable_image", detail)
    if pixels.dtype != np.uint8:
        detail = f"{path} has channels of type {pixels.dtype}; convert the image to 8 bits a channel"
        raise UnusableImageError("unsupported_image", detail)
    pixels, note = orient(pixels, orientation, image, exif_orientation)
    if pixels.shape[:2] != (image.height, image.width):
        received = f"{pixels.shape[1]}x{pixels.shape[0]}"
        detail = f"{path} is {received}, annotated {image.width}x{image.height}"
        if pixels.shape[:2] == (image.width, image.height) and orientation >= 5:
            other = "ignore" if exif_orientation == "apply" else "apply"
            detail += f": its EXIF orientation is {orientation}, and --exif_orientation=auto or {other} fits"
        raise UnusableImageError("wrong_image_size", detail)
    return pixels, note
