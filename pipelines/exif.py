"""An image's EXIF orientation: reading it, turning images upright, and whether to.

Browsers, and so all annotation tools that run in one, show images upright; COCO's own tools do not.
"""

import struct
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.instances import AnnotatedImage

#: The tag of an image's orientation (Exif 2.32, section 4.6.4), and the type of its value, SHORT.
_ORIENTATION_TAG = 0x112
_SHORT = 3

#: What instances are noted for whose image has an EXIF orientation that is not upright, see `orient`.
TURNED, AS_STORED, UNDECIDED = "exif_turned", "exif_as_stored", "exif_undecided"


def read_orientation(exif: bytes) -> int:
    """The orientation that EXIF data name.

    Args:
        exif: bytes in TIFF's form, as they stand in a JPEG, PNG or WebP file; anything.

    Returns:
        An int from 1 (upright) to 8, see `turn_upright`; 1 where they name none.
    """
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, entry)
            if (tag, kind) == (_ORIENTATION_TAG, _SHORT):
                return value if 1 <= value <= 8 else 1
    except struct.error:  # it ends before what it promises
        pass
    return 1


def decode(content: bytes, flags: int) -> tuple[npt.NDArray[Any] | None, int]:
    """Decodes an image's file, and reads its orientation.

    Args:
        content: the file's bytes, at least one.
        flags: OpenCV's, of reading.

    Returns:
        (pixels, or None for what OpenCV cannot decode; orientation from 1 to 8, 1 where the file names none).

    Raises:
        cv2.error: for what it refuses, for example a header that promises more pixels than it allows.
    """
    pixels, kinds, found = cv2.imdecodeWithMetadata(np.frombuffer(content, np.uint8), flags)
    exif = dict(zip(kinds, found, strict=True)).get(cv2.IMAGE_METADATA_EXIF)
    return pixels, 1 if exif is None else read_orientation(exif.tobytes())


def turn_upright(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """An image as its EXIF orientation (Exif 2.32, section 4.6.4) says that it is to be looked at.

    Args:
        pixels: (height, width, channels).
        orientation: 1 to 8; from 5 on width and height change places.

    Returns:
        (height, width, channels) or (width, height, channels).
    """
    if orientation >= 5:
        pixels = cv2.transpose(pixels)
    if orientation in (2, 6):
        return cv2.flip(pixels, 1)
    if orientation in (4, 8):
        return cv2.flip(pixels, 0)
    return cv2.flip(pixels, -1) if orientation in (3, 7) else pixels


def orient(
    pixels: npt.NDArray[np.uint8], orientation: int, image: AnnotatedImage, rule: str
) -> tuple[npt.NDArray[np.uint8], str | None]:
    """Turns an image upright if its annotations are of the upright one.

    What a tool did can be seen from the annotated size, where the orientation exchanges width and height and
    they differ.

    Args:
        pixels: (height, width, 3) as they are stored.
        orientation: 1 to 8.
        image: the `AnnotatedImage` with the annotated size.
        rule: "ignore", "apply", or "auto", which decides by the size, and where that cannot tell leaves the
            image as it is stored.

    Returns:
        pixels: turned or not.
        note: what "auto" did: `TURNED`, `AS_STORED` because the size says so, `UNDECIDED`; None where there
            was nothing to do.
    """
    if rule == "ignore" or orientation == 1:
        return pixels, None
    if rule == "apply":
        return turn_upright(pixels, orientation), None
    height, width = pixels.shape[:2]
    if orientation < 5 or width == height or not image.size_stated:
        return pixels, UNDECIDED
    if (image.width, image.height) == (height, width):
        return turn_upright(pixels, orientation), TURNED
    return pixels, AS_STORED


def orientation_warning(notes: Mapping[str, int]) -> str | None:
    """What a user shall know of instances in images with an EXIF orientation, or None.

    Args:
        notes: {note of `orient`: number of instances}.
    """
    turned, as_stored, undecided = (notes.get(note, 0) for note in (TURNED, AS_STORED, UNDECIDED))
    told = []
    if turned:
        told.append(f"{turned:,} in images annotated upright, which were turned")
    if as_stored:
        told.append(f"{as_stored:,} in images annotated in the size they are stored in, which were not")
    if undecided:
        told.append(
            f"{undecided:,} in images whose annotated size cannot tell (orientation 2, 3 or 4, square, or "
            "no size), which were not turned: if they were annotated upright, as browsers show them, their "
            "keypoints are in the wrong places now, and --exif_orientation=apply --overwrite builds them "
            "right; --exif_orientation=ignore says that images are meant as they are stored"
        )
    return f"images have an EXIF orientation. Instances: {'; '.join(told)}" if told else None
