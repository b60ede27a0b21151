"""From a split's records to poses that can be measured: what evaluator and trainer's validation share."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from evaluate.inference import PredictStep, predict
from evaluate.metrics.metric import MetricInput
from evaluate.options import EvaluateOptions
from evaluate.prediction_cache import PredictionCache
from evaluate.predictions import Predictions, join
from evaluate.rescoring import as_results, rescore_and_nms
from evaluate.run_inputs import EvaluationSplit
from hrpose.command import CommandError
from model.run_config import RunConfig
from records.checking.damage import damage_reported
from records.reader import read_records


def predict_split(
    steps: Sequence[PredictStep],
    split: EvaluationSplit,
    config: RunConfig,
    batch_size: int,
    cache: PredictionCache | None = None,
    done: dict[int, Predictions] | None = None,
) -> Predictions:
    """Predicts everybody, with a progress bar.

    Args:
        steps: from `evaluate.inference.make_predict_step`, one for each device.
        split: the records.
        config: the run's.
        batch_size: instances per forward pass.
        cache: where to keep the predictions, or None.
        done: what the cache's `begin` has found done.

    Returns:
        `Predictions`, in the order of the records.

    Raises:
        RecordsError: if a record is damaged.
        CommandError: if a batch does not fit into a device's memory.
    """
    codec = config.make_codec()
    folder, manifest = split.paths.records, split.manifest

    def predicted(skip_batches: int = 0, batches: int = -1) -> Iterator[Predictions]:
        dataset = read_records(
            folder,
            batch_size,
            input_size=config.input_size,
            unbiased=codec.unbiased,
            skip_batches=skip_batches,
            fingerprint=manifest.fingerprint,
        )
        for part in predict(steps, dataset.take(batches), config.heatmap_size, codec):
            bar.update(len(part))
            yield part

    with (
        damage_reported(folder, fingerprint=manifest.fingerprint),
        tqdm(
            total=manifest.records,
            initial=sum(map(len, done.values())) if done else 0,
            desc="predict",
            unit=" instances",
            dynamic_ncols=True,
            mininterval=1,
        ) as bar,
    ):
        try:
            return join(list(predicted())) if cache is None else cache.complete(done or {}, predicted)
        except tf.errors.ResourceExhaustedError as error:
            raise CommandError(
                f"a batch of {batch_size} instances does not fit into a device's memory; --batch_size makes "
                "it smaller"
            ) from error


def make_metric_input(
    split: EvaluationSplit, predictions: Predictions, options: EvaluateOptions, name: Path, title: str
) -> MetricInput:
    """Rescores the poses and leaves out doubled ones.

    Args:
        split: that was predicted.
        predictions: of it.
        options: how to rescore.
        name: path without extension for the files that a metric writes.
        title: whose predictions they are, for messages.

    Raises:
        CommandError: if the network says NaN.
    """
    try:
        kept, scores = rescore_and_nms(
            predictions.keypoints,
            predictions.areas,
            predictions.box_scores,
            predictions.image_ids,
            options.oks_threshold,
            options.min_visibility,
            options.soft_nms,
            split.skeleton.sigmas,
        )
    except ValueError as error:
        raise CommandError(f"{title} on {split.ground_truth.path}: {error}") from error
    results = as_results(
        predictions.keypoints, predictions.image_ids, kept, scores, split.ground_truth.category
    )
    return MetricInput(split, predictions, kept, results, name)
