"""From images to crops, and from the bytes of crops to network inputs."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from records.geometry import compose_affine, invert_affine, transform_points
from records.jpeg_rows import BLOCK, cut_rows, find_rows

#: Crop pixels by which OpenCV's warp may miss the place it was told, by rounding. It is far less.
_ROUNDING = 1


class NoImageError(ValueError):
    """The bytes of a crop are not an image. `row` is which of the batch's."""

    def __init__(self, row: int) -> None:
        super().__init__(f"the crop in row {row} of the batch is not an image")
        self.row = row


def warp_inputs(
    crops: Sequence[bytes] | npt.NDArray[np.object_],
    crop_affine: npt.ArrayLike,
    input_affine: npt.ArrayLike,
    input_size: tuple[int, int],
) -> npt.NDArray[np.uint8]:
    """Decodes what each view shows of its crop and resamples it once to the network input.

    OpenCV does both, because its warp is an order of magnitude faster on a CPU than TensorFlow's
    ImageProjectiveTransformV3, and its libjpeg decodes with the accurate DCT. It lets other threads run
    meanwhile, so batches are prepared in parallel.

    Args:
        crops: (B,) JPEG or PNG.
        crop_affine: (B, 2, 3): image pixels -> crop pixels.
        input_affine: (B, 2, 3): image pixels -> input pixels.
        input_size: (width, height).

    Returns:
        (B, height, width, 3) RGB; black outside of the crop.

    Raises:
        NoImageError: if a crop is not an image.
    """
    cv2.setNumThreads(1)  # tf.data's threads are the parallelism; OpenCV's own would only compete
    to_crop = compose_affine(crop_affine, invert_affine(input_affine))
    shown = shown_parts(to_crop, input_size)
    images = np.empty((len(crops), input_size[1], input_size[0], 3), np.uint8)
    # OpenCV interpolates four channels faster than three, also counting the way there and back.
    view = np.empty((input_size[1], input_size[0], 4), np.uint8)
    for row, crop in enumerate(crops):
        left, top, right, bottom = shown[row].tolist()
        decoded, above = decode_rows(crop, top, bottom)
        if decoded is None:
            raise NoImageError(row)
        left = min(left, decoded.shape[1] - 1)
        part = cv2.cvtColor(decoded[:, left : max(right, left + 1)], cv2.COLOR_RGB2RGBA)
        to_part = to_crop[row] - [[0, 0, left], [0, 0, above]]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(part, to_part, input_size, dst=view, flags=flags)
        cv2.cvtColor(view, cv2.COLOR_RGBA2RGB, dst=images[row])
    return images


def shown_parts(to_crop: npt.NDArray[np.float64], input_size: tuple[int, int]) -> npt.NDArray[np.intp]:
    """The crop pixels that views may touch.

    Args:
        to_crop: (B, 2, 3): input pixels -> crop pixels.
        input_size: (width, height).

    Returns:
        (B, 4) not negative: left, top, right, bottom in crop pixels; the last two are beyond.
    """
    right, bottom = input_size[0] - 1, input_size[1] - 1
    corners = transform_points(np.array([[0, 0], [right, 0], [0, bottom], [right, bottom]]), to_crop)
    lowest = np.floor(corners.min(axis=1) - _ROUNDING)
    beyond = np.floor(corners.max(axis=1) + _ROUNDING) + 2  # pixels right and below are interpolated with it
    parts = np.nan_to_num(
        np.concatenate([lowest, beyond], axis=1)
    )  # a damaged record's map may be no numbers
    # No JPEG or PNG that OpenCV reads has a side of 2^20 pixels or more.
    return np.clip(parts, 0, 2**20).astype(int)


def decode_rows(crop: bytes, top: int, bottom: int) -> tuple[npt.NDArray[np.uint8] | None, int]:
    """Decodes at least the rows of a crop from `top` to before `bottom`, and at least one.

    Args:
        crop: JPEG or PNG. All of it is decoded where `find_rows` does not find rows.
        top, bottom: not negative: rows of crop pixels; they may lie outside.

    Returns:
        (rows (h, w, 3) RGB, the number of rows above them); (None, 0) if it is not an image.
    """
    rows, first = find_rows(crop), 0
    if rows is None:
        content = np.frombuffer(crop, np.uint8)
    else:
        count = len(rows.starts) - 1
        first = min(top // BLOCK, count - 1)
        content = cut_rows(crop, rows, first, min(max(-(-bottom // BLOCK), first + 1), count))
    try:
        decoded = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # no bytes, or more pixels than OpenCV takes
        decoded = None
    return (None, 0) if decoded is None else (np.asarray(decoded, np.uint8), BLOCK * first)


def stored_size(input_width: int, view_width: float, max_crop_scale: float) -> tuple[float, float]:
    """How much smaller a part is stored than it is in the image, and how much more of it that takes.

    Args:
        input_width: of the network input, pixels.
        view_width: of the narrowest view that the network is shown of the part, image pixels.
        max_crop_scale: stored pixels per pixel of the network input at most, in that view.

    Returns:
        downscale: factor on the part's size, 0..1.
        margin: image pixels to add on every side: half a stored pixel, see `geometry.covering_rectangle`.
    """
    downscale = min(1.0, max_crop_scale * input_width / view_width)
    return downscale, 0.5 / downscale if downscale < 1 else 0.0


def cut_part(
    pixels: npt.NDArray[np.uint8], rectangle: tuple[int, int, int, int], downscale: float = 1.0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """A part of an image, and how to find it again.

    Args:
        pixels: (height, width, 3): the whole image.
        rectangle: (x, y, width, height) in image pixels, inside the image.
        downscale: factor on its size, 0..1; by averaging.

    Returns:
        part: (h, w, 3); a view of the image if it is not made smaller.
        to_part: (2, 3): image pixels -> pixels of the part.
    """
    left, top, width, height = rectangle
    part = pixels[top : top + height, left : left + width]
    if downscale < 1:
        size = max(1, round(width * downscale)), max(1, round(height * downscale))
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
    # OpenCV's resize aligns the pixels' outer edges, half a pixel outside of their centers.
    factor = np.array([part.shape[1] / width, part.shape[0] / height])
    offset = (0.5 - np.array([left, top])) * factor - 0.5
    return part, np.concatenate([np.diag(factor), offset[:, None]], axis=1)
