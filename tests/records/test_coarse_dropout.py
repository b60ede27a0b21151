"""Coarse dropout."""

import numpy as np
import pytest

from records.augment import drop_rectangles

WHITE = np.full((400, 60, 40, 3), 255, np.uint8)
INSTANCES = np.arange(400) * 7 - 100


def holes(images):
    """(N, 4) left, top, width, height of the black part of each image; 0 where there is none."""
    result = []
    for image in images:
        black = (image == 0).all(-1)
        rows, columns = np.flatnonzero(black.any(1)), np.flatnonzero(black.any(0))
        if len(rows) == 0:
            result.append((0, 0, 0, 0))
            continue
        assert black[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert (image[~black] == 255).all()
        result.append((columns[0], rows[0], len(columns), len(rows)))
    return np.array(result)


def test_one_whole_rectangle_of_the_stated_size_anywhere_in_the_image():
    left, top, width, height = holes(drop_rectangles(WHITE, INSTANCES, 1, seed=3, epoch=0)).T
    assert (width.min(), width.max()) == (8, 16)
    assert (height.min(), height.max()) == (12, 24)
    assert left.min() == top.min() == 0
    assert ((left + width).max(), (top + height).max()) == (40, 60)
    assert np.abs(np.corrcoef([left, top, width, height]) - np.eye(4))[0, 1] < 0.15


def test_as_often_as_asked():
    filtered = holes(drop_rectangles(WHITE, INSTANCES, 0.3, seed=0, epoch=0))[:, 2] > 0
    assert np.mean(filtered) == pytest.approx(0.3, abs=0.07)
    np.testing.assert_array_equal(drop_rectangles(WHITE, INSTANCES, 0, 0, 0), WHITE)


def test_what_an_instance_gets_depends_on_seed_epoch_and_instance_alone():
    first = drop_rectangles(WHITE[:9], INSTANCES[:9], 1, 5, 2)
    order = np.random.default_rng(0).permutation(9)
    np.testing.assert_array_equal(drop_rectangles(WHITE[:9], INSTANCES[order], 1, 5, 2), first[order])
    assert (drop_rectangles(WHITE[:9], INSTANCES[:9], 1, 5, 3) != first).any()
    assert (drop_rectangles(WHITE[:9], INSTANCES[:9], 1, 6, 2) != first).any()
    assert (WHITE == 255).all()
