"""PoseTrack videos made here, and their evaluation."""

import copy
import json

import numpy as np

from evaluate.metrics.posetrack import evaluate_posetrack
from records.skeletons import POSETRACK

NOSE, HEAD_TOP = (POSETRACK.keypoints.index(name) for name in ("nose", "head_top"))


def video(frames=3, instances=2, first=10):
    """Ground truth: instances stand 1000 px apart, heads of 60 x 80 px, so that 30 px are just near
    enough.
    """
    rng = np.random.default_rng(0)
    annotations = []
    for frame in range(frames):
        for instance in range(instances):
            points = rng.uniform(0, 500, (17, 2)) + 1000 * instance
            annotations.append(
                {
                    "image_id": first + frame,
                    "track_id": instance,
                    "keypoints": np.concatenate([points, np.ones((17, 1))], axis=1).ravel().tolist(),
                    "bbox_head": [0, 0, 60, 80],
                    "scores": [],
                }
            )
    images = [{"id": first + frame, "file_name": f"images/a/{frame}.jpg"} for frame in range(frames)]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": list(POSETRACK.keypoints)}],
    }


def perfect(ground_truth, score=0.9):
    predictions = copy.deepcopy(ground_truth)
    for instance in predictions["annotations"]:
        instance["scores"] = [score] * 17
        del instance["bbox_head"]
    return predictions


def evaluate(folder, videos, tracking=True):
    """Of [(ground truth, predictions)], written to files a.json, b.json ..."""
    for number, pair in enumerate(videos):
        for kind, content in zip(("truth", "predictions"), pair, strict=True):
            (folder / kind).mkdir(exist_ok=True)
            (folder / kind / f"{chr(ord('a') + number)}.json").write_text(json.dumps(content))
    return evaluate_posetrack(folder / "truth", folder / "predictions", tracking)


def move(instance, x, rows=slice(None)):
    keypoints = np.reshape(instance["keypoints"], (17, 3))
    keypoints[rows, 0] += x
    instance["keypoints"] = keypoints.ravel().tolist()


def remove(instance, keypoint):
    instance["keypoints"][3 * keypoint : 3 * keypoint + 3] = [0, 0, 0]
