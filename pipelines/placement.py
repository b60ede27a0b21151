"""Where the people of a plan have their keypoints and boxes."""

import json
from collections import Counter

import numpy as np

from records.plausibility import count_placement


def count_people(pictures, input_size):
    """What `records.plausibility.count_placement` counts of some pictures' people.

    Args:
        pictures: list of `Picture` whose people are `People`.
        input_size: (width, height) of the network input.

    Returns:
        A `Counter`.
    """
    rows = json.loads(f"[{','.join(row for picture in pictures for row in picture.people.rows)}]")
    if not rows:
        return Counter()
    sizes = [(picture.width, picture.height) for picture in pictures for _ in range(len(picture.people))]
    _, boxes, keypoints, areas, _ = zip(*rows, strict=True)
    points = np.asarray(keypoints, np.float64).reshape(len(rows), -1, 3)
    return count_placement(boxes, points, sizes, areas, input_size)
