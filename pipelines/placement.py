"""Where the instances of a plan have their keypoints and boxes."""

import json
from collections import Counter

import numpy as np

from records.plausibility import count_placement


def count_instances(images, input_size):
    """What `records.plausibility.count_placement` counts of some images' instances.

    Args:
        images: list of `AnnotatedImage` whose instances are `Instances`.
        input_size: (width, height) of the network input.

    Returns:
        A `Counter`.
    """
    rows = json.loads(f"[{','.join(row for image in images for row in image.instances.rows)}]")
    if not rows:
        return Counter()
    sizes = [(image.width, image.height) for image in images for _ in range(len(image.instances))]
    _, boxes, keypoints, areas, _ = zip(*rows, strict=True)
    points = np.asarray(keypoints, np.float64).reshape(len(rows), -1, 3)
    return count_placement(boxes, points, sizes, areas, input_size)
