"""The person boxes of a split, from their records to poses that can be measured: what the evaluator and the
trainer's validation share.
"""

from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from evaluate.ground_truth import GroundTruth, find_ground_truth
from evaluate.inference import join, predict
from evaluate.metrics.registry import MetricInput, check_measurable
from evaluate.rescoring import as_results, rescore_and_nms
from evaluate.skeletons import other_facts
from hrpose.command import CommandError
from hrpose.storage import path_of, remote_errors
from model.codecs.conventions import codec_named
from records.checking.damage import damage_reported
from records.datasets import DATASETS
from records.datasets.paths import records_folder
from records.errors import RecordsError
from records.manifest import MANIFEST, Manifest, read_manifest
from records.reader import read_records
from records.skeletons import Skeleton, keypoint_difference


@dataclass(frozen=True)
class EvaluationSplit:
    """Records to predict, and what they are measured against.

    Attributes:
        folder: of the records.
        manifest: theirs.
        skeleton: the run's, by which poses are mirrored, measured and drawn.
        ground_truth: the annotations they were built with.
        sequences: PoseTrack's folder of annotation files, one per video.
        notes: lines for the user, of what the records say otherwise.
    """

    folder: Path
    manifest: Manifest
    skeleton: Skeleton
    ground_truth: GroundTruth
    sequences: Path
    notes: tuple[str, ...] = ()


def find_evaluation_split(options, config):
    """Finds the records and the annotations of an evaluation.

    Args:
        options: `evaluate.options.EvaluateOptions`.
        config: the run's `RunConfig`.

    Returns:
        `EvaluationSplit`.

    Raises:
        RecordsError: if there are no records with instances, or they do not belong to the run, or their
            annotations are missing or have changed.
        CommandError: if the dataset's metric could not measure them.
    """
    dataset = DATASETS.get(config.dataset)
    if dataset is None:
        raise RecordsError(f"the run is on a dataset {config.dataset!r} that this version does not know")
    dataset_dir = path_of(options.dataset_dir or dataset.layout.default_dir())
    folder = _records(options, config, dataset_dir)
    manifest = read_manifest(folder)
    if differing := keypoint_difference(config.skeleton["keypoints"], manifest.skeleton.keypoints):
        raise RecordsError(
            f"the run in {options.output} predicts the {config.num_keypoints} keypoints of "
            f"{config.skeleton['name']}, the records in {folder} have the {manifest.skeleton.num_keypoints} "
            f"of {manifest.skeleton.name}: {differing}; --dataset_dir or --records_dir names others"
        )
    if not manifest.records:
        raise RecordsError(
            f"the records in {folder} hold nobody, so there is nothing to predict; records/check.py {folder} "
            "says why instances were left out"
        )
    skeleton = Skeleton.from_json(config.skeleton)
    ground_truth = find_ground_truth(options, manifest)
    sequences = dataset_dir / "original_annotations" / options.split
    check_measurable(manifest, ground_truth, sequences, options.tracking)
    return EvaluationSplit(
        folder, manifest, skeleton, ground_truth, sequences, tuple(other_facts(skeleton, manifest.skeleton))
    )


def _records(options, config, dataset_dir):
    """The records folder to evaluate on."""
    records_dir = options.records_dir or dataset_dir / "records"
    detections = records_folder(records_dir, options.split, "detections")
    # PCKh compares each annotated instance with one prediction, so MPII is measured on annotated boxes.
    with remote_errors(detections):
        by_default = options.boxes is None and config.dataset != "mpii" and (detections / MANIFEST).exists()
    if options.boxes == "detections" or by_default:
        return detections
    return records_folder(records_dir, options.split, "ground_truth")


def predict_split(steps, evaluation_split, config, batch_size, cache=None, done=None):
    """Predicts everybody, with a progress bar.

    Args:
        steps: from `evaluate.inference.make_predict_step`, one for each device.
        evaluation_split: `EvaluationSplit`.
        config: the run's `RunConfig`.
        batch_size: instances per forward pass.
        cache: an `evaluate.prediction_cache.PredictionCache` to keep the predictions in, or None.
        done: what its `begin` has found done.

    Returns:
        `Predictions`, in the order of the records.

    Raises:
        RecordsError: if a record is damaged.
        CommandError: if a batch does not fit into a device's memory.
    """
    unbiased = codec_named(config.codec).unbiased

    def predicted(skip_batches=0, batches=-1):
        dataset = read_records(
            evaluation_split.folder,
            batch_size,
            input_size=config.input_size,
            unbiased=unbiased,
            skip_batches=skip_batches,
            fingerprint=evaluation_split.manifest.fingerprint,
        )
        for part in predict(steps, dataset.take(batches), config.heatmap_size, unbiased):
            bar.update(len(part))
            yield part

    with (
        damage_reported(evaluation_split.folder, fingerprint=evaluation_split.manifest.fingerprint),
        tqdm(
            total=evaluation_split.manifest.records,
            initial=sum(map(len, done.values())) if done else 0,
            desc="predict",
            unit=" instances",
            dynamic_ncols=True,
            mininterval=1,
        ) as bar,
    ):
        try:
            return join(list(predicted())) if cache is None else cache.complete(done, predicted)
        except tf.errors.ResourceExhaustedError as error:
            raise CommandError(
                f"a batch of {batch_size} instances does not fit into a device's memory; --batch_size makes "
                "it smaller"
            ) from error


def make_metric_input(evaluation_split, predictions, options, name, title):
    """Rescores the poses and leaves out doubled ones.

    Args:
        evaluation_split: the `EvaluationSplit` that were predicted.
        predictions: `Predictions` of them.
        options: `evaluate.options.EvaluateOptions`.
        name: path without extension for the files that a metric writes.
        title: whose predictions they are, for messages.

    Returns:
        An `evaluate.metrics.registry.MetricInput`.

    Raises:
        CommandError: if the network says NaN.
    """
    instances, ground_truth = predictions, evaluation_split.ground_truth
    try:
        kept, scores = rescore_and_nms(
            instances.keypoints,
            instances.areas,
            instances.box_scores,
            instances.image_ids,
            options.oks_threshold,
            options.min_visibility,
            options.soft_nms,
            evaluation_split.skeleton.sigmas,
        )
    except ValueError as error:
        raise CommandError(f"{title} on {ground_truth.path}: {error}") from error
    return MetricInput(
        manifest=evaluation_split.manifest,
        skeleton=evaluation_split.skeleton,
        ground_truth=ground_truth,
        predictions=predictions,
        kept=kept,
        results=as_results(instances.keypoints, instances.image_ids, kept, scores, ground_truth.category),
        sequences=evaluation_split.sequences,
        name=name,
        tracking=options.tracking,
        official_tenth=options.official_tenth,
    )
