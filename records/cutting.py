"""Cutting a part out of an image, made smaller if wanted, with the map that says where it was."""

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
