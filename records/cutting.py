"""Cutting a part out of a picture, made smaller if wanted, with the map that says where it was."""

import cv2
import numpy as np


def cut_part(pixels, rectangle, shrink=1.0):
    """A part of a picture, and how to find it again.

    Args:
        pixels: (height, width, 3) uint8: the whole picture.
        rectangle: (x, y, width, height) ints in image pixels, inside the picture.
        shrink: factor on its size, 0..1; by averaging.

    Returns:
        part: (h, w, 3) uint8; a view of the picture if it is not made smaller.
        to_part: (2, 3) float64: image pixels -> pixels of the part.
    """
    left, top, width, height = rectangle
    part = pixels[top : top + height, left : left + width]
    if shrink < 1:
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    # OpenCV's resize aligns the pixels' outer edges, half a pixel outside of their centres.
    factor = np.array([part.shape[1] / width, part.shape[0] / height])
    offset = (0.5 - np.array([left, top])) * factor - 0.5
    return part, np.concatenate([np.diag(factor), offset[:, None]], axis=1)
