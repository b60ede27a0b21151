"""Each dataset's own metric of an evaluation, and the files its server wants."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluate.ground_truth import Truth
from evaluate.inference import Predictions
from evaluate.metrics import coco, mpii, posetrack
from evaluate.metrics.coco_files import read_ground_truth
from evaluate.metrics.oks_matching import MAX_POSES
from evaluate.metrics.pck import pck
from evaluate.metrics.posetrack_files import frame_ids, write_predictions
from evaluate.metrics.tracking import track_results
from hrpose.command import CommandError
from hrpose.json_checks import is_number
from records.manifest import Manifest
from records.skeletons import MPII, Skeleton


@dataclass(frozen=True)
class Evaluated:
    """What a metric looks at.

    Attributes:
        manifest: of the records.
        skeleton: the run's.
        truth: what they were built from.
        predictions: `Predictions` for each record.
        kept: (M,) int64, the poses left after OKS-NMS, as indices of the predictions.
        results: list of M COCO result dicts.
        sequences: PoseTrack's folder of annotation files, one per video.
        name: path without extension for the files to write.
        tracking: PoseTrack: whether to number people over time and to measure that.
        official_tenth: MPII: whether "Mean@0.1" shall be what the official code calls so.
    """

    manifest: Manifest
    skeleton: Skeleton
    truth: Truth
    predictions: Predictions
    kept: np.ndarray
    results: list
    sequences: Path
    name: Path
    tracking: bool = False
    official_tenth: bool = False


@dataclass(frozen=True)
class Measured:
    """A metric's outcome.

    Attributes:
        metrics: JSON-ready dict; empty if there is nothing to measure.
        table: text to show.
        headline: the number that counts, e.g. "AP 0.874".
        files: paths of files written for the dataset's server.
        notes: lines that say what the metric does not count.
    """

    metrics: dict
    table: str
    headline: str
    files: tuple = ()
    notes: tuple = ()


def measure(evaluated):
    """The dataset's own metric, of what `check_measurable` has let pass.

    Args:
        evaluated: `Evaluated`.

    Returns:
        `Measured`.

    Raises:
        CommandError: if the predictions, or the files to measure against, cannot be used.
    """
    metric = METRICS.get(evaluated.manifest.dataset, measure_coco)
    try:
        return metric(evaluated)
    except (ValueError, FileNotFoundError) as error:
        raise CommandError(f"{evaluated.truth.path}: {error}") from error


def check_measurable(manifest, truth, sequences, tracking=False):
    """Refuses what `measure` could not measure, whatever the predictions: to be called before predicting.

    PoseTrack's metric needs whole videos, and the files that the annotations were converted from: as many
    pictures, in the form and, to measure tracking, with the tracks that `posetrack.evaluate_posetrack` needs.

    Args:
        manifest, truth, sequences, tracking: see `Evaluated`.

    Raises:
        CommandError: naming what is wrong, and what to do.
    """
    if manifest.dataset != "posetrack":
        _check_coco(manifest, truth)
        return
    try:
        if truth.image_ids is not None:
            raise ValueError(
                f"the records were built with --image_ids, from {len(truth.image_ids):,} pictures; "
                "PoseTrack's metric needs whole videos. Build them without --image_ids"
            )
        _check_frames(frame_ids(sequences), truth, sequences)
        if manifest.split != "test":
            posetrack.read_truth(sequences, tracking)
    except (ValueError, FileNotFoundError) as error:
        raise CommandError(f"{truth.path}: {error}") from error


def _check_coco(manifest, truth):
    """Raises CommandError if COCO's metric could not read the annotations that it would be given."""
    if manifest.dataset in METRICS or not truth.labelled:
        return
    try:
        read_ground_truth(truth.content, manifest.skeleton.num_keypoints)
    except ValueError as error:
        raise CommandError(f"{truth.path}: {error}") from error


def measure_coco(evaluated):
    """COCO's AP and AR with the skeleton's sigmas; for data without areas also PCK, which needs none."""
    truth, sigmas = evaluated.truth, evaluated.skeleton.sigmas
    if not truth.labelled:
        text = f"{truth.path} has no annotations to measure against"
        return Measured({}, text, "not measured", _coco_submission(evaluated))
    metrics = coco.evaluate_coco(truth.content, evaluated.results, sigmas, truth.image_ids)
    table, headline = coco.format_table(metrics), f"AP {metrics['AP']:.3f}"
    if metrics["AP"] == coco.UNDEFINED:
        headline = "AP n/a, nobody to find"
    elif not evaluated.results:
        table += "\nNo poses were kept, so nobody is found."
    if truth.unusable:
        table += f"\n{truth.unusable:,} annotations without usable id, picture, box or keypoints are left out"
    if not truth.has_areas:
        table += "\nThe annotations have no areas; OKS takes those of the boxes."
        if evaluated.manifest.boxes == "ground_truth":
            pixels = _box_pck(evaluated)
            metrics["PCK@0.2"] = _or_none(pixels["mean"])
            table += f"\nPCK@0.2 of the box's longer side = {pixels['mean']:.1f} %"
    doubts = (f"{truth.path}: {truth.area_warning}",) if truth.area_warning else ()
    return Measured(metrics, table, headline, notes=(*doubts, *_crowded(truth)))


def _crowded(truth):
    """(line,) that names the pictures with more people than the metric looks at; () if there are none."""
    people = Counter(
        person["image_id"]
        for person in truth.content["annotations"]
        if person["num_keypoints"] and not person["iscrowd"]
    )
    crowded = [
        count
        for image_id, count in people.items()
        if count > MAX_POSES and (truth.image_ids is None or image_id in truth.image_ids)
    ]
    if not crowded:
        return ()
    return (
        f"COCO's metric counts the {MAX_POSES} best poses of a picture, and {len(crowded):,} of the pictures "
        f"{'has' if len(crowded) == 1 else 'have'} more people (up to {max(crowded):,}): not all of them can "
        "be found",
    )


def _coco_submission(evaluated):
    """For COCO's own pictures without annotations the file for its server: a tuple of one path, or none."""
    if evaluated.manifest.dataset != "coco":
        return ()
    split = evaluated.truth.path.stem.removeprefix("image_info_").removeprefix("person_keypoints_")
    algorithm = evaluated.name.name.removeprefix(f"{evaluated.truth.path.stem}_").replace("_", "-")
    return (coco.write_submission(evaluated.results, evaluated.name.parent, split, algorithm),)


def _box_pck(evaluated):
    people, predictions = evaluated.truth.people, evaluated.predictions
    rows = [row for row, person in enumerate(predictions.person_ids.tolist()) if person in people]
    annotated = [people[person] for person in predictions.person_ids[rows].tolist()]
    return pck(
        predictions.keypoints[rows, :, :2],
        _keypoints(annotated, evaluated.skeleton.num_keypoints),
        np.reshape([person["bbox"] for person in annotated], (-1, 4)),
    )


def _keypoints(people, num_keypoints):
    """(N, K, 3) float64 of N annotations."""
    flat = [person["keypoints"] for person in people]
    return np.asarray(flat, np.float64).reshape(-1, num_keypoints, 3)


def measure_mpii(evaluated):
    """PCKh, and the predictions in the form of the official ``pred.mat``.

    The file has one row for everybody annotated, in the order of the list that chose the validation people:
    with the official list that of ``gt_valid.mat``; without a list, as for the test split, in the order of
    the release (`annolist`, then `annorect`). PCKh is that of people with a record, a labelled joint and a
    head box; rows of people without a record are 0, 0 in image pixels from 0.
    """
    truth, predictions = evaluated.truth, evaluated.predictions
    if evaluated.manifest.boxes != "ground_truth":
        return Measured({}, "PCKh needs annotated boxes: --boxes=ground_truth", "not measured")
    predicted = dict(zip(predictions.person_ids.tolist(), predictions.keypoints[:, :, :2], strict=True))
    files = tuple(with_ending(evaluated.name, ending) for ending in (".mat", ".pred.json"))
    nowhere = np.zeros((MPII.num_keypoints, 2))
    everybody = [predicted.get(person, nowhere) for person in truth.listed]
    mpii.write_submission(np.reshape(everybody, (-1, MPII.num_keypoints, 2)), *files)
    empty, rows = sum(person not in predicted for person in truth.listed), ""
    if empty:
        rows = (
            f"\n{empty:,} of the {len(truth.listed):,} rows in {files[0].name} are of people without a "
            "record: all their joints are 0, 0 (image pixels from 0)"
        )
    if evaluated.manifest.split == "test":
        text = f"the test split's joints are not public; {files[0].name} has a row for each of its people"
        return Measured({}, text + rows, "not measured", files)
    ids = [person for person in truth.listed if person in predicted and _has_head(truth.people.get(person))]
    if not ids:
        text = "PCKh needs annotated joints and head boxes, which these annotations do not have"
        return Measured({}, text + rows, "not measured", files)
    chosen = [truth.people[person] for person in ids]
    keypoints = _keypoints(chosen, MPII.num_keypoints)
    ground_truth = mpii.GroundTruth(
        joints_image=keypoints[:, :, :2],
        missing=keypoints[:, :, 2] == 0,
        head_boxes=np.reshape([person["head_box"] for person in chosen], (-1, 2, 2)).astype(np.float64),
    )
    metrics = mpii.evaluate_mpii(
        np.stack([predicted[person] for person in ids]), ground_truth, evaluated.official_tenth
    )
    table = mpii.format_table(metrics, "PCKh@0.5")
    if len(ids) < len(truth.listed):
        table += (
            f"\nmeasured on {len(ids):,} of {len(truth.listed):,} annotated people: those with a record, a "
            "labelled joint and a head box"
        )
    table += rows
    metrics = {name: _or_none(value) for name, value in metrics.items()}
    return Measured(metrics, table, f"PCKh@0.5 {metrics['Mean'] or 0:.1f}", files)


def _has_head(person):
    """Whether a person, or None, has a head box with an extent, PCKh's unit."""
    box = person.get("head_box") if person else None
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        return False
    return box[:2] != box[2:]


def measure_posetrack(evaluated):
    """PoseTrack's AP, with tracking also MOTA, and the files of a submission: one per video.

    What it needs of videos and records `check_measurable` has looked at.
    """
    results = evaluated.results
    if evaluated.tracking:
        areas = evaluated.predictions.areas[evaluated.kept]
        results = track_results(results, areas, frame_ids(evaluated.sequences))
    files = tuple(write_predictions(results, evaluated.sequences, evaluated.name))
    if evaluated.manifest.split == "test":
        return Measured({}, "the test split's annotations are not public", "not measured", files)
    metrics = posetrack.evaluate_posetrack(evaluated.sequences, evaluated.name, evaluated.tracking)
    headline = f"AP {metrics['AP']['total'] or 0:.1f}"
    return Measured(metrics, posetrack.format_table(metrics), headline, files)


def _check_frames(videos, truth, folder):
    """Raises ValueError unless the videos' pictures are those of the annotation file."""
    frames = {image_id for images in videos.values() for image_id in images}
    pictures = {image["id"] for image in truth.content["images"]}
    if frames != pictures:
        raise ValueError(
            f"it has {len(pictures):,} pictures, the videos in {folder} have {len(frames):,}, and "
            f"{len(frames ^ pictures):,} are in one of them only, for example {min(frames ^ pictures)}. Put "
            "the files there that it was converted from, or convert them again and build with --overwrite"
        )


def with_ending(name, ending):
    """A path with something after its name, which may have dots in it."""
    return name.with_name(name.name + ending)


def _or_none(value):
    """NaN, which JSON does not have, as None."""
    return None if np.isnan(value) else value


#: Datasets with a metric of their own; the others have COCO's.
METRICS: dict[str, Callable] = {"mpii": measure_mpii, "posetrack": measure_posetrack}
