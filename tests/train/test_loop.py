"""The trainer: what a run leaves, how it goes on, what it refuses."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

from evaluate.inference import to_image
from evaluate.metrics import METRICS
from evaluate.metrics.coco import evaluate_coco
from evaluate.metrics.metric import Metric, MetricResult
from evaluate.rescoring import to_results
from evaluate.run import evaluate_run
from hrpose import logs
from hrpose.command import UsageError
from model.best_epoch import read_best
from model.codecs import codec
from model.run_config import read_config, write_config
from model.run_folder import Progress, RunError, saved_epochs, saved_progress
from pipelines.build import build_records
from records.augment import Augmentation
from records.errors import RecordsError
from records.reader import read_records
from tests.helpers.builders import make_build
from tests.helpers.shared import ROOT, shared_data
from tests.helpers.small_evaluations import options_of as evaluation_of
from tests.helpers.small_runs import elsewhere, options_of, small_options
from train import loop
from train.loop import train
from train.signals import InterruptedRunError
from train.validation import Validation

pytestmark = pytest.mark.usefixtures("small_networks")


@pytest.fixture
def options(records, tmp_path):
    return small_options(records, tmp_path / "run")


def arrays(output, epoch):
    folder = f"{output}/model_dump/epoch-{epoch:04d}"
    return load_file(f"{folder}/model.safetensors") | load_file(f"{folder}/optimizer.safetensors")


def assert_same(output, other, epoch=2):
    expected, found = arrays(output, epoch), arrays(other, epoch)
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def lines(output):
    return [json.loads(line) for line in Path(f"{output}/log/metrics.jsonl").read_text().splitlines()]


# ---- going on


def test_a_run_that_was_continued_ends_as_one_that_was_not(options, tmp_path):
    steps = train(options)
    parts = elsewhere(options, tmp_path / "parts")
    assert train(replace(parts, epochs=1)) * 2 == steps
    assert train(replace(parts, resume=True)) == steps
    assert_same(options.paths.run_dir, parts.paths.run_dir)
    first, second = arrays(options.paths.run_dir, 1), arrays(options.paths.run_dir, 2)
    assert any((first[name] != array).any() for name, array in second.items())


def stop_after(monkeypatch, updates, act):
    """Calls `act` within the run's update of that number."""
    make = loop.make_train_step

    def made(*arguments):
        step, done = make(*arguments), [0]

        def stepping(*batch):
            done[0] += 1
            if done[0] == updates:
                act()
            return step(*batch)

        return stepping

    monkeypatch.setattr("train.loop.make_train_step", made)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_saves_within_the_epoch_and_the_run_goes_on_from_there(options, tmp_path, monkeypatch, number):
    whole = elsewhere(options, tmp_path / "whole", ema_decay=0.9)
    train(whole)
    parts = replace(options, ema_decay=0.9)
    # Whoever runs the tests may ignore the signal, as nohup does SIGHUP, and a shell's "&" SIGINT.
    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, usual)
    with monkeypatch.context() as context:
        stop_after(context, 6, lambda: os.kill(os.getpid(), number))
        with pytest.raises(
            InterruptedRunError, match=r"stopped after update 6, .*--continue goes on"
        ) as error:
            train(parts)
    signal.signal(number, before)
    assert error.value.exit_code == 128 + number
    assert saved_progress(parts.paths.checkpoints) == [Progress(1), Progress(1, 2)]
    train(replace(parts, resume=True))
    assert_same(whole.paths.run_dir, parts.paths.run_dir)
    emas = [
        load_file(f"{output}/model_dump/epoch-0002/average.safetensors")
        for output in (whole.paths.run_dir, parts.paths.run_dir)
    ]
    for name, array in emas[0].items():
        np.testing.assert_array_equal(emas[1][name], array, err_msg=name)
    assert saved_progress(parts.paths.checkpoints) == [Progress(1), Progress(2)]


def test_saving_every_so_many_minutes_leaves_a_checkpoint_to_go_on_from(options, monkeypatch):
    minutes = itertools.count()  # as many as the trainer has looked at its clock
    with monkeypatch.context() as context:
        context.setattr("train.loop.time", SimpleNamespace(monotonic=lambda: 60.0 * next(minutes)))
        stop_after(context, 8, break_down)
        with pytest.raises(ZeroDivisionError):
            train(replace(options, save_minutes=1.5))  # after every other update
    assert saved_progress(options.paths.checkpoints) == [Progress(1), Progress(1, 2)]
    assert train(replace(options, resume=True)) == 8


def break_down():
    raise ZeroDivisionError


def test_a_damaged_checkpoint_is_passed_over_and_named(options, tmp_path, capsys):
    train(options)
    path = tmp_path / "run/model_dump/epoch-0002/optimizer.safetensors"
    before = arrays(options.paths.run_dir, 2)
    path.write_bytes(path.read_bytes()[:-20])
    logs.start()  # as in another process
    train(replace(options, resume=True))
    printed = capsys.readouterr().err
    assert "epoch-0002 is damaged" in printed
    assert "going on from the one before" in printed
    assert "epoch-0002 is damaged" in (tmp_path / "run/log/train.log").read_text()
    for name, array in arrays(options.paths.run_dir, 2).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_nothing_but_damaged_checkpoints_is_an_error(options, tmp_path):
    train(replace(options, epochs=1))
    (tmp_path / "run/model_dump/epoch-0001/model.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match=r"every checkpoint in .* is damaged"):
        train(replace(options, resume=True))


def test_other_settings_are_refused_by_name(options):
    train(replace(options, epochs=1))
    with pytest.raises(RunError, match=r"already holds a run .*--continue"):
        train(options)
    changed = replace(options, resume=True, sigma=3.0, ema_decay=0.99, clip_norm=1.0)
    with pytest.raises(
        RunError, match=r"other settings \(sigma: 2.0 → 3.0; clip_norm: None → 1.0; ema_decay: None → 0.99\)"
    ):
        train(changed)


def test_a_start_that_failed_early_does_not_stand_in_the_way_of_the_next(options, tmp_path):
    folder = tmp_path / "run/model_dump"
    train(replace(options, epochs=1))
    started = read_config(folder)
    shutil.rmtree(folder)
    folder.mkdir()
    write_config(folder, replace(started, sigma=9.0))
    train(replace(options, epochs=1, provenance={"flags": {"sigma": 2.0}}))
    assert read_config(folder).sigma == started.sigma
    assert read_config(folder).provenance == {"flags": {"sigma": 2.0}}


def in_a_process(folder, options, **more):
    """Does a run as tests/helpers/small_runs.py does it."""
    (folder / "options.json").write_text(json.dumps(options_of(options) | more))
    command = [sys.executable, "-m", "tests.helpers.small_runs", str(folder / "options.json")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


#: A run that gives the same bits again, and saves after each update.
SAME_BITS = {"deterministic": True, "save_minutes": 1e-9}


@pytest.fixture(scope="module")
def whole(records, tmp_path_factory):
    """The folder of such a run that nobody kills."""
    folder = tmp_path_factory.mktemp("whole")
    assert in_a_process(folder, small_options(records, folder / "run", **SAME_BITS)).returncode == 0
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [3, 5])  # within an epoch, and after its end
def test_a_run_that_was_killed_ends_with_the_same_bits(options, whole, tmp_path, kill_at):
    def run(output, **more):
        return in_a_process(tmp_path, elsewhere(options, tmp_path / output, **SAME_BITS), **more)

    assert run("parts", kill_at=kill_at).returncode == -signal.SIGKILL
    saved = saved_progress(tmp_path / "parts/model_dump")[-1]
    assert saved.epoch * 4 + saved.update == kill_at - 1
    again = run("parts", resume=True)
    assert again.returncode == 0, again.stderr[-2000:]
    assert f"after {kill_at - 1} updates" in again.stderr
    assert_same(whole, tmp_path / "parts")


@pytest.mark.slow
def test_a_run_on_two_replicas_is_that_of_one_with_twice_the_batch(options, tmp_path):
    one = replace(options, ema_decay=0.9, clip_norm=0.5)
    train(one)
    two = elsewhere(one, tmp_path / "two", batch_size=4, sync_batch_norm=True, gradient_accumulation_steps=1)
    result = in_a_process(tmp_path, two, replicas=2)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "4 updates of 8 instances" in result.stderr
    for expected, found in zip(lines(one.paths.run_dir), lines(two.paths.run_dir), strict=True):
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
        assert found["accuracy_of"] == pytest.approx(expected["accuracy_of"], abs=0.05)
    expected, found = arrays(one.paths.run_dir, 1), arrays(two.paths.run_dir, 1)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-2, atol=1e-3, err_msg=name)


# ---- options of the update


def test_accumulating_two_halves_is_one_update_and_batches_are_counted_so(options, tmp_path):
    assert train(replace(options, batch_size=4, gradient_accumulation_steps=2, epochs=1)) == 4
    found = arrays(options.paths.run_dir, 1)
    assert all(np.isfinite(array).all() for array in found.values())
    assert int(found["adam/iteration"]) == 4


def test_every_option_changes_what_is_learned(options, tmp_path):
    plain = replace(options, epochs=1)
    train(plain)
    expected = arrays(plain.paths.run_dir, 1)["first/kernel"]
    for number, change in enumerate(
        (
            {"weight_decay": 0.5},
            {"clip_norm": 1e-6},
            {"coarse_dropout_probability": 1.0},
            {"codec": "dark"},
            {"codec": "udp"},
        )
    ):
        other = elsewhere(plain, tmp_path / str(number), **change)
        train(other)
        assert (arrays(other.paths.run_dir, 1)["first/kernel"] != expected).any(), change


def test_an_average_is_saved_beside_the_weights_and_moves_slower(options):
    train(replace(options, ema_decay=0.999))
    folder = f"{options.paths.run_dir}/model_dump/epoch-0002"
    ema, weights = (load_file(f"{folder}/{name}.safetensors") for name in ("average", "model"))
    assert ema.keys() == weights.keys()
    assert (ema["head/kernel"] != weights["head/kernel"]).any()
    before = load_file(f"{options.paths.run_dir}/model_dump/epoch-0001/average.safetensors")
    moved, ema_moved = (
        np.abs(after["head/kernel"] - before["head/kernel"]).mean() for after in (weights, ema)
    )
    assert 0 < ema_moved < moved
    np.testing.assert_array_equal(ema["norm/moving_mean"], weights["norm/moving_mean"])


def test_updates_that_are_left_out_change_nothing_but_are_counted(options):
    assert train(replace(options, epochs=1, skip_steps=(1, 2, 3, 4))) == 4
    found = arrays(options.paths.run_dir, 1)
    assert int(found["adam/iteration"]) == 0
    assert (found["adam/head_kernel_momentum"] == 0).all()


# ---- what there is to see


def test_numbers_of_every_epoch_are_in_the_log_and_as_curves(options, tmp_path):
    train(replace(options, eval_every=2))
    first, second, validation = lines(options.paths.run_dir)
    assert [line["kind"] for line in (first, second, validation)] == ["train", "train", "validation"]
    assert (first["epoch"], second["epoch"], validation["epoch"]) == (1, 2, 2)
    assert second["loss"] < first["loss"]
    assert second["learning_rate"] == pytest.approx(1e-3)
    assert 0 <= first["waiting_for_data"] <= 1
    assert set(first["accuracy_of"]) <= set(read_config(tmp_path / "run/model_dump").skeleton["keypoints"])
    assert {"AP", "AR"} <= validation.keys()
    assert "epoch 2: validation AP" in (tmp_path / "run/log/train.log").read_text()
    assert list((tmp_path / "run/log").glob("events.*"))


def test_the_last_epoch_is_validated_and_the_best_stays_when_only_few_are_kept(
    options, tmp_path, monkeypatch
):
    results = iter([0.5, 0.7, 0.6, 0.1])

    def measured(self, arrays, title):
        return Validation("AP", next(results), {}, "AP", None)

    monkeypatch.setattr("train.validation.Validator.__call__", measured)
    train(replace(options, epochs=4, eval_every=1, max_to_keep=1))
    folder = tmp_path / "run/model_dump"
    assert read_best(folder) == (2, 0.7)
    assert saved_epochs(folder) == [2, 4]


def test_without_validation_records_the_run_goes_on_and_says_so(options, tmp_path, capsys):
    places = replace(options.paths.dataset, records_dir=tmp_path / "nowhere")
    train(replace(options, epochs=1, eval_every=1, paths=replace(options.paths, dataset=places)))
    assert "no validation while training: no records in" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "ema_decay"), [("msra", None), ("udp", 0.5)])
def test_the_trainer_s_validation_is_the_evaluator_s(options, name, ema_decay, monkeypatch):
    def every_number(metric_input):
        """In place of an AP, which is 0 for so small a network."""
        poses = [[*result["keypoints"], result["score"]] for result in metric_input.results]
        return MetricResult("AP", "", {"AP": float(np.sum(poses)), "poses": len(poses)}, best_by="AP")

    monkeypatch.setitem(METRICS, "coco", Metric("coco", "", every_number))
    train(replace(options, eval_every=2, codec=name, sigma=1.5, ema_decay=ema_decay))
    places = options.paths.dataset
    metrics = evaluate_run(
        evaluation_of(options.paths.run_dir, records_dir=places.records_dir, dataset_dir=places.dataset_dir)
    )
    logged = lines(options.paths.run_dir)[-1]
    assert metrics["poses"] > 3
    # The evaluator folds batch normalization into the convolutions, which rounds otherwise.
    assert {name: logged[name] for name in metrics} == pytest.approx(metrics, rel=1e-6)


# ---- bad luck


def test_parts_and_synchronized_norm_on_several_gpus_are_a_usage_error(options, monkeypatch, tmp_path):
    strategy = SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr("train.setup.make_strategy", lambda gpus, cluster: strategy)
    with pytest.raises(UsageError, match="--sync_batch_norm and --gradient_accumulation_steps"):
        train(replace(options, sync_batch_norm=True, gradient_accumulation_steps=2))
    assert not (tmp_path / "run").exists()


def test_records_of_another_dataset_are_refused(options):
    with pytest.raises(RecordsError, match="holds records of coco, but --dataset=synthetic"):
        train(replace(options, dataset="synthetic"))


def test_more_augmentation_than_the_crops_have_room_for_is_refused_before_anything_is_written(
    options, tmp_path
):
    with pytest.raises(RecordsError, match="room"):
        train(replace(options, augmentation=Augmentation(scale_factor=0.5)))
    assert not (tmp_path / "run").exists()


# ---- the whole way
def test_annotated_keypoints_survive_the_whole_way_but_the_network(tmp_path):
    """Records, network input, targets, decoding, mapping back, rescoring, NMS and metric fit together."""
    folder = shared_data("dataset", "COCO")
    size, heatmap_size = (192, 256), (48, 64)
    build_records(make_build(folder, tmp_path, split="val", crop={"input_size": size}))
    (batch,) = read_records(tmp_path, 100)
    batch = {name: value.numpy() for name, value in batch.items()}
    msra = codec("msra")
    heatmaps, _ = msra.encode(batch["keypoints_input"], size, heatmap_size)
    decoded = np.asarray(msra.decode(heatmaps))
    keypoints = to_image(decoded, batch["center"], batch["scale"], heatmap_size, msra)
    results = to_results(keypoints, batch["scale"].prod(axis=1), batch["score"], batch["image_id"])
    metrics = evaluate_coco(folder / "annotations/person_keypoints_val2017.json", results)
    # Targets are centered on whole cells, which costs a little; measured 0.982.
    assert metrics["AP"] > 0.97
