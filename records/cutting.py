"""Cutting a part out of an image, made smaller where that loses nothing, with the map to where it was."""

import cv2
import numpy as np
import numpy.typing as npt


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
