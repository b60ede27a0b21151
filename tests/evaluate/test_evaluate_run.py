"""The evaluator: going on after an interruption, several devices, averaged weights, what it refuses."""

import json
import logging
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

import evaluate.run
from evaluate.cli import command
from evaluate.network import load_network
from evaluate.run import evaluate_run, result_name
from evaluate.run_inputs import find_evaluation_split
from hrpose.command import CommandError, UsageError
from model.best_epoch import write_best
from model.networks import NETWORKS
from model.run_config import read_config, write_config
from model.run_folder import RunError, checkpoint_folder
from records.errors import RecordsError
from records.manifest import read_manifest
from records.skeletons import COCO
from tests.helpers.builders import write_json
from tests.helpers.full_disk import full_disk_at
from tests.helpers.shared import ROOT
from tests.helpers.small_evaluations import (
    BATCH,
    PART,
    counted_steps,
    options_of,
    small_arguments,
    small_evaluation,
)
from tests.helpers.small_runs import SMALL, elsewhere, make_records, small_options
from train.loop import train

NAME = "person_keypoints_train2017_w32_epoch-0001"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """`TrainOptions` of a run of an epoch with averaged weights."""
    folder = tmp_path_factory.mktemp("evaluate")
    options = small_options(make_records(folder), folder / "run", epochs=1, ema_decay=0.5)
    with pytest.MonkeyPatch.context() as context:
        context.setitem(NETWORKS, SMALL.name, SMALL)
        train(options)
    return options


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """The same run in a folder of its own."""
    shutil.copytree(Path(trained.paths.run_dir) / "model_dump", tmp_path / "run/model_dump")
    monkeypatch.setitem(NETWORKS, SMALL.name, SMALL)
    monkeypatch.setattr("evaluate.run.INSTANCES_PER_PART", PART)
    return elsewhere(trained, tmp_path / "run")


@pytest.fixture
def batches(monkeypatch):
    """{device: number of batches predicted}; predicted in this process."""
    counts = {}
    monkeypatch.setattr("evaluate.run.make_predict_step", counted_steps(counts))
    return counts


def instances(run):
    return read_manifest(run.paths.dataset.records_dir / "train").records


def results(run, name=f"{NAME}_averaged_ground_truth"):
    return (run.paths.run_dir / f"result/{name}_results.json").read_bytes()


def parts(run, name=f"{NAME}_averaged_ground_truth"):
    return sorted((run.paths.run_dir / "result/parts" / name).glob("part-*"))


def in_a_process(run, tmp_path, **changes):
    """Does an evaluation in a process of its own and returns its `subprocess.CompletedProcess`."""
    path = tmp_path / "options.json"
    path.write_text(json.dumps(small_arguments(run, **changes)))
    command = [sys.executable, "-m", "tests.helpers.small_evaluations", str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


def batches_of(process):
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.splitlines()[-1])


# ---- going on


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_and_ends_as_if_nothing_had_been(run, tmp_path):
    whole = batches_of(in_a_process(run, tmp_path))
    assert whole == {"CPU:0": -(-instances(run) // BATCH)}
    assert whole["CPU:0"] > 6
    expected = results(run)
    shutil.rmtree(run.paths.run_dir / "result")
    killed = in_a_process(run, tmp_path, kill_at=4)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in parts(run)] == ["part-00000.npz"]
    went_on = in_a_process(run, tmp_path, resume=True)
    assert f"1 of {-(-instances(run) // PART)} parts are done, going on" in went_on.stderr
    assert batches_of(went_on) == {"CPU:0": whole["CPU:0"] - PART // BATCH}
    assert results(run) == expected


def test_another_threshold_needs_no_other_predictions_and_anew_means_anew(run, batches, caplog):
    caplog.set_level(logging.INFO)
    options = small_evaluation(run)
    evaluate_run(options)
    all_batches, first = dict(batches), results(run)
    batches.clear()
    evaluate_run(replace(options, resume=True, min_visibility=0.9))
    assert "parts are done, nothing is left to predict" in caplog.text
    assert batches == {}
    evaluate_run(options)
    assert batches == all_batches
    assert results(run) == first


def test_only_parts_that_are_damaged_or_missing_are_predicted_again(run, batches, capsys, caplog):
    caplog.set_level(logging.INFO)
    options = small_evaluation(run)
    evaluate_run(options)
    expected, files = results(run), parts(run)
    assert len(files) == -(-instances(run) // PART) > 4
    batches.clear()
    content = files[1].read_bytes()
    files[1].write_bytes(content[: len(content) // 2])
    files[2].unlink()
    files[-1].unlink()
    evaluate_run(replace(options, resume=True))
    said = capsys.readouterr()
    assert "part-00001.npz is damaged" in caplog.text
    assert f"{len(files) - 3} of {len(files)} parts are done, going on" in caplog.text
    last = -(-(instances(run) - PART * (len(files) - 1)) // BATCH)
    assert batches == {"CPU:0": 2 * PART // BATCH + last}
    assert results(run) == expected
    bar_at = [int(shown) for shown in re.findall(r"(\d+)/38 \[", said.err)]
    assert bar_at[-1] == instances(run) == 38
    assert min(shown for shown in bar_at[bar_at.index(38) + 1 :]) == PART * (len(files) - 3)


def test_parts_of_other_settings_are_refused_and_stay(run, batches):
    options = small_evaluation(run)
    evaluate_run(options)
    before = {path: path.read_bytes() for path in parts(run)}
    batches.clear()
    with pytest.raises(RunError, match=r"other settings \(batch_size: 4 → 3\); .*leave out --continue"):
        evaluate_run(replace(options, resume=True, batch_size=3))
    weights = checkpoint_folder(run.paths.checkpoints, 1) / "average.safetensors"
    arrays = load_file(weights)
    arrays["head/bias"] = arrays["head/bias"] + 1
    save_file(arrays, weights)
    (weights.parent / "state.json").write_text('{"epoch": 1, "step": 4}')  # without the checksum
    with pytest.raises(RunError, match=r"weights: \w{8} → \w{8}\)"):
        evaluate_run(replace(options, resume=True))
    assert batches == {}
    assert {path: path.read_bytes() for path in parts(run)} == before


def test_the_boxes_have_parts_and_reports_of_their_own(run, batches):
    folder = run.paths.run_dir / "result"
    evaluate_run(small_evaluation(run))
    evaluate_run(small_evaluation(run, averaged=False))
    assert len(list((folder / "parts").iterdir())) == 2
    reports = [folder / f"{NAME}{weights}_ground_truth.html" for weights in ("_averaged", "")]
    assert reports[0].read_bytes() != reports[1].read_bytes()
    assert (folder / "report.html").read_bytes() == reports[1].read_bytes()


def test_what_predicts_otherwise_has_another_name(run, tmp_path):
    network = load_network(run.paths.run_dir)

    def name(**changes):
        options = small_evaluation(run, **changes)
        return result_name(network, find_evaluation_split(options.paths, network.config), options).name

    assert name() == f"{NAME}_averaged_ground_truth"
    assert name(batch_size=1, gpus=1, resume=True) == name()
    assert name(flip_test=False) == f"{NAME}_averaged_ground_truth_noflip"
    # Two splits, and two folders of records, of files that are called the same.
    records, called = run.paths.dataset.records_dir, {}
    for split in ("train", "val"):
        annotations = tmp_path / split / "annotations.json"
        annotations.parent.mkdir()
        source = run.paths.dataset.dataset_dir / f"annotations/person_keypoints_{split}2017.json"
        shutil.copyfile(source, annotations)
        called[split] = name(split=split, annotations=str(annotations))
    assert called == {
        split: f"annotations_{split}_w32_epoch-0001_averaged_ground_truth" for split in ("train", "val")
    }
    shutil.copytree(records / "train", tmp_path / "records_b/train")
    fingerprint = read_manifest(records / "train").fingerprint
    assert name(records_dir=str(tmp_path / "records_b")) == f"{name()}_records-{fingerprint[:8]}"


def test_records_of_a_list_of_images_and_custom_data_are_named_by_their_fingerprint(run):
    network, options = load_network(run.paths.run_dir), small_evaluation(run)
    split = find_evaluation_split(options.paths, network.config)
    listed = replace(split, ground_truth=replace(split.ground_truth, image_ids=frozenset({1})))
    own = replace(network, config=replace(network.config, dataset="custom"))
    for which, changed in ((network, listed), (own, split)):
        name = result_name(which, changed, options).name
        assert name == f"{NAME}_averaged_ground_truth_records-{split.manifest.fingerprint[:8]}"


# ---- devices


@pytest.mark.slow
def test_two_devices_say_what_one_says_and_share_the_work(run, tmp_path):
    one = batches_of(in_a_process(run, tmp_path))["CPU:0"]
    assert instances(run) % BATCH  # the last batch is not full
    expected = results(run)
    two = batches_of(in_a_process(run, tmp_path, devices=2))
    assert sum(two.values()) == one
    assert two["CPU:0"] - two["CPU:1"] in (0, 1)
    assert results(run) == expected


def test_more_gpus_than_there_are_end_before_anything_is_read(run, monkeypatch):
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind=None: [])
    with pytest.raises(UsageError, match=r"^--gpus=2: TensorFlow finds none here; --gpus=0 evaluates on the"):
        evaluate_run(small_evaluation(run, gpus=2, records_dir="nowhere"))


def test_the_flags_are_the_options(run, monkeypatch, capsys):
    asked, folder = [], f"--run_dir={run.paths.run_dir}"
    monkeypatch.setattr("evaluate.run.evaluate_run", asked.append)
    assert command([folder]) == 0
    assert asked.pop() == options_of(run.paths.run_dir)
    assert command([folder, "--continue", "--gpus=4", "--noaveraged", "--batch_size=8", "--epoch=210"]) == 0
    changes = {"resume": True, "gpus": 4, "averaged": False, "batch_size": 8, "epoch": 210}
    assert asked.pop() == options_of(run.paths.run_dir, **changes)
    assert command([folder, "--epoch=best", "--metric=pck,posetrack", "--tracking"]) == 0
    metrics = {"metrics": ["pck", "posetrack"], "metric_options": {"tracking": True}}
    assert asked.pop() == options_of(run.paths.run_dir, epoch="best", **metrics)
    places = {"split": "train", "boxes": "detections", "dataset_dir": "a", "records_dir": "b/records"}
    places |= {"annotations": "c.json"}
    assert command([folder, *(f"--{name}={value}" for name, value in places.items())]) == 0
    assert asked.pop() == options_of(run.paths.run_dir, **places)
    assert command([folder, "--gpus=-1"]) == 2
    assert command([folder, f"--batch_size={10**20}"]) == 2
    assert command([folder, "--metric=ap"]) == 2
    assert "--metric=ap: unknown; known: coco, pckh, posetrack, pck" in capsys.readouterr().err
    monkeypatch.undo()
    assert command([f"--run_dir={run.paths.run_dir}", "--gpus=99"]) == 2
    assert re.search(r"evaluate/main.py: --gpus=99: ", capsys.readouterr().err)


# ---- weights


def test_the_average_is_the_default_where_there_is_one(run, batches):
    weights = load_file(checkpoint_folder(run.paths.checkpoints, 1) / "model.safetensors")
    averaged = load_file(checkpoint_folder(run.paths.checkpoints, 1) / "average.safetensors")
    assert not np.array_equal(weights["head/kernel"], averaged["head/kernel"])
    for asked, expected in ((None, averaged), (True, averaged), (False, weights)):
        network = load_network(run.paths.run_dir, averaged=asked)
        (model,) = network.models
        np.testing.assert_array_equal(model.get_layer("head").kernel, expected["head/kernel"])
        assert network.averaged == (asked is not False)
    evaluate_run(small_evaluation(run))
    evaluate_run(small_evaluation(run, averaged=False))
    assert results(run) != results(run, f"{NAME}_ground_truth")
    summary = run.paths.run_dir / f"result/{NAME}_averaged_ground_truth_metrics.json"
    told = json.loads(summary.read_text())
    assert (told["averaged"], told["oks_threshold"], told["soft_nms"]) == (True, 0.9, False)
    report = summary.with_name(f"{NAME}_averaged_ground_truth.html").read_text()
    assert "moving average" in report
    assert "above 0.9, keypoints that score above 0.2" in report


def test_a_run_without_an_average_says_so_only_if_asked_for_it(run, monkeypatch):
    folder = run.paths.checkpoints
    config = read_config(folder)
    write_config(folder, replace(config, recipe={}))
    assert not load_network(run.paths.run_dir).averaged
    with pytest.raises(RunError, match=r"keeps no moving average .*--ema_decay would; without"):
        load_network(run.paths.run_dir, averaged=True)


def test_the_best_epoch_is_the_one_that_validated_best(run, capsys):
    folder = run.paths.checkpoints
    shutil.copytree(checkpoint_folder(folder, 1), checkpoint_folder(folder, 2))
    assert load_network(run.paths.run_dir).epoch == 2
    with pytest.raises(RunError, match="known to have validated best"):
        load_network(run.paths.run_dir, "best")
    write_best(folder, 1, "AP", 0.5)
    assert load_network(run.paths.run_dir, "best").epoch == 1
    assert command(["--epoch=newest"]) == 2
    assert "expected a number of epochs, or best; received 'newest'" in capsys.readouterr().err


# ---- a full disk, and company


@pytest.mark.parametrize(
    "name",
    ["part-00001.npz", "_results.json", "_metrics.json", "ground_truth.png", "ground_truth.html", "report"],
)
def test_a_full_disk_ends_in_one_line_and_continue_goes_on(run, batches, monkeypatch, name):
    options = small_evaluation(run)
    with monkeypatch.context() as context:
        full_disk_at(name, context)
        line = (
            rf"{re.escape(name)}\S* could not be written: No space left on device; .* --continue then takes"
        )
        with pytest.raises(CommandError, match=line):
            evaluate_run(options)
    written = [path.name for path in (run.paths.run_dir / "result").rglob("*") if path.is_file()]
    assert not [path for path in written if name in path or ".partial" in path]
    predicted = sum(batches.values())
    evaluate_run(replace(options, resume=True))
    again = sum(batches.values()) - predicted
    assert again == (-(-instances(run) // BATCH) - PART // BATCH if name.startswith("part") else 0)
    assert json.loads(results(run))


def test_a_second_evaluation_of_a_name_leaves_the_first_alone(run, batches, monkeypatch):
    options, second = small_evaluation(run), []
    predict = evaluate.run.predict_split

    def with_company(*arguments):
        if not second:
            second.append(options)
            with pytest.raises(CommandError, match=rf"^another evaluation .*/{NAME}_averaged_ground_truth;"):
                evaluate_run(options)
            evaluate_run(replace(options, flip_test=False))
        return predict(*arguments)

    monkeypatch.setattr("evaluate.run.predict_split", with_company)
    evaluate_run(options)
    assert len(parts(run)) == -(-instances(run) // PART)
    assert results(run) != results(run, f"{NAME}_averaged_ground_truth_noflip")


def test_records_damaged_since_they_were_predicted_are_named(run, batches, tmp_path):
    shutil.copytree(run.paths.dataset.records_dir, tmp_path / "records")
    options = small_evaluation(run, records_dir=str(tmp_path / "records"))
    evaluate_run(options)
    for shard in (tmp_path / "records/train").glob("*.tfrecord-*"):
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    with pytest.raises(RecordsError, match=r"records/train are damaged .*records/check\.py"):
        evaluate_run(replace(options, resume=True))


def test_an_input_larger_than_the_records_is_noted(run, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("evaluate.run.resolution_note", lambda manifest, size: f"{manifest.split} {size}")
    evaluate_run(small_evaluation(run))
    assert "note: train (32, 64)" in caplog.messages


# ---- what it refuses


@pytest.mark.parametrize(("flag", "owner"), [("tracking", "posetrack"), ("official_tenth", "pckh")])
def test_flags_of_another_metric_are_refused(run, capsys, flag, owner):
    assert command([f"--run_dir={run.paths.run_dir}", f"--{flag}", "--records_dir=nowhere"]) == 2
    expected = f"--{flag} is for --metric={owner}, here it is coco; leave it out"
    assert expected in capsys.readouterr().err


def test_a_metric_that_does_not_fit_is_refused_before_anything_is_predicted(run, batches, capsys):
    for metric in ("pckh", "posetrack"):
        with pytest.raises(
            CommandError, match=r"person_keypoints_train2017\.json: .* the 17 of coco; --metric"
        ):
            evaluate_run(small_evaluation(run, metrics=[metric]))
    assert batches == {}


# ---- several metrics


def test_the_first_of_several_metrics_keeps_its_place_and_the_others_stand_beside_it(run, capsys):
    path = run.paths.run_dir / f"result/{NAME}_averaged_ground_truth_metrics.json"
    alone = evaluate_run(small_evaluation(run))
    told = json.loads(path.read_text())
    assert told["metrics"] == alone
    assert "other_metrics" not in told
    capsys.readouterr()
    assert evaluate_run(small_evaluation(run, metrics=["coco", "pck"])) == alone
    both = json.loads(path.read_text())
    others = both.pop("other_metrics")
    assert both == told
    assert [*others] == ["pck"]
    assert [*others["pck"]["PCK@0.2"]] == [*COCO.keypoints, "total"]
    said = capsys.readouterr().out
    assert "maxDets=20 ]  AP     =" in said
    assert "PCK@0.2 of the box's longer side =" in said
    assert [*evaluate_run(small_evaluation(run, metrics=["pck", "coco"]))] == ["PCK@0.2"]


def test_a_network_that_says_nan_ends_in_one_line_that_names_it(run):
    path = checkpoint_folder(run.paths.checkpoints, 1) / "average.safetensors"
    weights = load_file(path)
    weights["head/bias"] = np.full_like(weights["head/bias"], np.nan)
    save_file(weights, path)
    (path.parent / "state.json").write_text('{"epoch": 1, "step": 4}')
    with pytest.raises(
        CommandError, match=r"^w32 after epoch 1, averaged weights on .*not finite; \d+ poses in all$"
    ):
        evaluate_run(small_evaluation(run))


def test_a_batch_too_large_for_a_device_ends_in_one_line(run, monkeypatch):
    def no_memory(images):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr("evaluate.run.make_predict_step", lambda *_, **__: no_memory)
    with pytest.raises(CommandError, match=r"^a batch of 4 instances does not fit .*--batch_size"):
        evaluate_run(small_evaluation(run))


def test_records_of_other_keypoints_are_refused_by_number(run):
    folder = run.paths.checkpoints
    config = read_config(folder)
    first = {name: config.skeleton[name][:5] for name in ("keypoints", "sigmas", "upper_body")}
    five = first | {"flip_pairs": [[1, 2], [3, 4]], "limbs": []}
    write_config(folder, replace(config, skeleton=five | {"name": "five"}))
    with pytest.raises(RecordsError, match=r"predicts the 5 keypoints of five, .* have the 17 of coco"):
        evaluate_run(small_evaluation(run))


def test_records_of_nobody_end_in_one_line(run, tmp_path):
    manifest = json.loads((run.paths.dataset.records_dir / "train/manifest.json").read_text())
    write_json(tmp_path / "records/train/manifest.json", manifest | {"shards": []})
    with pytest.raises(RecordsError, match=r"records/train hold nobody, .*records/check.py"):
        evaluate_run(small_evaluation(run, records_dir=str(tmp_path / "records")))
