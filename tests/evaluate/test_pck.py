"""PCK where the shares can be counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.metrics.pck import pck, percent_within


def instances():
    """Two instances of three keypoints with boxes of 10 x 100 and 50 x 20 px; one keypoint is not
    annotated.
    """
    keypoints = np.zeros((2, 3, 3))
    keypoints[..., 2] = [[2, 1, 2], [2, 1, 0]]
    return keypoints, np.array([[0, 0, 10, 100], [5, 5, 50, 20]])


def test_a_keypoint_is_right_up_to_a_fifth_of_the_longer_side():
    keypoints, boxes = instances()
    predictions = np.zeros((2, 3, 2))
    predictions[0, :, 0] = 20, 20.1, 0
    predictions[1, :, 1] = 10, 10.1, 999
    result = pck(predictions, keypoints, boxes)
    assert result["per_joint"].tolist() == [100, 0, 100]
    assert result["mean"] == 60  # 3 of the 5 annotated keypoints
    assert pck(predictions, keypoints, boxes, threshold=0.25)["mean"] == 100


def test_what_nobody_has_annotated_is_nan():
    keypoints, boxes = instances()
    keypoints[:, 1, 2] = 0
    result = pck(np.zeros((2, 3, 2)), keypoints, boxes)
    assert np.isnan(result["per_joint"]).tolist() == [False, True, False]
    assert result["mean"] == 100
    assert np.isnan(pck(np.zeros((0, 3, 2)), np.zeros((0, 3, 3)), np.zeros((0, 4)))["mean"])


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
def test_the_unit_of_length_does_not_matter(seed, unit):
    rng = np.random.default_rng(seed)
    keypoints = np.concatenate([rng.uniform(0, 100, (4, 5, 2)), rng.integers(0, 3, (4, 5, 1))], axis=2)
    predictions = keypoints[..., :2] + rng.normal(0, 10, (4, 5, 2))
    boxes = rng.uniform(10, 100, (4, 4))
    expected = pck(predictions, keypoints, boxes)
    scaled = pck(predictions * unit, keypoints * [unit, unit, 1], boxes * unit)
    assert scaled["mean"] == pytest.approx(expected["mean"], nan_ok=True)
    assert scaled["per_joint"] == pytest.approx(expected["per_joint"], nan_ok=True)


@given(st.integers(0, 2**32 - 1))
def test_the_share_grows_with_the_threshold(seed):
    rng = np.random.default_rng(seed)
    errors, annotated = rng.uniform(0, 1, (6, 4)), rng.random((6, 4)) < 0.8
    annotated[0] = True
    means = [percent_within(errors, annotated, threshold)[0] for threshold in (0.1, 0.3, 0.7, 1.0)]
    assert means == sorted(means)
    assert means[-1] == 100


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"predictions_image": np.zeros((2, 4, 2))}, r"^predictions_image: received shape \(2, 4, 2\)"),
        ({"predictions_image": np.full((2, 3, 2), np.nan)}, r"^predictions_image: received nan at index \(0"),
        ({"keypoints_image": np.zeros((2, 3))}, r"^keypoints_image: .*expected \(any, any, 3\)"),
        ({"keypoints_image": "ab"}, r"^keypoints_image: received no array of numbers"),
        ({"boxes": np.zeros((2, 4))}, r"^boxes: row 0 is .*expected x y w h with w or h above 0"),
        ({"threshold": 0}, r"^threshold: received 0"),
        ({"threshold": float("nan")}, r"^threshold: received nan"),
    ],
)
def test_bad_arguments_are_named(change, says):
    keypoints, boxes = instances()
    arguments = {"predictions_image": np.zeros((2, 3, 2)), "keypoints_image": keypoints, "boxes": boxes}
    with pytest.raises(ValueError, match=says):
        pck(**arguments | change)
