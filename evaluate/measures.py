"""Each dataset's own metric of an evaluation, and the files its server wants."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluate import coco, mpii, posetrack
from evaluate.inference import Predictions
from evaluate.pck import pck
from evaluate.posetrack_files import frame_ids, write_predictions
from evaluate.tracking import track_results
from evaluate.truth import Truth
from records.command import CommandError
from records.shards import Manifest


@dataclass(frozen=True)
class Evaluated:
    """What a metric looks at.

    Attributes:
        manifest: of the records.
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
    """

    metrics: dict
    table: str
    headline: str
    files: tuple = ()


def measure(evaluated):
    """The dataset's own metric.

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


def measure_coco(evaluated):
    """COCO's AP and AR with the skeleton's sigmas; for data without areas also PCK, which needs none."""
    truth, sigmas = evaluated.truth, evaluated.manifest.skeleton.sigmas
    if not truth.labelled:
        return Measured({}, f"{truth.path} has no annotations to measure against", "not measured")
    metrics = coco.evaluate_coco(truth.content, evaluated.results, sigmas, truth.image_ids)
    table, headline = coco.format_table(metrics), f"AP {metrics['AP']:.3f}"
    if truth.unusable:
        table += f"\n{truth.unusable:,} annotations without usable box or keypoints are left out"
    if not truth.has_areas:
        table += "\nThe annotations have no areas; OKS takes those of the boxes."
        if evaluated.manifest.boxes == "ground_truth":
            pixels = _box_pck(evaluated)
            metrics["PCK@0.2"] = _or_none(pixels["mean"])
            table += f"\nPCK@0.2 of the box's longer side = {pixels['mean']:.1f} %"
    return Measured(metrics, table, headline)


def _box_pck(evaluated):
    people = {person["id"]: person for person in evaluated.truth.content["annotations"]}
    rows = [row for row, person in enumerate(evaluated.predictions.person_ids.tolist()) if person in people]
    annotated = [people[person] for person in evaluated.predictions.person_ids[rows].tolist()]
    return pck(
        evaluated.predictions.keypoints[rows, :, :2],
        np.reshape([person["keypoints"] for person in annotated], (len(rows), -1, 3)),
        [person["bbox"] for person in annotated],
    )


def measure_mpii(evaluated):
    """PCKh, and the predictions in the form of the official ``pred.mat``: one row per validation person."""
    if evaluated.manifest.boxes != "ground_truth" or not evaluated.truth.labelled:
        return Measured({}, "PCKh needs annotated boxes: --boxes=ground_truth", "not measured")
    people = {
        person["id"]: person
        for person in evaluated.truth.content["annotations"]
        if person.get("head_box") and any(person["keypoints"][2::3])
    }
    predicted = dict(
        zip(evaluated.predictions.person_ids.tolist(), evaluated.predictions.keypoints, strict=True)
    )
    # The order of the list that chose the validation people is that of gt_valid.mat.
    ids = sorted(
        people.keys() & predicted.keys(), key=lambda person: (people[person].get("list_row", 0), person)
    )
    if not ids:
        text = "PCKh needs annotated joints and head boxes, which these annotations do not have"
        return Measured({}, text, "not measured")
    chosen = [people[person] for person in ids]
    keypoints = np.reshape([person["keypoints"] for person in chosen], (len(ids), -1, 3)).astype(np.float64)
    truth = mpii.GroundTruth(
        joints_image=keypoints[:, :, :2],
        missing=keypoints[:, :, 2] == 0,
        head_boxes=np.reshape([person["head_box"] for person in chosen], (-1, 2, 2)).astype(np.float64),
    )
    predictions = np.stack([predicted[person][:, :2] for person in ids])
    metrics = mpii.evaluate_mpii(predictions, truth, evaluated.official_tenth)
    files = (evaluated.name.with_suffix(".mat"), evaluated.name.with_suffix(".pred.json"))
    mpii.write_submission(predictions, *files)
    table = mpii.format_table(metrics, "PCKh@0.5")
    if len(ids) < len(people):
        table += f"\n{len(ids):,} of {len(people):,} annotated people; the others have no record"
    metrics = {name: _or_none(value) for name, value in metrics.items()}
    return Measured(metrics, table, f"PCKh@0.5 {metrics['Mean'] or 0:.1f}", files)


def measure_posetrack(evaluated):
    """PoseTrack's AP, with tracking also MOTA, and the files of a submission: one per video."""
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


def _or_none(value):
    """NaN, which JSON does not have, as None."""
    return None if np.isnan(value) else value


#: Datasets with a metric of their own; the others have COCO's.
METRICS: dict[str, Callable] = {"mpii": measure_mpii, "posetrack": measure_posetrack}
