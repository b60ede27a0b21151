"""OKS-NMS: one call for all images, as the evaluator makes it, over the NumPy reference image by image.

Twice: of poses at random places, of which nearly all stay, and of crowds, in which every third pose is a new
instance and the others are doubles. The public call for a single image is measured too. Run alone with
``python benchmarks/oks_nms.py``; ``--smoke`` takes a second and its ratios mean little.
"""

import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

import nms
from benchmarks.turns import argument_parser
from nms import reference

IMAGES, BOXES, KEYPOINTS = 5000, 21, 17
THRESHOLD = 0.9  # official: OKS_THRE
ROUNDS = 5


def random_poses(rng, images):
    """(keypoints, scores, areas) of unrelated poses, each with a first axis of images and one of boxes."""
    keypoints = rng.uniform(0, 100, (images, BOXES, KEYPOINTS, 3))
    return keypoints, rng.uniform(0, 1, (images, BOXES)), rng.uniform(1e3, 1e4, (images, BOXES))


def crowds(rng, images):
    """The same of instances with two doubles each, whose keypoints are about a pixel off."""
    keypoints, scores, areas = random_poses(rng, images)
    keypoints = np.repeat(keypoints[:, ::3], 3, axis=1) + rng.normal(size=keypoints.shape)
    return keypoints, scores, np.repeat(areas[:, ::3], 3, axis=1)


def seconds(function):
    """How long a call takes, and what it returns."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def measure(keypoints, scores, areas, rounds):
    """Median seconds of each way, rounds of which take turns; and NumPy's median ratio to each.

    Raises:
        SystemExit: if they keep different poses.
    """
    images, boxes = scores.shape
    everything = keypoints.reshape(-1, KEYPOINTS, 3), scores.ravel(), areas.ravel(), THRESHOLD
    image_ids = np.repeat(np.arange(images), boxes)

    def one_by_one(function):
        kept = [
            function(*image, THRESHOLD, nms.COCO_SIGMAS)
            for image in zip(keypoints, scores, areas, strict=True)
        ]
        return np.concatenate([indices + image * boxes for image, indices in enumerate(kept)])

    ways = {
        "NumPy, image by image": lambda: one_by_one(reference.oks_nms),
        "Cython, image by image": lambda: one_by_one(nms.oks_nms),
        "Cython, all images": lambda: nms.oks_nms(*everything, image_ids=image_ids),
    }
    times = []
    for _ in range(rounds):
        passes = [seconds(way) for way in ways.values()]
        if any(not np.array_equal(kept, passes[0][1]) for _, kept in passes):
            raise SystemExit("benchmarks/oks_nms.py: the compiled NMS and the reference keep different poses")
        times.append([took for took, _ in passes])
    times = np.array(times)
    return dict(zip(ways, np.median(times, axis=0), strict=True)), np.median(times[:, :1] / times, axis=0)


def main():
    """Prints the table and the ratios."""
    images, rounds = (50, 1) if argument_parser(__doc__).parse_args().smoke else (IMAGES, ROUNDS)
    print(f"OKS-NMS of {images:,} images x {BOXES} poses, median of {rounds} rounds")
    lines = []
    for name, make, suffix in (("random poses", random_poses, ""), ("crowds", crowds, "_crowds")):
        took, ratios = measure(*make(np.random.default_rng(0), images), rounds)
        for way, ratio in zip(took, ratios, strict=True):
            print(f"  {name:14}{way:24}{1000 * took[way]:9.1f} ms {ratio:8.1f} times as fast")
        lines.append(f"oks_nms_over_numpy{suffix} {ratios[2]:.2f}")
        lines.append(f"oks_nms_one_image_over_numpy{suffix} {ratios[1]:.2f}")
    print("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
