"""Evaluates a training run: records in, result files, metrics and a picture out."""

import re
from pathlib import Path

import cv2

from evaluate.inference import make_predict_step
from evaluate.laps import Laps
from evaluate.metrics.registry import measure, with_ending
from evaluate.network import load_network
from evaluate.predict_split import choose_poses, find_boxes, predict_boxes
from evaluate.prediction_cache import PEOPLE_PER_PART, Parts
from evaluate.report.contact_sheet import draw_people
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
    boxes = find_boxes(options, config)
    network = load_network(options.output, options.epoch, options.averaged, devices)
    laps.lap("annotations and network")

    what = f"{BOX_SOURCES[boxes.manifest.boxes]} boxes of {config.dataset} {options.split}"
    flip_test = f"flip test {'on' if options.flip_test else 'off'}"
    print(f"{network.title}, {boxes.manifest.records:,} {what}, {flip_test}, on {', '.join(devices)}")
    for note in filter(None, (resolution_note(boxes.manifest, config.input_size), *boxes.notes)):
        print(f"note: {note}")
    name = result_name(network, boxes, options)
    parts = parts_of(network, boxes, options, name.parent / "parts" / name.name)
    # With --continue it may be the pictures only that read the records.
    with (
        only_one(parts.folder, "evaluation of this name"),
        damage_reported(boxes.folder, fingerprint=boxes.manifest.fingerprint),
    ):
        try:
            done = parts.begin(options.resume, print)
            steps = predict_steps(network, boxes, options, devices)
            predictions = predict_boxes(steps, boxes, config, options.batch_size, parts, done)
            # The report makes people per second of "predict".
            laps.lap("predict the rest" if done else "predict")
            return report(network, boxes, options, predictions, name, what, laps)
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


def report(network, boxes, options, predictions, name, what, laps):
    """Rescores and measures predictions, and writes and shows what comes of it.

    Args:
        network: `evaluate.network.Network`.
        boxes: `evaluate.predict_split.Boxes`.
        options: `evaluate.options.EvaluateOptions`.
        predictions: `evaluate.inference.Predictions`.
        name: path without extension of the files.
        what: whose boxes, for titles.
        laps: `Laps` so far.

    Returns, and raises:
        as `evaluate_run`.
    """
    config = network.config
    evaluated = choose_poses(boxes, predictions, options, name, network.title)
    results = write_json(with_ending(name, "_results.json"), evaluated.results)
    print(f"{len(evaluated.results):,} people kept of {boxes.manifest.records:,} boxes after OKS-NMS")
    laps.lap("rescoring and OKS-NMS")
    measured = measure(evaluated)
    if measured.metrics:
        about = {"epoch": network.epoch, "averaged": network.averaged, "boxes": boxes.manifest.boxes}
        about |= {"dataset": config.dataset, "split": options.split, "results": results.name}
        about |= {name: getattr(options, name) for name in DECIDING}
        about |= {"notes": [*boxes.notes, *measured.notes]}
        write_json(with_ending(name, "_metrics.json"), {"metrics": measured.metrics} | about, indent=1)
    laps.lap("metric")
    title = f"{network.title}, {what}: {measured.headline}"
    picture = write_picture(with_ending(name, ".png"), boxes, config, predictions, options.pictures, title)
    laps.lap("picture")
    more = settings_of(network, options) + [("note", note) for note in boxes.notes]
    settings = {"epoch": network.epoch, "flip_test": options.flip_test, "more": more}
    page = with_ending(name, ".html")
    write_report(page, evaluated, measured, config, boxes.folder, laps.seconds, **settings)
    latest = write_whole(name.parent / "report.html", page.read_bytes())

    print(f"\n{measured.table}")
    for note in measured.notes:
        print(f"note: {note}")
    print(f"\nresults: {results}")
    if measured.files:
        print(f"for the dataset's server: {measured.files[0]}, {len(measured.files)} file(s) in all")
    print(f"picture: {picture}\nreport: {latest}")
    return measured.metrics


def settings_of(network, options):
    """[(name, value)] of how was evaluated, for the report."""
    nms = f"above {options.oks_threshold:g}, keypoints that score above {options.min_visibility:g}"
    return [
        ("weights", "moving average" if network.averaged else "as learnt"),
        ("OKS-NMS", f"{'soft, ' * options.soft_nms}{nms}"),
    ]


def write_picture(path, boxes, config, predictions, count, title):
    """Writes the contact sheet and returns its path; see `evaluate.report.contact_sheet.draw_people`."""
    skeleton, annotations = boxes.skeleton, boxes.truth.content
    sheet = draw_people(boxes.folder, skeleton, config.input_size, predictions, annotations, count, title)
    encoded, png = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    if not encoded:
        raise CommandError(f"{path}: OpenCV could not encode a picture of shape {sheet.shape}")
    return write_whole(path, png.tobytes())


def result_name(network, boxes, options):
    """Path without extension of an evaluation's files: it tells apart what predicts otherwise.

    Annotations, split, network, epoch, weights, boxes and flip test are in it by name. Where these do not say
    which records were predicted, digits of the records' fingerprint do: with ``--records_dir`` of another
    name than "records", with a list of pictures, and for custom data, whose files may be called anything.
    """
    manifest, stem = boxes.manifest, boxes.truth.path.stem
    # COCO's and PoseTrack's files are named after their splits: person_keypoints_val2017, val2018.
    split = "" if options.split in re.findall("[a-z]+", stem) else f"_{options.split}"
    weights = f"epoch-{network.epoch:04d}{'_averaged' * network.averaged}"
    usual = Path(options.records_dir or "records").name == "records" and boxes.truth.image_ids is None
    records = "" if usual and manifest.dataset != "custom" else f"_records-{manifest.fingerprint[:8]}"
    flip_test = "" if options.flip_test else "_noflip"
    name = f"{stem}{split}_{network.config.model}_{weights}_{manifest.boxes}{records}{flip_test}"
    return Path(options.output) / "result" / name


def predict_steps(network, boxes, options, devices):
    """The step of each device; see `evaluate.inference.make_predict_step`."""
    codec = network.config.make_codec()
    flip_permutation = boxes.skeleton.flip_permutation if options.flip_test else None
    return [
        make_predict_step(model, codec, flip_permutation, device, constant=True)
        for model, device in zip(network.models, devices, strict=True)
    ]


def parts_of(network, boxes, options, folder):
    """The `Parts` of an evaluation, with all that decides its predictions.

    Args:
        network: `evaluate.network.Network`.
        boxes: `evaluate.predict_split.Boxes`.
        options: `evaluate.options.EvaluateOptions`.
        folder: for the parts.
    """
    config = network.config
    return Parts(
        folder=folder,
        settings={
            "epoch": network.epoch,
            "averaged": network.averaged,
            "weights": f"{network.weights:08x}",
            "records": boxes.manifest.fingerprint,
            "model": config.model,
            "input_size": "x".join(map(str, config.input_size)),
            "codec": config.codec,
            "sigma": config.sigma,
            "flip_test": options.flip_test,
            # Parts of a version that took these facts from the records are none of this evaluation's.
            **({"skeleton": "the run's"} if boxes.notes else {}),
        },
        people=boxes.manifest.records,
        batch_size=options.batch_size,
        num_keypoints=config.num_keypoints,
        people_per_part=PEOPLE_PER_PART,
    )
