"""What ends a run before its time, and how it goes on after that."""

import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from hrpose.command import CommandError
from model.best_epoch import read_best
from model.run_folder import Progress, RunError, saved_progress
from tests.helpers.clusters import HOSTS, tf_config
from tests.helpers.shared import ROOT
from tests.helpers.small_runs import elsewhere, options_of, small_options
from train import loop, train_step
from train.checkpoints import check_finite
from train.failures import TrainStepCheck, full_device_reported, lost_worker_reported
from train.loop import train
from train.metrics_log import read_metrics
from train.validation import Validation

pytestmark = pytest.mark.usefixtures("small_networks")


@pytest.fixture
def options(records, tmp_path):
    return small_options(records, tmp_path / "run")


def arrays(output):
    folder = f"{output}/model_dump/epoch-0002"
    return load_file(f"{folder}/model.safetensors") | load_file(f"{folder}/optimizer.safetensors")


def lines(output):
    return [json.loads(line) for line in Path(f"{output}/log/metrics.jsonl").read_text().splitlines()]


# ---- updates that are no numbers


def poison(monkeypatch, bad_step):
    """Makes the gradients of an update NaN while its loss is a number: sqrt has no slope at 0."""
    batches, loss = loop.epoch_batches, train_step.heatmap_loss

    def nobody_visible_once(run, epoch, start):
        first = epoch * run.steps_per_epoch + start + 1
        for step, (images, keypoints, *ids) in enumerate(batches(run, epoch, start), first):
            yield images, keypoints * [1, 1, step != bad_step], *ids

    def without_a_slope(heatmaps, targets, weights):
        plain = loss(heatmaps, targets, weights)
        return plain + 1e-20 * tf.sqrt(tf.reduce_sum(weights) * tf.reduce_sum(heatmaps**2))

    monkeypatch.setattr("train.loop.epoch_batches", nobody_visible_once)
    monkeypatch.setattr("train.train_step.heatmap_loss", without_a_slope)


# The last update of an epoch, one within it, also of accumulated gradients, and the last of the run.
@pytest.mark.parametrize(
    ("bad_step", "epoch", "saved", "gradient_accumulation_steps"),
    [(4, 1, [], 1), (6, 2, [Progress(1)], 1), (6, 2, [Progress(1)], 2), (8, 2, [Progress(1)], 2)],
)
def test_gradients_that_are_no_numbers_are_not_saved_and_the_offered_way_goes_on_to_the_end(
    options, tmp_path, monkeypatch, bad_step, epoch, saved, gradient_accumulation_steps
):
    poison(monkeypatch, bad_step)
    options = replace(
        options,
        max_to_keep=1,
        batch_size=8 // gradient_accumulation_steps,
        gradient_accumulation_steps=gradient_accumulation_steps,
    )
    with pytest.raises(RunError, match=rf"^the gradients became nan in epoch {epoch}, ") as error:
        train(options)
    assert f"update {bad_step}, which is not saved" in str(error.value)
    assert saved_progress(options.paths.checkpoints) == saved
    offered = re.search(r"--continue --skip_steps=([\d,]+) ", str(error.value))[1]
    filtered = tuple(map(int, offered.split(",")))
    assert train(replace(options, resume=True, skip_steps=filtered)) == 8
    whole = elsewhere(options, tmp_path / "whole", skip_steps=(bad_step,))
    train(whole)
    expected, found = arrays(whole.paths.run_dir), arrays(options.paths.run_dir)
    for name, array in expected.items():
        assert np.isfinite(array).all()
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_saving_within_the_epoch_does_not_save_what_is_no_number(options, monkeypatch):
    poison(monkeypatch, 3)
    with pytest.raises(RunError, match="the gradients became nan in epoch 1, update 3"):
        train(replace(options, save_minutes=1e-9))
    assert saved_progress(options.paths.checkpoints) == [Progress(0, 2)]


def test_a_loss_that_is_no_number_ends_the_run_names_instances_and_is_not_saved(options, tmp_path):
    train(replace(options, epochs=1))
    # Weights of 1e30 in the head make the squared error overflow.
    path = tmp_path / "run/model_dump/epoch-0001/model.safetensors"
    weights = load_file(path)
    weights["head/kernel"] = np.full_like(weights["head/kernel"], 1e30)
    save_file(weights, path)
    (path.parent / "state.json").write_text('{"epoch": 1, "step": 4}')  # without the checksum
    message = (
        r"the loss became (inf|nan) in epoch 2, update 5, .* (\d+ in \d+, ){7}\d+ in \d+\. .*skip_steps=5"
    )
    with pytest.raises(RunError, match=message):
        train(replace(options, resume=True))
    assert saved_progress(tmp_path / "run/model_dump") == [Progress(1)]
    with pytest.raises(RunError, match="Update 5 was skipped already, so it is the weights"):
        train(replace(options, resume=True, skip_steps=(5,)))


def test_a_full_disk_leaves_the_checkpoint_before_it(options, tmp_path, monkeypatch):
    train(replace(options, epochs=1))

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr("hrpose.atomic_files.os.fsync", full_disk)
        with pytest.raises(RunError, match="No space left on device; the checkpoints before it are intact"):
            train(replace(options, resume=True))
    assert train(replace(options, resume=True)) == 8


def check_of(filtered=(), workers=1):
    run = SimpleNamespace(
        options=SimpleNamespace(skip_steps=filtered),
        cluster=SimpleNamespace(workers=workers),
        strategy=tf.distribute.get_strategy(),
        checkpoints=SimpleNamespace(folder="run/model_dump"),
    )
    return TrainStepCheck(run, epoch=0)


def said_of(check, step, loss, norm):
    ids = tf.range(10, dtype=tf.int64)
    check.add(step, {"loss": tf.constant(loss), "gradient_norm": tf.constant(norm)}, (ids, 100 + ids))
    with pytest.raises(RunError) as error:
        check.check()
    return str(error.value)


@pytest.mark.parametrize(
    ("loss", "norm", "expected"),
    [
        (float("nan"), float("nan"), "the loss became nan"),
        (float("inf"), 1.0, "the loss became inf"),
        (1.0, float("inf"), "the gradients became inf"),
    ],
)
def test_the_update_whose_loss_or_gradients_are_no_number_is_named_with_its_instances(loss, norm, expected):
    check = check_of(filtered=(2,))
    check.add(4, {"loss": tf.constant(0.5), "gradient_norm": tf.constant(2.0)}, None)
    said = said_of(check, 5, loss, norm)
    assert said.startswith(
        f"{expected} in epoch 1, update 5, which is not saved; its instances (annotation in"
    )
    assert "are 100 in 0, 101 in 1, " in said
    assert "107 in 7 and 2 more. --continue --skip_steps=2,5 goes on" in said


def test_one_of_several_workers_says_that_it_names_only_its_own_instances():
    assert "; its instances on this host (annotation" in said_of(check_of(workers=2), 5, 1.0, float("nan"))


def test_leaving_out_one_update_after_the_other_is_not_offered_without_end():
    said = said_of(check_of(filtered=(5,)), 6, float("nan"), 1.0)
    assert "skip_steps" not in said
    assert "Update 5 was skipped already, so it is the weights rather than these instances" in said
    assert "--continue once the last checkpoint in run/model_dump is moved away" in said


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_held_back_by_name(value):
    parts = {"model": {"a": np.zeros(3, np.float32)}, "optimizer": {"n": np.int64(3), "b": np.ones(2)}}
    check_finite(parts, 7, "run/model_dump")
    parts["optimizer"]["b"][1] = value
    with pytest.raises(RunError, match=r"^after update 7 b of the optimizer holds infinities or NaN"):
        check_finite(parts, 7, "run/model_dump")


# ---- validation


@pytest.mark.slow
@pytest.mark.parametrize("killed_in", [1, 2])
def test_a_validation_in_which_the_run_was_killed_is_done_when_it_goes_on(options, tmp_path, killed_in):
    """The second is that of the last epoch."""
    data = options_of(replace(options, eval_every=1, max_to_keep=1))
    (tmp_path / "options.json").write_text(json.dumps(data | {"kill_in_validation": killed_in}))
    command = [sys.executable, "-m", "tests.helpers.small_runs", str(tmp_path / "options.json")]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    before = lines(options.paths.run_dir)
    assert len(before) == 2 * killed_in - 1
    assert train(replace(options, eval_every=1, max_to_keep=1, resume=True)) == 8
    said = [(line["kind"], line["epoch"]) for line in lines(options.paths.run_dir)]
    assert said == [("train", 1), ("validation", 1), ("train", 2), ("validation", 2)]
    assert lines(options.paths.run_dir)[: len(before)] == before


def without_measuring(monkeypatch, attempts):
    """Makes validations have these outcomes, which are values or errors; returns the arrays they were of."""
    seen, attempts = [], iter(attempts)

    def measured(self, arrays, title):
        seen.append(arrays)
        value = next(attempts)
        if isinstance(value, Exception):
            raise value
        return Validation("AP", value, {"AP": value}, f"AP {value}", None)

    monkeypatch.setattr("train.validation.Validator.__call__", measured)
    return seen


def forget_last_validation(output):
    """Leaves metrics.jsonl as a kill amid its last line would."""
    path = Path(f"{output}/log/metrics.jsonl")
    path.write_bytes(path.read_bytes()[:-5])


def test_what_is_validated_late_is_the_average_if_there_is_one_and_it_may_be_the_best(options, monkeypatch):
    seen = without_measuring(monkeypatch, [0.2, 0.1, 0.4])
    options = replace(options, eval_every=1, ema_decay=0.9)
    train(options)
    forget_last_validation(options.paths.run_dir)
    train(replace(options, resume=True))
    assert len(seen) == 3
    for name, array in seen[1].items():
        np.testing.assert_array_equal(seen[2][name], array, err_msg=name)
    assert read_best(options.paths.checkpoints) == (2, 0.4)
    assert read_metrics(options.paths.log)[-1] == {"kind": "validation", "epoch": 2, "AP": 0.4}


def test_nothing_is_validated_twice(options, monkeypatch, capsys):
    seen = without_measuring(monkeypatch, [0.2, 0.3, 0.4, 0.5])
    train(replace(options, eval_every=1))
    train(replace(options, eval_every=1, resume=True))
    assert "all 2 epochs are done" in capsys.readouterr().err
    assert len(seen) == 2
    train(replace(options, eval_every=1, resume=True, epochs=3))
    assert len(seen) == 3
    train(replace(options, resume=True, epochs=3))
    assert len(seen) == 3


def test_a_validation_in_the_log_of_an_earlier_run_does_not_count(options, tmp_path, monkeypatch):
    seen = without_measuring(monkeypatch, [0.2, 0.3, 0.4, 0.5, 0.6])
    train(replace(options, eval_every=1))
    shutil.rmtree(tmp_path / "run/model_dump")
    train(replace(options, eval_every=1))
    forget_last_validation(options.paths.run_dir)
    assert len(seen) == 4
    train(replace(options, eval_every=1, resume=True))
    assert len(seen) == 5


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        tf.errors.NotFoundError(None, None, "val.tfrecord: No such file"),
        CommandError("the records are damaged"),
    ],
)
def test_a_file_that_validation_cannot_read_or_write_does_not_end_the_run(
    options, tmp_path, monkeypatch, error
):
    without_measuring(monkeypatch, [error, 0.3])
    assert train(replace(options, eval_every=1)) == 8
    said = (tmp_path / "run/log/train.log").read_text()
    assert f"epoch 1: not validated: {error}" in said
    assert read_best(tmp_path / "run/model_dump") == (2, 0.3)


def test_a_best_epoch_that_cannot_be_noted_does_not_end_the_run_and_is_validated_again(options, monkeypatch):
    seen = without_measuring(monkeypatch, [0.2, 0.3, 0.3])

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr("train.checkpoints.write_best", full_disk)
        assert train(replace(options, eval_every=1)) == 8
    assert [line["kind"] for line in lines(options.paths.run_dir)] == ["train", "train"]
    train(replace(options, eval_every=1, resume=True))
    assert len(seen) == 3
    assert read_best(options.paths.checkpoints) == (2, 0.3)


# ---- memory


@pytest.mark.parametrize(("gpus", "device"), [(0, "CPU"), (4, "GPU")])
def test_a_batch_that_does_not_fit_into_memory_says_how_to_make_it_smaller(options, gpus, device):
    options = replace(options, gpus=gpus, gradient_accumulation_steps=3)
    with (
        pytest.raises(RunError, match=rf"a batch of 8 instances .* memory of a {device}; .* \(now 3\), does"),
        full_device_reported(options),
    ):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


def test_a_step_that_does_not_fit_into_memory_is_no_stack_trace(options, monkeypatch):
    def too_large(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr("train.loop.make_train_step", lambda *_: too_large)
    with pytest.raises(
        RunError,
        match=r"a batch of 8 instances .* smaller --batch_size, with a --gradient_accumulation_steps",
    ):
        train(options)


# ---- several workers


def test_a_lost_worker_is_told_and_what_the_failed_reduction_held_is_let_go_at_once():
    gone = []

    class Pool:
        def __del__(self):
            gone.append(self)

    def reduce():
        pool = Pool()
        raise tf.errors.UnavailableError(None, None, f"{pool} is aborted\nby its peer")

    def train():
        with lost_worker_reported(3, "run"):
            reduce()

    said = r"another of the 3 workers was lost \(.* is aborted\); .* in run$"
    with pytest.raises(RunError, match=said) as error:
        train()
    assert gone, error  # which still holds the frames


def test_on_one_worker_the_error_stays_as_it_is():
    with pytest.raises(tf.errors.UnavailableError), lost_worker_reported(1, "run"):
        raise tf.errors.UnavailableError(None, None, "")


def test_a_worker_that_is_lost_before_the_first_update_is_told_too(options, monkeypatch):
    def lost(options, cluster, held):
        raise tf.errors.UnavailableError(None, None, "failed to connect to all addresses")

    monkeypatch.setenv("TF_CONFIG", tf_config({"worker": HOSTS}))
    monkeypatch.setattr("train.loop.prepare", lost)
    with pytest.raises(
        RunError, match=r"another of the 3 workers was lost \(failed to connect .*/model_dump$"
    ):
        train(options)


def test_statistics_that_are_no_numbers_are_not_saved(options, tmp_path, monkeypatch):
    make = loop.make_train_step

    def made(strategy, model, optimizer, *more):
        step = make(strategy, model, optimizer, *more)

        def stepping(*batch):
            seen = step(*batch)
            if int(optimizer.iterations.value) == 8:
                model.get_layer("norm").moving_variance.assign([np.inf] * 4)
            return seen

        return stepping

    monkeypatch.setattr("train.loop.make_train_step", made)
    with pytest.raises(RunError, match="after update 8 norm/moving_variance of the model holds infinities"):
        train(replace(options, max_to_keep=1))
    assert saved_progress(tmp_path / "run/model_dump") == [Progress(1)]
