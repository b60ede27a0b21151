"""Evaluates a training run: records in, result files, metrics and a picture out."""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2

from evaluate.inference import make_predict_step, predict
from evaluate.laps import Laps
from evaluate.measures import Evaluated, measure
from evaluate.network import load_network
from evaluate.report import write_report
from evaluate.rescoring import as_results, keep_poses
from evaluate.sheet import draw_people
from evaluate.truth import find_truth
from model.codec import codec_named
from model.runs import read_config
from records.command import CommandError
from records.damage import damage_reported
from records.dataset import read_records
from records.layout import LAYOUTS, records_folder
from records.shards import MANIFEST, RecordsError, read_manifest

BOX_SOURCES = {"ground_truth": "annotated", "detections": "detected"}


@dataclass(frozen=True)
class EvaluateOptions:
    """One evaluation.

    Attributes:
        output: the run's folder, with model_dump/; result/ goes there.
        epoch: which checkpoint; None for the last.
        split: which records.
        boxes: "ground_truth", "detections", or None for detections where they were built.
        dataset_dir: the dataset's folder; None for the default one.
        records_dir: folder of the records; None for the dataset folder's records/.
        annotations: annotation file; None for the dataset's own.
        batch_size: people per forward pass.
        flip_test: whether to average with the mirrored picture's heatmaps.
        oks_threshold, min_visibility, soft_nms: see `evaluate.rescoring.to_results`.
        pictures: how many people the contact sheet shows.
        tracking, official_tenth: see `evaluate.measures.Evaluated`.
    """

    output: str
    epoch: int | None = None
    split: str = "val"
    boxes: str | None = None
    dataset_dir: str | None = None
    records_dir: str | None = None
    annotations: str | None = None
    batch_size: int = 32
    flip_test: bool = True
    oks_threshold: float = 0.9
    min_visibility: float = 0.2
    soft_nms: bool = False
    pictures: int = 24
    tracking: bool = False
    official_tenth: bool = False


def evaluate_run(options):
    """Evaluates and shows the result.

    Args:
        options: `EvaluateOptions`.

    Returns:
        The dataset's metrics by name, JSON-ready; empty where there is nothing to measure against.

    Raises:
        RunError: if there is no such run or epoch.
        RecordsError: if there are no records to evaluate on, or they do not belong to the run.
        CommandError: if the predictions cannot be scored, for example because the network says NaN.
    """
    laps = Laps()
    checkpoints = Path(options.output) / "model_dump"
    config = read_config(checkpoints)
    layout = LAYOUTS.get(config.dataset)
    if layout is None:
        raise RecordsError(f"the run is on a dataset {config.dataset!r} that this version does not know")
    dataset_dir = Path(options.dataset_dir or layout.default_dir())
    folder = find_records(options, config, dataset_dir)
    manifest = read_manifest(folder)
    if manifest.skeleton.to_json()["keypoints"] != config.skeleton["keypoints"]:
        raise RecordsError(
            f"the run in {checkpoints} predicts the {config.num_keypoints} keypoints of "
            f"{config.skeleton['name']}, the records in {folder} have the {manifest.skeleton.num_keypoints} "
            f"of {manifest.skeleton.name}; --dataset_dir or --records_dir names others"
        )
    truth = find_truth(options, manifest)

    network = load_network(options.output, options.epoch)
    model, epoch = network.model, network.epoch
    laps.lap("annotations and network")
    print(
        f"{config.model} after epoch {epoch}, {manifest.records:,} {BOX_SOURCES[manifest.boxes]} boxes "
        f"of {config.dataset} {options.split}, flip test {'on' if options.flip_test else 'off'}"
    )
    step = make_predict_step(
        model, config.codec, config.sigma, manifest.skeleton.flip_permutation if options.flip_test else None
    )
    unbiased = codec_named(config.codec).unbiased
    dataset = read_records(folder, options.batch_size, input_size=config.input_size, unbiased=unbiased)
    with damage_reported(folder):
        predictions = predict(step, dataset, config.heatmap_size, manifest.records, unbiased)
    laps.lap("predict")
    result_folder = Path(options.output) / "result"
    result_folder.mkdir(parents=True, exist_ok=True)
    name = f"{truth.path.stem}_{config.model}_epoch-{epoch:04d}_{manifest.boxes}"
    results_path = result_folder / f"{name}_results.json"
    try:
        kept, scores = keep_poses(
            predictions.keypoints,
            predictions.areas,
            predictions.box_scores,
            predictions.image_ids,
            options.oks_threshold,
            options.min_visibility,
            options.soft_nms,
            manifest.skeleton.sigmas,
        )
    except ValueError as error:
        raise CommandError(f"{config.model} after epoch {epoch} on {truth.path}: {error}") from error
    results = as_results(predictions.keypoints, predictions.image_ids, kept, scores, truth.category)
    results_path.write_text(json.dumps(results))
    laps.lap("rescoring and OKS-NMS")
    print(f"{len(results):,} people kept of {manifest.records:,} boxes after OKS-NMS")
    evaluated = Evaluated(
        manifest=manifest,
        truth=truth,
        predictions=predictions,
        kept=kept,
        results=results,
        sequences=dataset_dir / "original_annotations" / options.split,
        name=result_folder / name,
        tracking=options.tracking,
        official_tenth=options.official_tenth,
    )
    measured = measure(evaluated)
    laps.lap("metric")
    if measured.metrics:
        summary = {"metrics": measured.metrics, "epoch": epoch, "boxes": manifest.boxes}
        summary |= {"dataset": config.dataset, "split": options.split, "results": results_path.name}
        (result_folder / f"{name}_metrics.json").write_text(json.dumps(summary, indent=1))
    picture = result_folder / f"{name}.png"
    sheet = draw_people(
        folder,
        manifest.skeleton,
        config.input_size,
        predictions,
        truth.content,
        options.pictures,
        title=f"{config.model} epoch {epoch}, {BOX_SOURCES[manifest.boxes]} boxes of {config.dataset} "
        f"{options.split}: {measured.headline}",
    )
    cv2.imwrite(str(picture), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    laps.lap("picture")
    report = write_report(
        result_folder / "report.html",
        evaluated,
        measured,
        config,
        folder,
        laps.seconds,
        epoch=epoch,
        flip_test=options.flip_test,
    )

    print(f"\n{measured.table}\n\nresults: {results_path}")
    if measured.files:
        print(f"for the dataset's server: {measured.files[0]}, {len(measured.files)} file(s) in all")
    print(f"picture: {picture}\nreport: {report}")
    return measured.metrics


def find_records(options, config, dataset_dir):
    """The records folder to evaluate on."""
    records_dir = options.records_dir or dataset_dir / "records"
    detections = records_folder(records_dir, options.split, "detections")
    # PCKh compares each annotated person with one prediction, so MPII is measured on annotated boxes.
    by_default = options.boxes is None and config.dataset != "mpii" and (detections / MANIFEST).exists()
    if options.boxes == "detections" or by_default:
        return detections
    return records_folder(records_dir, options.split, "ground_truth")
