"""Each dataset's own metric of an evaluation, and the files its server wants."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluate.ground_truth import GroundTruth
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
class MetricInput:
    """What a metric looks at.

    Attributes:
        manifest: of the records.
        skeleton: the run's.
        ground_truth: what they were built from.
        predictions: `Predictions` for each record.
        kept: (M,) int64, the poses left after OKS-NMS, as indices of the predictions.
        results: list of M COCO result dicts.
        sequences: PoseTrack's folder of annotation files, one per video.
        name: path without extension for the files to write.
        tracking: PoseTrack: whether to number instances over time and to measure that.
        official_tenth: MPII: whether "Mean@0.1" shall be what the official code calls so.
    """

    manifest: Manifest
    skeleton: Skeleton
    ground_truth: GroundTruth
    predictions: Predictions
    kept: np.ndarray
    results: list
    sequences: Path
    name: Path
    tracking: bool = False
    official_tenth: bool = False


@dataclass(frozen=True)
class MetricResult:
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


def measure(metric_input):
    """The dataset's own metric, of what `check_measurable` has let pass.

    Args:
        metric_input: `MetricInput`.

    Returns:
        `MetricResult`.

    Raises:
        CommandError: if the predictions, or the files to measure against, cannot be used.
    """
    metric = METRICS.get(metric_input.manifest.dataset, measure_coco)
    try:
        return metric(metric_input)
    except (ValueError, FileNotFoundError) as error:
        raise CommandError(f"{metric_input.ground_truth.path}: {error}") from error


def check_measurable(manifest, ground_truth, sequences, tracking=False):
    """Refuses what `measure` could not measure, whatever the predictions: to be called before predicting.

    PoseTrack's metric needs whole videos, and the files that the annotations were converted from: as many
    images, in the form and, to measure tracking, with the tracks that `posetrack.evaluate_posetrack` needs.

    Args:
        manifest, ground_truth, sequences, tracking: see `MetricInput`.

    Raises:
        CommandError: naming what is wrong, and what to do.
    """
    if manifest.dataset != "posetrack":
        _check_coco(manifest, ground_truth)
        return
    try:
        if ground_truth.image_ids is not None:
            raise ValueError(
                f"the records were built with --image_ids, from {len(ground_truth.image_ids):,} images; "
                "PoseTrack's metric needs whole videos. Build them without --image_ids"
            )
        _check_frames(frame_ids(sequences), ground_truth, sequences)
        if manifest.split != "test":
            posetrack.read_ground_truth(sequences, tracking)
    except (ValueError, FileNotFoundError) as error:
        raise CommandError(f"{ground_truth.path}: {error}") from error


def _check_coco(manifest, ground_truth):
    """Raises CommandError if COCO's metric could not read the annotations that it would be given."""
    if manifest.dataset in METRICS or not ground_truth.labeled:
        return
    try:
        read_ground_truth(ground_truth.content, manifest.skeleton.num_keypoints)
    except ValueError as error:
        raise CommandError(f"{ground_truth.path}: {error}") from error


def measure_coco(metric_input):
    """COCO's AP and AR with the skeleton's sigmas; for data without areas also PCK, which needs none."""
    ground_truth, sigmas = metric_input.ground_truth, metric_input.skeleton.sigmas
    if not ground_truth.labeled:
        text = f"{ground_truth.path} has no annotations to measure against"
        return MetricResult({}, text, "not measured", _coco_submission(metric_input))
    metrics = coco.evaluate_coco(ground_truth.content, metric_input.results, sigmas, ground_truth.image_ids)
    table, headline = coco.format_table(metrics), f"AP {metrics['AP']:.3f}"
    if metrics["AP"] == coco.UNDEFINED:
        headline = "AP n/a, nobody to find"
    elif not metric_input.results:
        table += "\nNo poses were kept, so nobody is found."
    if ground_truth.unusable:
        table += (
            f"\n{ground_truth.unusable:,} annotations without usable id, image, box or keypoints are left out"
        )
    if not ground_truth.has_areas:
        table += "\nThe annotations have no areas; OKS takes those of the boxes."
        if metric_input.manifest.boxes == "ground_truth":
            pixels = _box_pck(metric_input)
            metrics["PCK@0.2"] = _or_none(pixels["mean"])
            table += f"\nPCK@0.2 of the box's longer side = {pixels['mean']:.1f} %"
    doubts = (f"{ground_truth.path}: {ground_truth.area_warning}",) if ground_truth.area_warning else ()
    return MetricResult(metrics, table, headline, notes=(*doubts, *_crowded(ground_truth)))


def _crowded(ground_truth):
    """(line,) that names the images with more instances than the metric looks at; () if there are none."""
    instances = Counter(
        instance["image_id"]
        for instance in ground_truth.content["annotations"]
        if instance["num_keypoints"] and not instance["iscrowd"]
    )
    crowded = [
        count
        for image_id, count in instances.items()
        if count > MAX_POSES and (ground_truth.image_ids is None or image_id in ground_truth.image_ids)
    ]
    if not crowded:
        return ()
    return (
        f"COCO's metric counts the {MAX_POSES} best poses of an image, and {len(crowded):,} of the images "
        f"{'has' if len(crowded) == 1 else 'have'} more instances (up to {max(crowded):,}): not all of them "
        "can be found",
    )


def _coco_submission(metric_input):
    """For COCO's own images without annotations the file for its server: a tuple of one path, or none."""
    if metric_input.manifest.dataset != "coco":
        return ()
    split = metric_input.ground_truth.path.stem.removeprefix("image_info_").removeprefix("person_keypoints_")
    algorithm = metric_input.name.name.removeprefix(f"{metric_input.ground_truth.path.stem}_").replace(
        "_", "-"
    )
    return (coco.write_submission(metric_input.results, metric_input.name.parent, split, algorithm),)


def _box_pck(metric_input):
    instances, predictions = metric_input.ground_truth.instances, metric_input.predictions
    rows = [row for row, instance in enumerate(predictions.instance_ids.tolist()) if instance in instances]
    annotated = [instances[instance] for instance in predictions.instance_ids[rows].tolist()]
    return pck(
        predictions.keypoints[rows, :, :2],
        _keypoints(annotated, metric_input.skeleton.num_keypoints),
        np.reshape([instance["bbox"] for instance in annotated], (-1, 4)),
    )


def _keypoints(instances, num_keypoints):
    """(N, K, 3) float64 of N annotations."""
    flat = [instance["keypoints"] for instance in instances]
    return np.asarray(flat, np.float64).reshape(-1, num_keypoints, 3)


def measure_mpii(metric_input):
    """PCKh, and the predictions in the form of the official ``pred.mat``.

    The file has one row for everybody annotated, in the order of the list that chose the validation
    instances: with the official list that of ``gt_valid.mat``; without a list, as for the test split, in the
    order of the release (`annolist`, then `annorect`). PCKh is that of instances with a record, a labeled
    keypoint and a head box; rows of instances without a record are 0, 0 in image pixels from 0.
    """
    ground_truth, predictions = metric_input.ground_truth, metric_input.predictions
    if metric_input.manifest.boxes != "ground_truth":
        return MetricResult({}, "PCKh needs annotated boxes: --boxes=ground_truth", "not measured")
    predicted = dict(zip(predictions.instance_ids.tolist(), predictions.keypoints[:, :, :2], strict=True))
    files = tuple(with_ending(metric_input.name, ending) for ending in (".mat", ".pred.json"))
    nowhere = np.zeros((MPII.num_keypoints, 2))
    everybody = [predicted.get(instance, nowhere) for instance in ground_truth.listed]
    mpii.write_submission(np.reshape(everybody, (-1, MPII.num_keypoints, 2)), *files)
    empty, rows = sum(instance not in predicted for instance in ground_truth.listed), ""
    if empty:
        rows = (
            f"\n{empty:,} of the {len(ground_truth.listed):,} rows in {files[0].name} are of instances "
            "without a record: all their keypoints are 0, 0 (image pixels from 0)"
        )
    if metric_input.manifest.split == "test":
        text = (
            f"the test split's keypoints are not public; {files[0].name} has a row for each of its instances"
        )
        return MetricResult({}, text + rows, "not measured", files)
    ids = [
        instance
        for instance in ground_truth.listed
        if instance in predicted and _has_head(ground_truth.instances.get(instance))
    ]
    if not ids:
        text = "PCKh needs annotated keypoints and head boxes, which these annotations do not have"
        return MetricResult({}, text + rows, "not measured", files)
    chosen = [ground_truth.instances[instance] for instance in ids]
    keypoints = _keypoints(chosen, MPII.num_keypoints)
    heads = mpii.HeadGroundTruth(
        keypoints_image=keypoints[:, :, :2],
        missing=keypoints[:, :, 2] == 0,
        head_boxes=np.reshape([instance["head_box"] for instance in chosen], (-1, 2, 2)).astype(np.float64),
    )
    metrics = mpii.evaluate_mpii(
        np.stack([predicted[instance] for instance in ids]), heads, metric_input.official_tenth
    )
    table = mpii.format_table(metrics, "PCKh@0.5")
    if len(ids) < len(ground_truth.listed):
        table += (
            f"\nmeasured on {len(ids):,} of {len(ground_truth.listed):,} annotated instances: those with a "
            "record, a labeled keypoint and a head box"
        )
    table += rows
    metrics = {name: _or_none(value) for name, value in metrics.items()}
    return MetricResult(metrics, table, f"PCKh@0.5 {metrics['Mean'] or 0:.1f}", files)


def _has_head(instance):
    """Whether an instance, or None, has a head box with an extent, PCKh's unit."""
    box = instance.get("head_box") if instance else None
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        return False
    return box[:2] != box[2:]


def measure_posetrack(metric_input):
    """PoseTrack's AP, with tracking also MOTA, and the files of a submission: one per video.

    What it needs of videos and records `check_measurable` has looked at.
    """
    results = metric_input.results
    if metric_input.tracking:
        areas = metric_input.predictions.areas[metric_input.kept]
        results = track_results(results, areas, frame_ids(metric_input.sequences))
    files = tuple(write_predictions(results, metric_input.sequences, metric_input.name))
    if metric_input.manifest.split == "test":
        return MetricResult({}, "the test split's annotations are not public", "not measured", files)
    metrics = posetrack.evaluate_posetrack(metric_input.sequences, metric_input.name, metric_input.tracking)
    headline = f"AP {metrics['AP']['total'] or 0:.1f}"
    return MetricResult(metrics, posetrack.format_table(metrics), headline, files)


def _check_frames(videos, ground_truth, folder):
    """Raises ValueError unless the videos' images are those of the annotation file."""
    frames = {image_id for images in videos.values() for image_id in images}
    annotated = {image["id"] for image in ground_truth.content["images"]}
    if frames != annotated:
        raise ValueError(
            f"it has {len(annotated):,} images, the videos in {folder} have {len(frames):,}, and "
            f"{len(frames ^ annotated):,} are in one of them only, for example {min(frames ^ annotated)}. "
            "Put the files there that it was converted from, or convert them again and build with --overwrite"
        )


def with_ending(name, ending):
    """A path with something after its name, which may have dots in it."""
    return name.with_name(name.name + ending)


def _or_none(value):
    """NaN, which JSON does not have, as None."""
    return None if np.isnan(value) else value


#: Datasets with a metric of their own; the others have COCO's.
METRICS: dict[str, Callable] = {"mpii": measure_mpii, "posetrack": measure_posetrack}
