"""Images of users, read for the network: one at a time, or a folder to measure an export on."""

import logging
import stat
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from hrpose.command import CommandError

log = logging.getLogger(__name__)

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Of files that OpenCV reads whatever it was built with."""


class ImageError(CommandError):
    """An image, or a folder of them, that cannot be used. The message names it and says why."""


def read_image(path: Path | str, exif_orientation: bool = True) -> npt.NDArray[np.uint8]:
    """Reads an image's pixels.

    Args:
        path: of the file.
        exif_orientation: whether to turn it upright as its EXIF data say.

    Returns:
        (height, width, 3) uint8, RGB. Transparency is dropped; more than 8 bits a channel are reduced to 8.

    Raises:
        ImageError: if it cannot be read, or is no regular file: nobody waits for a pipe, or reads a device
            for ever.
    """
    path, flags = (
        Path(path),
        cv2.IMREAD_COLOR_RGB | (0 if exif_orientation else cv2.IMREAD_IGNORE_ORIENTATION),
    )
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError(f"{path} is no regular file; expected an image")
        data = np.frombuffer(path.read_bytes(), np.uint8)
        pixels = cv2.imdecode(data, flags) if data.size else None
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}") from error
    except cv2.error as error:  # for example a header that promises more pixels than OpenCV allows
        raise ImageError(f"{path} cannot be decoded: {error.err}") from error
    if pixels is None:
        raise ImageError(f"{path} is empty, cut off or no image: {data.size:,} bytes")
    return np.asarray(pixels, np.uint8)


def read_images(folder: Path | str, input_size: Sequence[int], limit: int) -> npt.NDArray[np.uint8]:
    """Reads images, each cut about its middle to the shape of the network input and resized to it.

    Those that cannot be read are left out, with a warning.

    Args:
        folder: with files that end in `SUFFIXES`; others are passed over.
        input_size: (width, height) of the network input.
        limit: how many to read at most, in the order of their names.

    Returns:
        (N, height, width, 3) uint8, RGB, N > 0.

    Raises:
        ImageError: if there is none that can be read.
    """
    files = [path for path in sorted(Path(folder).glob("*")) if path.suffix.lower() in SUFFIXES]
    if not files:
        raise ImageError(f"no images in {folder}: expected files that end in {', '.join(SUFFIXES)}")
    read: list[npt.NDArray[np.uint8]] = []
    failed: list[str] = []
    for path in files:
        if len(read) == limit:
            break
        try:
            read.append(_cut(read_image(path), input_size))
        except ImageError as error:
            failed.append(str(error))
    if not read:
        raise ImageError(f"none of the {len(failed):,} images in {folder} can be used: {failed[0]}")
    if failed:
        log.warning("rejected %s images that cannot be used: %s", f"{len(failed):,}", failed[0])
    return np.stack(read)


def _cut(image: npt.NDArray[np.uint8], input_size: Sequence[int]) -> npt.NDArray[np.uint8]:
    width, height = input_size
    rows, columns = image.shape[:2]
    scale = min(columns / width, rows / height)
    cut = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (rows - cut[0]) // 2, (columns - cut[1]) // 2
    image = image[top : top + cut[0], left : left + cut[1]]
    resized = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    )
    return np.asarray(resized, np.uint8)
