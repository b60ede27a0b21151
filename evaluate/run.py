"""Evaluates a training run: records in, result files, metrics and an image out."""

import contextlib
import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluate.inference import PredictStep, make_predict_step
from evaluate.metrics import check_metrics, measure
from evaluate.metrics.metric import MetricResult, with_ending
from evaluate.network import Network, load_network
from evaluate.options import EvaluateOptions
from evaluate.predict_split import make_metric_input, predict_split
from evaluate.prediction_cache import INSTANCES_PER_PART, PredictionCache
from evaluate.predictions import Predictions
from evaluate.report.contact_sheet import draw_instances
from evaluate.report.report import BOX_SOURCES, write_report
from evaluate.run_inputs import EvaluationSplit, find_evaluation_split, run_dataset
from hrpose.atomic_files import WriteError, write_json, write_whole
from hrpose.command import CommandError
from hrpose.devices import use_gpus
from hrpose.drawing import encode
from hrpose.lock import only_one
from model.run_config import read_config
from records.checking.damage import damage_reported
from records.reader import resolution_note

log = logging.getLogger(__name__)

#: Options that decide the metric besides what the predictions' name tells, for its file.
DECIDING = ("flip_test", "oks_threshold", "min_visibility", "soft_nms")


@dataclass(frozen=True)
class Timing:
    """How long each phase takes: {phase: seconds}, in their order."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Takes the time of the body."""
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started


def evaluate_run(options: EvaluateOptions) -> dict[str, Any]:
    """Evaluates and shows the result.

    Returns:
        The headline metric's content of the metrics file; empty where there is nothing to measure against.

    Raises:
        RunError: if there is no such run or epoch, or parts to continue were made with other settings.
        RecordsError: if there are no records to evaluate on, or they do not belong to the run.
        UsageError: if there are fewer GPUs than asked for.
        CommandError: if a metric does not fit the split, if the predictions cannot be scored, for example
            because the network says NaN, if a file cannot be written, or if another evaluation of the same
            name is running.
    """
    timing = Timing()
    with timing.phase("annotations and network"):
        config = read_config(options.paths.checkpoints)
        devices = use_gpus(options.gpus, "evaluates")
        split = find_evaluation_split(options.paths, config)
        check_metrics(options.metrics, split)
        network = load_network(options.paths.run_dir, options.epoch, options.averaged, devices)

    manifest = split.manifest
    what = f"{BOX_SOURCES[manifest.boxes]} boxes of {config.dataset} {manifest.split}"
    flip_test = f"flip test {'on' if options.flip_test else 'off'}"
    log.info(
        "%s, %s %s, %s, on %s", network.title, f"{manifest.records:,}", what, flip_test, ", ".join(devices)
    )
    for note in filter(None, (resolution_note(manifest, config.input_size), *split.notes)):
        log.info("note: %s", note)
    name = result_name(network, split, options)
    cache = prediction_cache_of(network, split, options, name.parent / "parts" / name.name)
    # With --continue it may be the images only that read the records.
    with (
        only_one(cache.folder, "evaluation of this name"),
        damage_reported(split.paths.records, fingerprint=manifest.fingerprint),
    ):
        try:
            done = cache.begin(options.resume)
            # The report makes instances per second of "predict".
            with timing.phase("predict the rest" if done else "predict"):
                steps = predict_steps(network, split, options, devices)
                predictions = predict_split(steps, split, config, options.batch_size, cache, done)
            return report(network, split, options, predictions, name, what, timing)
        except WriteError as error:
            raise CommandError(
                f"{error}. The same command with --continue then takes the predictions that are done"
            ) from error


def report(
    network: Network,
    split: EvaluationSplit,
    options: EvaluateOptions,
    predictions: Predictions,
    name: Path,
    what: str,
    timing: Timing,
) -> dict[str, Any]:
    """Rescores and measures predictions, and writes and shows what comes of it.

    Args:
        network: whose they are.
        split: the records.
        options: the evaluation's.
        predictions: of the split.
        name: path without extension of the files.
        what: whose boxes, for titles.
        timing: so far.

    Returns, and raises:
        as `evaluate_run`.
    """
    with timing.phase("rescoring and OKS-NMS"):
        metric_input = make_metric_input(split, predictions, options, name, network.title)
        results = write_json(with_ending(name, "_results.json"), metric_input.results)
        kept, boxes = len(metric_input.results), split.manifest.records
        log.info("%s instances kept of %s boxes after OKS-NMS", f"{kept:,}", f"{boxes:,}")
    with timing.phase("metric"):
        metric_results = measure(options.metrics, metric_input)
        if any(result.content for result in metric_results.values()):
            content = metrics_content(metric_results, network, split, options, results.name)
            write_json(with_ending(name, "_metrics.json"), content, indent=1)
    headline = next(iter(metric_results.values()))
    with timing.phase("image"):
        title = f"{network.title}, {what}: {headline.headline}"
        image = write_image(with_ending(name, ".png"), split, network, predictions, options.num_images, title)
    more = settings_of(network, options) + [("note", note) for note in split.notes]
    page = with_ending(name, ".html")
    write_report(
        page,
        metric_input,
        metric_results,
        network.config,
        timing.seconds,
        epoch=network.epoch,
        flip_test=options.flip_test,
        more=more,
    )
    latest = write_whole(name.parent / "report.html", page.read_bytes())

    for result in metric_results.values():
        print(f"\n{result.table}")
        for note in result.notes:
            print(f"note: {note}")
    print(f"\nresults: {results}")
    files = [file for result in metric_results.values() for file in result.files]
    if files:
        print(f"for the dataset's server: {files[0]}, {len(files)} file(s) in all")
    print(f"image: {image}\nreport: {latest}")
    return headline.content


def metrics_content(
    metric_results: Mapping[str, MetricResult],
    network: Network,
    split: EvaluationSplit,
    options: EvaluateOptions,
    results: str,
) -> dict[str, Any]:
    """The metrics file: the headline metric's numbers, how they came about, and any other metrics' beside."""
    headline, *others = metric_results
    content: dict[str, Any] = {"metrics": metric_results[headline].content}
    content |= {"epoch": network.epoch, "averaged": network.averaged, "boxes": split.manifest.boxes}
    content |= {"dataset": network.config.dataset, "split": split.manifest.split, "results": results}
    content |= {name: getattr(options, name) for name in DECIDING}
    content |= {
        "notes": [*split.notes, *(note for result in metric_results.values() for note in result.notes)]
    }
    if others:
        content |= {"other_metrics": {name: metric_results[name].content for name in others}}
    return content


def settings_of(network: Network, options: EvaluateOptions) -> list[tuple[str, str]]:
    """[(name, value)] of how was evaluated, for the report."""
    nms = f"above {options.oks_threshold:g}, keypoints that score above {options.min_visibility:g}"
    return [
        ("weights", "moving average" if network.averaged else "as learned"),
        ("OKS-NMS", f"{'soft, ' * options.soft_nms}{nms}"),
    ]


def write_image(
    path: Path, split: EvaluationSplit, network: Network, predictions: Predictions, count: int, title: str
) -> Path:
    """Writes the contact sheet and returns its path; see `evaluate.report.contact_sheet.draw_instances`."""
    sheet = draw_instances(split, network.config.input_size, predictions, count, title)
    return write_whole(path, encode(sheet, ".png"))


def result_name(network: Network, split: EvaluationSplit, options: EvaluateOptions) -> Path:
    """Path without extension of an evaluation's files: it tells apart what predicts otherwise.

    Annotations, split, network, epoch, weights, boxes and flip test are in it by name. Where these do not say
    which records were predicted, digits of the records' fingerprint do: with ``--records_dir`` of another
    name than "records", with a list of images, and for users' own data, whose files may be called anything.
    """
    manifest, stem = split.manifest, split.ground_truth.path.stem
    # COCO's and PoseTrack's files are named after their splits: person_keypoints_val2017, val2018.
    part = "" if manifest.split in re.findall("[a-z]+", stem) else f"_{manifest.split}"
    weights = f"epoch-{network.epoch:04d}{'_averaged' * network.averaged}"
    usual = split.paths.records.parent.name == "records" and split.ground_truth.image_ids is None
    named = usual and not run_dataset(network.config).user_data
    records = "" if named else f"_records-{manifest.fingerprint[:8]}"
    flip_test = "" if options.flip_test else "_noflip"
    name = f"{stem}{part}_{network.config.model}_{weights}_{manifest.boxes}{records}{flip_test}"
    return split.paths.results / name


def predict_steps(
    network: Network, split: EvaluationSplit, options: EvaluateOptions, devices: tuple[str, ...]
) -> list[PredictStep]:
    """The step of each device; see `evaluate.inference.make_predict_step`."""
    codec = network.config.make_codec()
    flip_permutation = split.skeleton.flip_permutation if options.flip_test else None
    return [
        make_predict_step(model, codec, flip_permutation, device, constant=True)
        for model, device in zip(network.models, devices, strict=True)
    ]


def prediction_cache_of(
    network: Network, split: EvaluationSplit, options: EvaluateOptions, folder: Path
) -> PredictionCache:
    """The `PredictionCache` of an evaluation in a folder, with all that decides its predictions."""
    config = network.config
    return PredictionCache(
        folder=folder,
        settings={
            "epoch": network.epoch,
            "averaged": network.averaged,
            "weights": f"{network.weights:08x}",
            "records": split.manifest.fingerprint,
            "model": config.model,
            "input_size": "x".join(map(str, config.input_size)),
            "codec": config.codec,
            "sigma": config.sigma,
            "flip_test": options.flip_test,
            # Parts of a version that took these facts from the records are none of this evaluation's.
            **({"skeleton": "the run's"} if split.notes else {}),
        },
        instances=split.manifest.records,
        batch_size=options.batch_size,
        num_keypoints=config.num_keypoints,
        instances_per_part=INSTANCES_PER_PART,
    )
