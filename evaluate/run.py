"""Evaluates a training run: records in, result files, metrics and an image out."""

import re
from pathlib import Path

import cv2

from evaluate.inference import make_predict_step
from evaluate.laps import Laps
from evaluate.metrics.registry import measure, with_ending
from evaluate.network import load_network
from evaluate.predict_split import find_evaluation_split, make_metric_input, predict_split
from evaluate.prediction_cache import INSTANCES_PER_PART, PredictionCache
from evaluate.report.contact_sheet import draw_instances
from evaluate.report.report import BOX_SOURCES, write_report
from hrpose.atomic_files import WriteError, write_json, write_whole
from hrpose.command import CommandError, UsageError
from hrpose.devices import use_gpus
from hrpose.lock import only_one
from model.run_config import read_config
from records.checking.damage import damage_reported
from records.reader import resolution_note

#: Options that decide the metric besides what the predictions' name tells, for its file.
DECIDING = ("flip_test", "oks_threshold", "min_visibility", "soft_nms")


def evaluate_run(options):
    """Evaluates and shows the result.

    Args:
        options: `evaluate.options.EvaluateOptions`.

    Returns:
        The dataset's metrics by name, JSON-ready; empty where there is nothing to measure against.

    Raises:
        RunError: if there is no such run or epoch, or parts to continue were made with other settings.
        RecordsError: if there are no records to evaluate on, or they do not belong to the run.
        UsageError: if there are fewer GPUs than asked for, or a flag is for another dataset.
        CommandError: if the predictions cannot be scored, for example because the network says NaN, if a file
            cannot be written, or if another evaluation of the same name is running.
    """
    laps = Laps()
    config = read_config(Path(options.output) / "model_dump")
    check_dataset_flags(options, config.dataset)
    devices = use_gpus(options.gpus, "evaluates")
    evaluation_split = find_evaluation_split(options, config)
    network = load_network(options.output, options.epoch, options.averaged, devices)
    laps.lap("annotations and network")

    what = f"{BOX_SOURCES[evaluation_split.manifest.boxes]} boxes of {config.dataset} {options.split}"
    flip_test = f"flip test {'on' if options.flip_test else 'off'}"
    print(
        f"{network.title}, {evaluation_split.manifest.records:,} {what}, {flip_test}, on {', '.join(devices)}"
    )
    for note in filter(
        None, (resolution_note(evaluation_split.manifest, config.input_size), *evaluation_split.notes)
    ):
        print(f"note: {note}")
    name = result_name(network, evaluation_split, options)
    cache = prediction_cache_of(network, evaluation_split, options, name.parent / "parts" / name.name)
    # With --continue it may be the images only that read the records.
    with (
        only_one(cache.folder, "evaluation of this name"),
        damage_reported(evaluation_split.folder, fingerprint=evaluation_split.manifest.fingerprint),
    ):
        try:
            done = cache.begin(options.resume, print)
            steps = predict_steps(network, evaluation_split, options, devices)
            predictions = predict_split(steps, evaluation_split, config, options.batch_size, cache, done)
            # The report makes instances per second of "predict".
            laps.lap("predict the rest" if done else "predict")
            return report(network, evaluation_split, options, predictions, name, what, laps)
        except WriteError as error:
            raise CommandError(
                f"{error}. The same command with --continue then takes the predictions that are done"
            ) from error


def check_dataset_flags(options, dataset):
    """Refuses flags that are for another dataset, with a `UsageError`."""
    for flag, value, its_dataset in (
        ("tracking", options.tracking, "posetrack"),
        ("official_tenth", options.official_tenth, "mpii"),
    ):
        if value and dataset != its_dataset:
            raise UsageError(f"--{flag} is for runs on {its_dataset}, this one is on {dataset}; leave it out")


def report(network, evaluation_split, options, predictions, name, what, laps):
    """Rescores and measures predictions, and writes and shows what comes of it.

    Args:
        network: `evaluate.network.Network`.
        evaluation_split: `evaluate.predict_split.EvaluationSplit`.
        options: `evaluate.options.EvaluateOptions`.
        predictions: `evaluate.inference.Predictions`.
        name: path without extension of the files.
        what: whose boxes, for titles.
        laps: `Laps` so far.

    Returns, and raises:
        as `evaluate_run`.
    """
    config = network.config
    metric_input = make_metric_input(evaluation_split, predictions, options, name, network.title)
    results = write_json(with_ending(name, "_results.json"), metric_input.results)
    print(
        f"{len(metric_input.results):,} instances kept of {evaluation_split.manifest.records:,} boxes after "
        "OKS-NMS"
    )
    laps.lap("rescoring and OKS-NMS")
    metric_result = measure(metric_input)
    if metric_result.metrics:
        about = {
            "epoch": network.epoch,
            "averaged": network.averaged,
            "boxes": evaluation_split.manifest.boxes,
        }
        about |= {"dataset": config.dataset, "split": options.split, "results": results.name}
        about |= {name: getattr(options, name) for name in DECIDING}
        about |= {"notes": [*evaluation_split.notes, *metric_result.notes]}
        write_json(with_ending(name, "_metrics.json"), {"metrics": metric_result.metrics} | about, indent=1)
    laps.lap("metric")
    title = f"{network.title}, {what}: {metric_result.headline}"
    image = write_image(
        with_ending(name, ".png"), evaluation_split, config, predictions, options.num_images, title
    )
    laps.lap("image")
    more = settings_of(network, options) + [("note", note) for note in evaluation_split.notes]
    settings = {"epoch": network.epoch, "flip_test": options.flip_test, "more": more}
    page = with_ending(name, ".html")
    write_report(page, metric_input, metric_result, config, evaluation_split.folder, laps.seconds, **settings)
    latest = write_whole(name.parent / "report.html", page.read_bytes())

    print(f"\n{metric_result.table}")
    for note in metric_result.notes:
        print(f"note: {note}")
    print(f"\nresults: {results}")
    if metric_result.files:
        print(
            f"for the dataset's server: {metric_result.files[0]}, {len(metric_result.files)} file(s) in all"
        )
    print(f"image: {image}\nreport: {latest}")
    return metric_result.metrics


def settings_of(network, options):
    """[(name, value)] of how was evaluated, for the report."""
    nms = f"above {options.oks_threshold:g}, keypoints that score above {options.min_visibility:g}"
    return [
        ("weights", "moving average" if network.averaged else "as learnt"),
        ("OKS-NMS", f"{'soft, ' * options.soft_nms}{nms}"),
    ]


def write_image(path, evaluation_split, config, predictions, count, title):
    """Writes the contact sheet and returns its path; see `evaluate.report.contact_sheet.draw_instances`."""
    skeleton, annotations = evaluation_split.skeleton, evaluation_split.ground_truth.content
    sheet = draw_instances(
        evaluation_split.folder, skeleton, config.input_size, predictions, annotations, count, title
    )
    encoded, png = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    if not encoded:
        raise CommandError(f"{path}: OpenCV could not encode an image of shape {sheet.shape}")
    return write_whole(path, png.tobytes())


def result_name(network, evaluation_split, options):
    """Path without extension of an evaluation's files: it tells apart what predicts otherwise.

    Annotations, split, network, epoch, weights, boxes and flip test are in it by name. Where these do not say
    which records were predicted, digits of the records' fingerprint do: with ``--records_dir`` of another
    name than "records", with a list of images, and for custom data, whose files may be called anything.
    """
    manifest, stem = evaluation_split.manifest, evaluation_split.ground_truth.path.stem
    # COCO's and PoseTrack's files are named after their splits: person_keypoints_val2017, val2018.
    split = "" if options.split in re.findall("[a-z]+", stem) else f"_{options.split}"
    weights = f"epoch-{network.epoch:04d}{'_averaged' * network.averaged}"
    usual = (
        Path(options.records_dir or "records").name == "records"
        and evaluation_split.ground_truth.image_ids is None
    )
    records = "" if usual and manifest.dataset != "custom" else f"_records-{manifest.fingerprint[:8]}"
    flip_test = "" if options.flip_test else "_noflip"
    name = f"{stem}{split}_{network.config.model}_{weights}_{manifest.boxes}{records}{flip_test}"
    return Path(options.output) / "result" / name


def predict_steps(network, evaluation_split, options, devices):
    """The step of each device; see `evaluate.inference.make_predict_step`."""
    codec = network.config.make_codec()
    flip_permutation = evaluation_split.skeleton.flip_permutation if options.flip_test else None
    return [
        make_predict_step(model, codec, flip_permutation, device, constant=True)
        for model, device in zip(network.models, devices, strict=True)
    ]


def prediction_cache_of(network, evaluation_split, options, folder):
    """The `PredictionCache` of an evaluation, with all that decides its predictions.

    Args:
        network: `evaluate.network.Network`.
        evaluation_split: `evaluate.predict_split.EvaluationSplit`.
        options: `evaluate.options.EvaluateOptions`.
        folder: for the parts.
    """
    config = network.config
    return PredictionCache(
        folder=folder,
        settings={
            "epoch": network.epoch,
            "averaged": network.averaged,
            "weights": f"{network.weights:08x}",
            "records": evaluation_split.manifest.fingerprint,
            "model": config.model,
            "input_size": "x".join(map(str, config.input_size)),
            "codec": config.codec,
            "sigma": config.sigma,
            "flip_test": options.flip_test,
            # Parts of a version that took these facts from the records are none of this evaluation's.
            **({"skeleton": "the run's"} if evaluation_split.notes else {}),
        },
        instances=evaluation_split.manifest.records,
        batch_size=options.batch_size,
        num_keypoints=config.num_keypoints,
        instances_per_part=INSTANCES_PER_PART,
    )
