"""OKS-NMS: the Cython kernel over the NumPy reference, on random poses.

Run alone with ``python benchmarks/oks_nms.py``.
"""

import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

import nms
from nms import reference

IMAGES, BOXES = 1000, 21
ROUNDS = 3


def seconds(function, images):
    """The fastest of some passes over all images."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for image in images:
            function(*image)
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    """Prints the table and the ratio."""
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0, 100, (IMAGES, BOXES, 17, 3))
    scores, areas = rng.uniform(0, 1, (IMAGES, BOXES)), rng.uniform(1e3, 1e4, (IMAGES, BOXES))
    images = list(zip(keypoints, scores, areas, strict=True))
    fast = seconds(lambda k, s, a: nms.oks_nms(k, s, a, 0.9), images)
    plain = seconds(lambda k, s, a: reference.oks_nms(k, s, a, 0.9, nms.COCO_SIGMAS), images)
    print(f"OKS-NMS of {IMAGES:,} images x {BOXES} poses, best of {ROUNDS}")
    print(f"  Cython  {fast:7.3f} s\n  NumPy   {plain:7.3f} s")
    print(f"oks_nms_over_numpy {plain / fast:.2f}\n")


if __name__ == "__main__":
    main()
