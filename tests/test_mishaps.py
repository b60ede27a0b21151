"""What ends a run before its time, and how it goes on after that."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file

from model.runs import Progress, RunError, saved_progress
from tests.small_runs import make_records, small_network, small_options
from train import loop, update
from train.loop import train
from train.mishaps import UpdateCheck, check_finite


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return make_records(tmp_path_factory.mktemp("mishaps"))


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    monkeypatch.setattr("train.run.build", small_network)
    monkeypatch.setattr("train.validation.build", small_network)


@pytest.fixture
def options(records, tmp_path):
    return small_options(records, tmp_path / "run")


def arrays(output):
    folder = f"{output}/model_dump/epoch-0002"
    return load_file(f"{folder}/model.safetensors") | load_file(f"{folder}/optimizer.safetensors")


# ---- updates that are no numbers


def poison(monkeypatch, bad_step):
    """Makes the gradients of an update NaN while its loss is a number: sqrt has no slope at 0."""
    batches, loss = loop.epoch_batches, update.heatmap_loss

    def nobody_visible_once(run, epoch, start):
        first = epoch * run.steps_per_epoch + start + 1
        for step, (images, keypoints, *ids) in enumerate(batches(run, epoch, start), first):
            yield images, keypoints * [1, 1, step != bad_step], *ids

    def without_a_slope(heatmaps, targets, weights):
        plain = loss(heatmaps, targets, weights)
        return plain + 1e-20 * tf.sqrt(tf.reduce_sum(weights) * tf.reduce_sum(heatmaps**2))

    monkeypatch.setattr("train.loop.epoch_batches", nobody_visible_once)
    monkeypatch.setattr("train.update.heatmap_loss", without_a_slope)


@pytest.mark.parametrize(
    ("bad_step", "epoch", "saved"),
    [(4, 1, []), (6, 2, [Progress(1)]), (8, 2, [Progress(1)])],
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_gradients_that_are_no_numbers_are_not_saved_and_the_offered_way_goes_on_to_the_end(
    options, tmp_path, monkeypatch, bad_step, epoch, saved, accumulate
):
    poison(monkeypatch, bad_step)
    options = replace(options, keep=1, batch_size=8 // accumulate, accumulate=accumulate)
    with pytest.raises(RunError, match=rf"^the gradients became nan in epoch {epoch}, ") as error:
        train(options)
    assert f"update {bad_step}, which is not saved" in str(error.value)
    assert saved_progress(f"{options.output}/model_dump") == saved
    offered = re.search(r"--continue --leave_out=([\d,]+) ", str(error.value))[1]
    left_out = tuple(map(int, offered.split(",")))
    assert train(replace(options, resume=True, leave_out=left_out)) == 8
    whole = replace(options, output=str(tmp_path / "whole"), leave_out=(bad_step,))
    train(whole)
    expected, found = arrays(whole.output), arrays(options.output)
    for name, array in expected.items():
        assert np.isfinite(array).all()
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_saving_within_the_epoch_does_not_save_what_is_no_number(options, monkeypatch):
    poison(monkeypatch, 3)
    with pytest.raises(RunError, match="the gradients became nan in epoch 1, update 3"):
        train(replace(options, save_minutes=1e-9))
    assert saved_progress(f"{options.output}/model_dump") == [Progress(0, 2)]


def check_of(left_out=(), workers=1):
    run = SimpleNamespace(
        options=SimpleNamespace(leave_out=left_out),
        cluster=SimpleNamespace(workers=workers),
        strategy=tf.distribute.get_strategy(),
        checkpoints=SimpleNamespace(folder="run/model_dump"),
    )
    return UpdateCheck(run, epoch=0)


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
def test_the_update_whose_loss_or_gradients_are_no_number_is_named_with_its_people(loss, norm, expected):
    check = check_of(left_out=(2,))
    check.add(4, {"loss": tf.constant(0.5), "gradient_norm": tf.constant(2.0)}, None)
    said = said_of(check, 5, loss, norm)
    assert said.startswith(f"{expected} in epoch 1, update 5, which is not saved; its people (annotation in")
    assert "are 100 in 0, 101 in 1, " in said
    assert "107 in 7 and 2 more. --continue --leave_out=2,5 goes on" in said


def test_one_of_several_machines_says_that_it_names_only_its_own_people():
    assert "; its people on this machine (annotation" in said_of(check_of(workers=2), 5, 1.0, float("nan"))


def test_leaving_out_one_update_after_the_other_is_not_offered_without_end():
    said = said_of(check_of(left_out=(5,)), 6, float("nan"), 1.0)
    assert "leave_out" not in said
    assert "Update 5 was left out already, so it is the weights rather than these people" in said
    assert "--continue once the last checkpoint in run/model_dump is moved away" in said


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_held_back_by_name(value):
    parts = {"model": {"a": np.zeros(3, np.float32)}, "optimizer": {"n": np.int64(3), "b": np.ones(2)}}
    check_finite(parts, 7, "run/model_dump")
    parts["optimizer"]["b"][1] = value
    with pytest.raises(RunError, match=r"^after update 7 b of the optimizer holds infinities or NaN"):
        check_finite(parts, 7, "run/model_dump")
