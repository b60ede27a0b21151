"""The learning rate over the epochs."""

import pytest

from train.schedule import step_decay


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 1e-3), (169, 1e-3), (170, 1e-4), (199, 1e-4), (200, 1e-5), (209, 1e-5)]
)
def test_the_recipe_of_the_paper(epoch, rate):
    assert step_decay(epoch, 1e-3, (170, 200), 0.1) == pytest.approx(rate, rel=1e-12)


def test_milestones_may_come_in_any_order():
    rates = [step_decay(epoch, 1.0, (6, 2, 4), 0.5) for epoch in range(8)]
    assert rates == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_without_milestones_it_stays():
    assert step_decay(1000, 0.3, (), 0.1) == 0.3
