"""What the network expects of its input images."""

import numpy as np
import numpy.typing as npt
from keras import ops

from model.codecs.conventions import Tensor

#: Mean and standard deviation of ImageNet's RGB channels, in units of 0..1 (the torchvision constants the
#: official code normalizes with).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize(images: npt.ArrayLike) -> Tensor:
    """Makes network input of images.

    Args:
        images: (N, h, w, 3) uint8, RGB.

    Returns:
        (N, h, w, 3) float32: (images / 255 - mean) / standard deviation, per channel.
    """
    _, height, width, channels = ops.shape(images)
    # One multiplication and one addition of whole rows: broadcasting along an axis of three is slow on a CPU.
    std = np.array(IMAGENET_STD)
    factor = ops.tile(ops.convert_to_tensor(1 / (255 * std), "float32"), (width,))
    offset = ops.tile(ops.convert_to_tensor(-np.array(IMAGENET_MEAN) / std, "float32"), (width,))
    rows = ops.cast(ops.reshape(images, (-1, height, width * channels)), "float32")
    return ops.reshape(rows * factor + offset, (-1, height, width, channels))
