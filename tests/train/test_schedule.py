"""The learning rate over the updates."""

import itertools

import pytest

from train.schedule import Schedule

PAPER = Schedule()


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 1e-3), (169, 1e-3), (170, 1e-4), (199, 1e-4), (200, 1e-5), (209, 1e-5)]
)
def test_the_defaults_are_the_papers(epoch, rate):
    assert PAPER.learning_rate(epoch * 7, 7, 210) == pytest.approx(rate)
    assert PAPER.learning_rate(epoch * 7 + 6, 7, 210) == pytest.approx(rate)


def test_milestones_in_any_order_give_the_same_rate():
    shuffled = Schedule(milestones=(200, 170))
    assert all(
        shuffled.learning_rate(step, 1, 210) == PAPER.learning_rate(step, 1, 210) for step in range(210)
    )


def test_cosine_falls_from_the_initial_rate_to_nothing():
    schedule = Schedule(initial=2.0, shape="cosine")
    rates = [schedule.learning_rate(step, 10, 4) for step in range(41)]
    assert rates[0] == 2.0
    assert rates[20] == pytest.approx(1.0)
    assert rates[40] == pytest.approx(0.0)
    assert all(after < before for before, after in itertools.pairwise(rates))


@pytest.mark.parametrize("shape", ["step", "cosine"])
def test_warm_up_rises_linearly_to_what_the_shape_says(shape):
    plain, warm = Schedule(shape=shape), Schedule(shape=shape, warmup_steps=50)
    for step, share in ((0, 0.02), (24, 0.5), (49, 1.0), (50, 1.0), (300, 1.0)):
        assert warm.learning_rate(step, 100, 10) == pytest.approx(share * plain.learning_rate(step, 100, 10))
