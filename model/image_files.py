"""Images of users, read for the network: one at a time, or a folder to measure an export on."""

import stat
from pathlib import Path

import cv2
import numpy as np

from model.exporting.errors import ExportError

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Of files that OpenCV reads whatever it was built with."""


class ImageError(Exception):
    """One image that cannot be used; others can. The message names it and says why."""


def read_image(path, exif_orientation=True):
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
    return pixels


def read_images(folder, input_size, limit, say=print):
    """Reads images, each cut about its middle to the shape of the network input and resized to it.

    Args:
        folder: with files that end in `SUFFIXES`; others are passed over.
        input_size: (width, height) of the network input.
        limit: how many to read at most, in the order of their names.
        say: function of a line for the user: of images that cannot be read, which are left out.

    Returns:
        (N, height, width, 3) uint8, RGB, N > 0.

    Raises:
        ExportError: if there is none that can be read.
    """
    files = [path for path in sorted(Path(folder).glob("*")) if path.suffix.lower() in SUFFIXES]
    if not files:
        raise ExportError(f"no images in {folder}: expected files that end in {', '.join(SUFFIXES)}")
    read, failed = [], []
    for path in files:
        if len(read) == limit:
            break
        try:
            read.append(_cut(read_image(path), input_size))
        except ImageError as error:
            failed.append(str(error))
    if not read:
        raise ExportError(f"none of the {len(failed):,} images in {folder} can be used: {failed[0]}")
    if failed:
        say(f"left out {len(failed):,} images that cannot be used: {failed[0]}")
    return np.stack(read)


def _cut(image, input_size):
    width, height = input_size
    rows, columns = image.shape[:2]
    scale = min(columns / width, rows / height)
    cut = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (rows - cut[0]) // 2, (columns - cut[1]) // 2
    image = image[top : top + cut[0], left : left + cut[1]]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR)
