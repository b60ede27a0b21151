"""COCO's metric: this project's evaluation over pycocotools', from files to the ten numbers.

Run alone with ``python benchmarks/evaluation.py``; ``--smoke`` only tries it, on few pictures.
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

IMAGES, RESULTS, PEOPLE = 2500, 43_000, 11_000
SMOKE = 50
ROUNDS = 3
JOINTS = 17


def write_files(folder, share):
    """Writes random people, and poses of which a half is near one of them, as COCO has them.

    Args:
        folder: for truth.json and results.json.
        share: 1 for all pictures, people and results, less for a part of each.

    Returns:
        The two paths.
    """
    rng = np.random.default_rng(0)
    images, results, people = (round(share * count) for count in (IMAGES, RESULTS, PEOPLE))
    annotations, people_of = [], [[] for _ in range(images)]
    for number in range(1, people + 1):
        side, corner = rng.uniform(20, 300), rng.uniform(0, 340, 2)
        points = np.round(corner + rng.uniform(0, side, (JOINTS, 2)))
        visibility = rng.integers(0, 3, JOINTS) * (rng.random() < 0.6)  # of COCO's people, 4 in 10 have none
        keypoints = np.where(visibility[:, None] > 0, np.column_stack([points, visibility]), 0)
        image = int(rng.integers(images))
        people_of[image].append((points, side))
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
        points = rng.uniform(0, 640, (JOINTS, 2))
        if people_of[image] and rng.random() < 0.5:
            near, side = people_of[image][rng.integers(len(people_of[image]))]
            points = near + rng.normal(0, side * rng.choice([0.01, 0.05, 0.2]), (JOINTS, 2))
        keypoints = np.column_stack([points, rng.random(JOINTS)]).ravel().tolist()
        poses.append({"image_id": image, "category_id": 1, "keypoints": keypoints, "score": rng.random()})
    truth = {
        "images": [{"id": image} for image in range(images)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }
    paths = Path(folder) / "truth.json", Path(folder) / "results.json"
    for path, content in zip(paths, (truth, poses), strict=True):
        path.write_text(json.dumps(content))
    return paths


def official(truth, results):
    """The ten numbers as everybody calls pycocotools for them."""
    with contextlib.redirect_stdout(io.StringIO()):
        index = COCO(truth)
        evaluation = COCOeval(index, index.loadRes(str(results)), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def ours(truth, results):
    """The ten numbers as `evaluate.metrics.coco` has them."""
    return list(evaluate_coco(truth, results).values())


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
