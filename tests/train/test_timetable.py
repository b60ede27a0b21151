"""When a run is validated."""

from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.best_epoch import read_best
from model.run_config import read_config
from model.run_folder import RunError
from tests.helpers.small_runs import small_options
from train.loop import train
from train.metrics_log import EpochTotals, read_metrics
from train.timetable import AFFORDABLE, Timetable, affordable_interval
from train.validation import Validation


@pytest.fixture
def options(records, tmp_path):
    return small_options(records, tmp_path / "run", eval_every=None)


@pytest.mark.parametrize(
    ("validation", "epoch", "expected"),
    [(1, 100, 1), (2, 100, 1), (2.1, 100, 2), (20, 100, 10), (100, 10, 500), (0, 0, 1)],
)
def test_validations_take_two_percent_of_the_time(validation, epoch, expected):
    assert affordable_interval(validation, epoch) == expected


@given(validation=st.floats(0, 1e6), epoch=st.floats(0, 1e6))
def test_the_interval_is_the_shortest_that_can_be_afforded(validation, epoch):
    every = affordable_interval(validation, epoch)
    assert every >= 1
    if epoch > 1e-3:
        assert validation <= AFFORDABLE * epoch * every * (1 + 1e-9)
        assert every == 1 or validation > AFFORDABLE * epoch * (every - 1) * (1 - 1e-9)


@pytest.mark.parametrize(("every", "due"), [(0, []), (1, [1, 2, 3, 4, 5, 6, 7]), (3, [3, 6, 7]), (9, [7])])
def test_what_the_user_asks_for_is_the_timetable(options, every, due):
    timetable = Timetable(replace(options, epochs=7, eval_every=every), None)
    assert [epoch for epoch in range(1, 8) if timetable.is_due(epoch)] == due


def measured_as(monkeypatch, seconds, values):
    """Makes an epoch last 100 s and a validation so many, with these outcomes; returns which come."""
    clock, validated = count(step=seconds), []

    def attempt(self, arrays, title):
        validated.append(int(title.split()[-1]))
        value = values[validated[-1] - 1]
        return Validation("AP", value, {"AP": value}, f"AP {value}", None)

    monkeypatch.setattr("train.validation.Validator.__call__", attempt)
    monkeypatch.setattr("train.validation.time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(EpochTotals, "seconds_per_update", 25.0)
    return validated


VALUES = [0.1, 0.2, 0.6, 0.3, 0.4, 0.5, 0.2]


@pytest.mark.usefixtures("small_networks")
def test_the_first_validation_is_measured_and_a_run_that_goes_on_does_not_measure_again(
    options, monkeypatch, capsys
):
    validated = measured_as(monkeypatch, 5, VALUES)
    train(replace(options, epochs=2))
    folder = options.paths.checkpoints
    assert read_config(folder).provenance["validated_every"] == 3
    assert validated == [1, 2]  # the last epoch, as it was then
    said = "a validation takes 5 s and an epoch 100 s: validating after every 3 epochs and the last"
    assert said in capsys.readouterr().err
    train(replace(options, epochs=7, resume=True))
    assert validated == [1, 2, 3, 6, 7]
    assert read_best(folder) == (3, 0.6)
    out = capsys.readouterr().err
    assert said not in out
    assert "epoch 3: validation AP 0.6 (annotated boxes); the best so far" in out
    assert "epoch 6: validation AP 0.5 (annotated boxes)\n" in out
    assert "epoch 3 validated best: evaluate/main.py --epoch=best takes it" in out


@pytest.mark.usefixtures("small_networks")
def test_validations_that_cost_little_come_after_every_epoch(options, monkeypatch, capsys):
    validated = measured_as(monkeypatch, 2, VALUES)
    train(replace(options, epochs=3))
    assert validated == [1, 2, 3]
    assert "validating after every epoch; --eval_every sets it" in capsys.readouterr().err


@pytest.mark.usefixtures("small_networks")
def test_what_was_measured_but_cannot_be_noted_does_not_end_the_run(options, monkeypatch, capsys):
    measured_as(monkeypatch, 5, VALUES)

    def full_disk(*_):
        raise RunError("config.json could not be saved: No space left on device")

    monkeypatch.setattr("train.timetable.write_config", full_disk)
    assert train(options) == 8
    assert "(not noted: config.json could not be saved: No space left" in capsys.readouterr().err


@pytest.mark.usefixtures("small_networks")
def test_an_unmeasured_run_validates_for_real(options):
    train(options)
    kinds = [(line["kind"], line["epoch"]) for line in read_metrics(options.paths.log)]
    assert kinds == [("train", 1), ("validation", 1), ("train", 2), ("validation", 2)]
    assert read_config(options.paths.checkpoints).provenance["validated_every"] >= 1
