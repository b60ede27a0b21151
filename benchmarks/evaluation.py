"""COCO's metric: this project's evaluation over pycocotools', from files to the ten numbers.

Run alone with ``python benchmarks/evaluation.py``; ``--smoke`` only tries it, on few images.
"""

import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.turns import argument_parser
from evaluate.metrics.coco import evaluate_coco

IMAGES, RESULTS, INSTANCES = 2500, 43_000, 11_000
SMOKE = 50
ROUNDS = 3
KEYPOINTS = 17


def write_files(folder, share):
    """Writes random instances, and poses of which a half is near one of them, as COCO has them.

    Args:
        folder: for truth.json and results.json.
        share: 1 for all images, instances and results, less for a part of each.

    Returns:
        The two paths.
    """
    rng = np.random.default_rng(0)
    images, results, instances = (round(share * count) for count in (IMAGES, RESULTS, INSTANCES))
    annotations, instances_of = [], [[] for _ in range(images)]
    for number in range(1, instances + 1):
        side, corner = rng.uniform(20, 300), rng.uniform(0, 340, 2)
        points = np.round(corner + rng.uniform(0, side, (KEYPOINTS, 2)))
        visibility = rng.integers(0, 3, KEYPOINTS) * (
            rng.random() < 0.6
        )  # of COCO's instances, 4 in 10 have none
        keypoints = np.where(visibility[:, None] > 0, np.column_stack([points, visibility]), 0)
        image = int(rng.integers(images))
        instances_of[image].append((points, side))
        annotations.append(
            {
                "id": number,
                "image_id": image,
                "category_id": 1,
                "iscrowd": int(rng.random() < 0.01),
                "bbox": [*corner.round(2).tolist(), round(side, 2), round(side, 2)],
                "area": round(0.6 * side**2, 4),
                "keypoints": keypoints.astype(int).ravel().tolist(),
                "num_keypoints": int((visibility > 0).sum()),
            }
        )
    poses = []
    for number in range(results):
        image = number % images
        points = rng.uniform(0, 640, (KEYPOINTS, 2))
        if instances_of[image] and rng.random() < 0.5:
            near, side = instances_of[image][rng.integers(len(instances_of[image]))]
            points = near + rng.normal(0, side * rng.choice([0.01, 0.05, 0.2]), (KEYPOINTS, 2))
        keypoints = np.column_stack([points, rng.random(KEYPOINTS)]).ravel().tolist()
        poses.append({"image_id": image, "category_id": 1, "keypoints": keypoints, "score": rng.random()})
    ground_truth = {
        "images": [{"id": image} for image in range(images)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }
    paths = Path(folder) / "truth.json", Path(folder) / "results.json"
    for path, content in zip(paths, (ground_truth, poses), strict=True):
        path.write_text(json.dumps(content))
    return paths


def official(ground_truth, results):
    """The ten numbers as everybody calls pycocotools for them."""
    with contextlib.redirect_stdout(io.StringIO()):
        index = COCO(ground_truth)
        evaluation = COCOeval(index, index.loadRes(str(results)), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def ours(ground_truth, results):
    """The ten numbers as `evaluate.metrics.coco` has them."""
    return list(evaluate_coco(ground_truth, results).values())


def main(smoke):
    """Prints the table and the ratio."""
    share, rounds = (SMOKE / IMAGES, 1) if smoke else (1, ROUNDS)
    times = {official: [], ours: []}
    with tempfile.TemporaryDirectory() as folder:
        paths = write_files(folder, share)
        for _ in range(rounds):
            numbers = []
            for function, seconds in times.items():
                start = time.perf_counter()
                numbers.append(function(*paths))
                seconds.append(time.perf_counter() - start)
            np.testing.assert_allclose(*numbers, rtol=0, atol=1e-12)
    slow, fast = (min(seconds) for seconds in times.values())
    print(f"COCO's metric, {share * RESULTS:,.0f} poses on {share * IMAGES:,.0f} images, best of {rounds}")
    print(f"  pycocotools {slow:7.3f} s\n  HRPose      {fast:7.3f} s")
    print(f"evaluation_over_pycocotools {slow / fast:.1f}\n")


if __name__ == "__main__":
    main(argument_parser(__doc__).parse_args().smoke)
