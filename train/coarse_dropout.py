"""Coarse dropout: a rectangle of the network input is blackened, so that the network learns to do without."""

import numpy as np

#: Sides of the rectangle as a share of the input's: those of RTMPose's recipes (Jiang et al. 2023; in mmpose
#: albumentations' CoarseDropout with one hole, min 0.2 and max 0.4).
SMALLEST, LARGEST = 0.2, 0.4

#: Sets these draws apart from those of `records.augment`, which use the same key.
_STREAM = 1


def drop_rectangles(images, instance_ids, probability, seed, epoch):
    """Blackens one rectangle of some instances' inputs, drawn for each from its own stream.

    So what an instance gets depends neither on the order of the records nor on the batch, and can be
    replayed.

    Args:
        images: (N, h, w, 3) uint8.
        instance_ids: (N,) int64.
        probability: how often an instance gets a rectangle.
        seed, epoch: non-negative ints.

    Returns:
        (N, h, w, 3) uint8, a copy. The rectangle lies inside of the input as a whole.
    """
    images = images.copy()
    height, width = images.shape[1:3]
    key, counter = np.array([seed, epoch], np.uint64), np.zeros(4, np.uint64)
    for image, instance in zip(images, np.asarray(instance_ids, np.int64).view(np.uint64), strict=True):
        counter[2:] = _STREAM, instance
        sampled, *sides, x, y = np.random.Generator(np.random.Philox(key=key, counter=counter)).random(5)
        if sampled >= probability:
            continue
        hole_width, hole_height = (
            round((SMALLEST + (LARGEST - SMALLEST) * share) * side)
            for share, side in zip(sides, (width, height), strict=True)
        )
        left, top = int(x * (width - hole_width + 1)), int(y * (height - hole_height + 1))
        image[top : top + hole_height, left : left + hole_width] = 0
    return images
