"""Where the instances of a plan have their keypoints and boxes."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import cast

import numpy as np

from pipelines.instances import AnnotatedImage, Instances
from records.plausibility import count_placement


def count_instances(images: Sequence[AnnotatedImage], input_size: tuple[int, int]) -> Counter[str]:
    """What `records.plausibility.count_placement` counts of some images' instances.

    Args:
        images: list of `AnnotatedImage` whose instances are `Instances`.
        input_size: (width, height) of the network input.

    Returns:
        A `Counter`.
    """
    kept = (cast(Instances, image.instances) for image in images)
    rows = json.loads(f"[{','.join(row for instances in kept for row in instances.rows)}]")
    if not rows:
        return Counter()
    sizes = [(image.width, image.height) for image in images for _ in range(len(image.instances))]
    _, boxes, keypoints, areas, _ = zip(*rows, strict=True)
    points = np.asarray(keypoints, np.float64).reshape(len(rows), -1, 3)
    return count_placement(boxes, points, sizes, areas, input_size)
