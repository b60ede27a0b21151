"""PoseTrack videos made here, and their evaluation."""

import copy
import json

import numpy as np

from evaluate.metrics.posetrack import evaluate_posetrack
from records.skeletons import POSETRACK

NOSE, HEAD_TOP = (POSETRACK.keypoints.index(name) for name in ("nose", "head_top"))


def video(frames=3, people=2, first=10):
    """Ground truth: people stand 1000 px apart, heads of 60 x 80 px, so that 30 px are just near enough."""
    rng = np.random.default_rng(0)
    annotations = []
    for frame in range(frames):
        for person in range(people):
            points = rng.uniform(0, 500, (17, 2)) + 1000 * person
            annotations.append(
                {
                    "image_id": first + frame,
                    "track_id": person,
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


def perfect(truth, score=0.9):
    predictions = copy.deepcopy(truth)
    for person in predictions["annotations"]:
        person["scores"] = [score] * 17
        del person["bbox_head"]
    return predictions


def evaluate(folder, videos, tracking=True):
    """Of [(truth, predictions)], written to files a.json, b.json ..."""
    for number, pair in enumerate(videos):
        for kind, content in zip(("truth", "predictions"), pair, strict=True):
            (folder / kind).mkdir(exist_ok=True)
            (folder / kind / f"{chr(ord('a') + number)}.json").write_text(json.dumps(content))
    return evaluate_posetrack(folder / "truth", folder / "predictions", tracking)


def move(person, x, joints=slice(None)):
    keypoints = np.reshape(person["keypoints"], (17, 3))
    keypoints[joints, 0] += x
    person["keypoints"] = keypoints.ravel().tolist()


def remove(person, joint):
    person["keypoints"][3 * joint : 3 * joint + 3] = [0, 0, 0]
