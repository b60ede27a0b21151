"""PoseTrack18's files, one JSON per video: read for the metric, and written for a submission.

The form is that of PoseTrack's annotations and of the submissions its tool poseval reads: ``images``,
``annotations`` (an instance in a frame each, with ``track_id`` and, for predictions, ``scores``) and
``categories``.
"""

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hrpose.atomic_files import write_json
from hrpose.json_text import parse_json
from hrpose.storage import path_of
from records.annotations.instance_checks import PERSON_CATEGORY
from records.skeletons import POSETRACK

KEYPOINTS = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
    *("neck", "nose", "head_top"),
)
"""The 15 keypoints that count, in poseval's order and names: its neck is ``head_bottom`` in the files."""

NO_SCORE = -9999.0
"""Score of keypoints that come without one (poseval's MIN_SCORE): below all others."""

MAX_TRACK_ID = 10_000
"""poseval refuses track ids from here on."""

_NAMES_IN_FILES = tuple("head_bottom" if name == "neck" else name for name in KEYPOINTS)


@dataclass(frozen=True)
class Frame:
    """The P instances of one image, ground truth or prediction, keypoints in the order of `KEYPOINTS`.

    Attributes:
        image_id: the image.
        points: (P, 15, 2) x, y in image pixels.
        present: (P, 15) annotated, or predicted.
        scores: (P, 15) of predicted keypoints; `NO_SCORE` where there are none.
        head_diagonals: (P,) image pixels, of the head's box; NaN in predictions.
        track_ids: (P,) or None if anybody has none.
        ignore_regions: (n, 2) polygons, x, y in image pixels; nothing inside them counts.
    """

    image_id: int
    points: npt.NDArray[np.float64]
    present: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]
    head_diagonals: npt.NDArray[np.float64]
    track_ids: npt.NDArray[np.int64] | None
    ignore_regions: tuple[npt.NDArray[np.float64], ...]


def sequence_paths(folder: str | Path) -> list[Path]:
    """The sequence files of a folder, sorted by name.

    Raises:
        FileNotFoundError: if there are none.
    """
    if paths := sorted(path_of(folder).glob("*.json")):
        return paths
    raise FileNotFoundError(f"no annotations in {folder}; expected PoseTrack's files, one .json per video")


def read_sequence(path: Path, is_ground_truth: bool) -> list[Frame]:
    """Reads one video.

    Args:
        path: a file in PoseTrack18 form.
        is_ground_truth: whether instances need a ``bbox_head``, and those in frames with ``is_labeled:
            false`` (which PoseTrack21 has) are left out.

    Returns:
        One per image of the file, in its order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: if the file is of another form; the message names path and place.
    """
    data = _load(path)
    order = _keypoint_order(path, data)
    instances: dict[int, list[tuple[str, dict[str, Any]]]] = {image["id"]: [] for image in data["images"]}
    for position, instance in enumerate(_list(path, data, "annotations")):
        place = f"{path}: annotation {position}"
        if not isinstance(instance, dict) or not _is_int(instance.get("image_id")):
            raise ValueError(f"{place} has no integer image_id")
        if instance["image_id"] not in instances:
            raise ValueError(
                f"{place} is on image {instance['image_id']}, which is not among the file's images"
            )
        instances[instance["image_id"]].append((place, instance))
    frames = []
    for image in data["images"]:
        skipped = is_ground_truth and not image.get("is_labeled", True)
        frames.append(_frame(path, image, [] if skipped else instances[image["id"]], order, is_ground_truth))
    return frames


def frame_ids(ground_truth_dir: str | Path) -> dict[str, list[int]]:
    """Which images the videos have.

    Args:
        ground_truth_dir: of PoseTrack's annotation files; those of the test split, without instances, do too.

    Returns:
        {sequence name (the file's without .json): image ids in the order of the video}.

    Raises:
        FileNotFoundError, ValueError: as `sequence_paths` and `read_sequence`.
    """
    return {
        path.stem: [image["id"] for image in _load(path)["images"]]
        for path in sequence_paths(ground_truth_dir)
    }


def write_predictions(
    results: Sequence[Mapping[str, Any]],
    ground_truth_dir: str | Path,
    output_dir: str | Path,
    min_keypoint_score: float | None = None,
) -> list[Path]:
    """Writes a submission: for each annotation file one of the same name, with all its frames.

    Args:
        results: as `evaluate.rescoring.to_results` makes them: ``image_id``, ``keypoints`` (17 times x, y in
            image pixels and score, in the order of the skeleton `POSETRACK`), ``score``, and ``track_id``
            (see `evaluate.metrics.tracking`). Without it instances are counted within each frame, since
            poseval wants to read one: right for AP, no tracking.
        ground_truth_dir: of PoseTrack's annotation files, which say which frames there are.
        output_dir: it is made, and files of the same names are replaced.
        min_keypoint_score: keypoints with a lower score are left out (0, 0, 0). AP counts all keypoints by
            their score, but for MOTA a keypoint that is not there is better left out.

    Returns:
        The written paths.

    Raises:
        FileNotFoundError: if there are no annotation files.
        ValueError: on results for images that the annotation files do not have, of other than 17 keypoints,
            with numbers that are not finite or track ids outside 0 .. 9999, and on annotation files of
            another form.
    """
    frames_of = {path: _load(path)["images"] for path in sequence_paths(ground_truth_dir)}
    instances: dict[int, list[dict[str, Any]]] = {
        image["id"]: [] for images in frames_of.values() for image in images
    }
    if len(instances) != sum(map(len, frames_of.values())):
        raise ValueError(f"{ground_truth_dir}: an image id occurs in more than one file")
    for number, result in enumerate(results):
        if result["image_id"] not in instances:
            raise ValueError(
                f"results: number {number} is on image {result['image_id']}, which no file in "
                f"{ground_truth_dir} has; use the annotations of the split the results were made on"
            )
        frame = instances[result["image_id"]]
        frame.append(_submitted(f"results: number {number}", result, len(frame), min_keypoint_score))
    category = {
        "supercategory": "person",
        "id": PERSON_CATEGORY,
        "name": "person",
        "keypoints": list(POSETRACK.keypoints),
        "skeleton": [[a + 1, b + 1] for a, b in POSETRACK.limbs],
    }
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    written = []
    for path, images in frames_of.items():
        content = {
            "images": [{k: v for k, v in i.items() if not k.startswith("ignore_regions")} for i in images],
            "annotations": [instance for image in images for instance in instances[image["id"]]],
            "categories": [category],
        }
        written.append(write_json(output_dir / path.name, content))
    return written


def _submitted(place, result, position, min_keypoint_score):
    """One instance of a submission."""
    keypoints = _numbers(f"{place}: keypoints", result["keypoints"], 3 * POSETRACK.num_keypoints)
    keypoints = keypoints.reshape(-1, 3)
    scores = keypoints[:, 2]
    written = np.concatenate([keypoints[:, :2], np.ones((len(keypoints), 1))], axis=1)
    if min_keypoint_score is not None:
        written[scores < min_keypoint_score] = 0
    track_id = result.get("track_id", position)
    _check_track_id(place, track_id)
    return {
        "image_id": result["image_id"],
        "category_id": PERSON_CATEGORY,
        "track_id": int(track_id),
        "keypoints": written.ravel().tolist(),
        "scores": scores.tolist(),
        "score": float(_numbers(f"{place}: score", [result["score"]], 1)[0]),
    }


def _frame(path, image, instances, order, is_ground_truth):
    """A `Frame` of the (place, instance) pairs of one image."""
    count = len(instances)
    points, present = np.zeros((count, len(KEYPOINTS), 2)), np.zeros((count, len(KEYPOINTS)), bool)
    scores, diagonals = np.full((count, len(KEYPOINTS)), NO_SCORE), np.full(count, np.nan)
    track_ids = []
    for row, (place, instance) in enumerate(instances):
        keypoints = _numbers(f"{place}: keypoints", instance.get("keypoints"), 3 * order["count"]).reshape(
            -1, 3
        )
        points[row] = keypoints[order["rows"], :2]
        # What is not there is written as three zeros; a keypoint at the origin with a flag is one.
        present[row] = keypoints[order["rows"]].any(axis=1)
        if instance.get("scores"):
            scores[row] = _numbers(f"{place}: scores", instance["scores"], order["count"])[order["rows"]]
        if is_ground_truth:
            x, y, width, height = _numbers(f"{place}: bbox_head", instance.get("bbox_head"), 4)
            diagonals[row] = np.hypot(width, height)
            if not diagonals[row] > 0:
                raise ValueError(f"{place}: bbox_head {[x, y, width, height]} has no extent")
        track_ids.append(instance.get("track_id"))
        if track_ids[-1] is not None:
            _check_track_id(place, track_ids[-1])
    tracked = None if None in track_ids else np.array(track_ids, np.int64)
    regions = _ignore_regions(f"{path}: image {image['id']}", image)
    return Frame(image["id"], points, present, scores, diagonals, tracked, regions)


def _ignore_regions(place, image):
    """The polygons of an entry of ``images``."""
    all_x, all_y = image.get("ignore_regions_x") or [], image.get("ignore_regions_y") or []
    if not isinstance(all_x, list) or not isinstance(all_y, list) or len(all_x) != len(all_y):
        raise ValueError(f"{place}: ignore_regions_x and ignore_regions_y need a list per region each")
    polygons = []
    for x, y in zip(all_x, all_y, strict=True):
        x = _numbers(f"{place}: ignore_regions_x", x)
        polygons.append(np.stack([x, _numbers(f"{place}: ignore_regions_y", y, len(x))], axis=1))
    return tuple(polygons)


def _keypoint_order(path, data):
    """How many keypoints the file's instances have, and at which row of them each of `KEYPOINTS` is."""
    categories = _list(path, data, "categories")
    names = categories[0].get("keypoints") if categories and isinstance(categories[0], dict) else None
    missing = [name for name in _NAMES_IN_FILES if name not in names] if isinstance(names, list) else ["any"]
    if missing:
        raise ValueError(
            f"{path}: categories[0].keypoints misses {', '.join(missing)}; expected PoseTrack's keypoints, "
            f"such as {', '.join(POSETRACK.keypoints)}"
        )
    return {"count": len(names), "rows": [names.index(name) for name in _NAMES_IN_FILES]}


def _load(path):
    """The parsed file, with ``images`` checked."""
    data = parse_json(path, path_of(path).read_bytes())
    seen = set()
    for position, image in enumerate(_list(path, data, "images")):
        if not isinstance(image, dict) or not _is_int(image.get("id")) or image["id"] in seen:
            raise ValueError(f"{path}: image {position} needs an integer id of its own")
        seen.add(image["id"])
    return data


def _list(path, data, key):
    value = data.get(key) if isinstance(data, dict) else None
    if not isinstance(value, list):
        raise ValueError(
            f"{path}: not a file in PoseTrack18 form; expected an object with the lists images, annotations "
            f"and categories, {key} is missing"
        )
    return value


def _numbers(place, value, length=None):
    """(length,) float64 of finite numbers."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.array(np.nan)
    if array.ndim != 1 or length not in (None, len(array)) or not np.isfinite(array).all():
        raise ValueError(
            f"{place} is {reprlib.repr(value)}; expected {'' if length is None else f'{length} '}"
            "finite numbers"
        )
    return array


def _is_int(value):
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _check_track_id(place, value):
    if not _is_int(value) or not 0 <= value < MAX_TRACK_ID:
        raise ValueError(f"{place}: track_id is {reprlib.repr(value)}; poseval takes integers from 0 to 9999")
