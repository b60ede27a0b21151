"""Ids, keypoints and boxes in the forms that tools write them in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.annotations.forms import (
    BOX_MARGIN,
    SMALLEST_BOX,
    box_of_keypoints,
    flat_keypoints,
    lacks_box,
    read_visibility,
    shape_of,
    with_numbers,
)
from records.annotations.instance_checks import wrong_box, wrong_keypoints
from tests.helpers.sources import anything, keypoints

NAN = float("nan")


@pytest.mark.parametrize(
    ("written", "read"),
    [(0, 0), (1, 1), (2, 2), (2.0, 2), (-1, 0), (-1.0, 0), (None, 0), (NAN, 0), (False, 0), (True, 2)],
)
def test_visibilities_as_tools_write_them(written, read):
    assert read_visibility(written) == read


@pytest.mark.parametrize("value", [3, 0.87, -2, "2", [2]])
def test_a_visibility_that_says_nothing_stays_to_be_refused(value):
    assert read_visibility(value) is value


# ---- keypoints, K = 2


@pytest.mark.parametrize(
    ("written", "flat", "assumed"),
    [
        ([1, 2, 2, 3, 4, 1], [1, 2, 2, 3, 4, 1], set()),
        ([1, 2, 2, 3, 4, 0], [1, 2, 2, 3, 4, 0], set()),
        ([1, 2, 3, 4], [1, 2, 2, 3, 4, 2], {"pairs"}),
        ([1, 2, None, None], [1, 2, 2, 0, 0, 0], {"pairs"}),
        ([[1, 2, 2], [3, 4, 1]], [1, 2, 2, 3, 4, 1], {"nested"}),
        ([[1, 2], [3, 4]], [1, 2, 2, 3, 4, 2], {"nested", "pairs"}),
        ([[1, 2, 2], None], [1, 2, 2, 0, 0, 0], {"nested"}),
        ([1, 2, 2, -1, -1, -1], [1, 2, 2, 0, 0, 0], {"visibility"}),
        ([1, 2, True, 3, 4, False], [1, 2, 2, 0, 0, 0], {"visibility"}),
        ([1, 2, 2, None, None, 0], [1, 2, 2, 0, 0, 0], {"visibility"}),
        ([1, 2, 2, NAN, NAN, 0], [1, 2, 2, 0, 0, 0], {"visibility"}),
        ([1, 2, 2, 3, 4, None], [1, 2, 2, 0, 0, 0], {"visibility"}),
        ([1, 2, 2, NAN, NAN, NAN], [1, 2, 2, 0, 0, 0], {"visibility"}),
    ],
)
def test_keypoints_come_to_cocos_form(written, flat, assumed):
    assert flat_keypoints(written, 2) == (flat, assumed)


@pytest.mark.parametrize(
    "value",
    [
        [1, 2, 2, 3, 4, 7],  # a visibility that says nothing
        [None, 2, 2, 3, 4, 2],  # labeled, but nowhere
        [1, None, 3, 4],
    ],
)
def test_keypoints_without_a_sensible_reading_are_left_to_be_refused(value):
    assert wrong_keypoints(flat_keypoints(value, 2)[0], 2)


@pytest.mark.parametrize(
    "value",
    [None, 5, "1", {}, [], [1, 2, 2], [1, 2, 2] * 3, [[1, 2, 2]], [[1, 2, 2, 2], [1, 2, 2]]],
)
def test_another_number_of_keypoints_stays_as_it_is(value):
    assert flat_keypoints(value, 2) == (value, set())


@given(anything | keypoints, st.integers(1, 18))
def test_keypoints_in_strict_form_stay_and_others_are_never_spoilt(value, count):
    flat, assumed = flat_keypoints(value, count)
    if wrong_keypoints(value, count) is None:
        assert flat is value
    if assumed:
        assert len(flat) == 3 * count


@pytest.mark.parametrize(
    ("written", "shape"),
    [
        ([1, 2, 2, 3, 4, 1], (3, 2)),
        ([110, 120, 150, 160, 280, 290], (2, 3)),
        ([1, 2, -1, 3, 4, True], (3, 2)),
        ([[1, 2], [3, 4], [5, 6]], (0, 3)),
        ([[1, 2, 0], [3, 4, 2]], (0, 2)),
        ([0, 0, 0, 0, 0, 0], None),  # nothing is labeled
        ([[0, 0, 0], None], None),
        ([None, None, NAN] * 2, None),
        ([], None),
        (None, None),
        ("abc", None),
        ([1, 2, 3, 4, 5], None),
        ([1, 2, {}], None),
        ([{"x": 1, "y": 2}] * 4, None),
        ([110, 120, 0.9, 150, 160, 0.8], (3, 2)),  # scores, which say nothing of who is labeled
        ([110, 120, 3, 150, 160, 2], (3, 2)),
        ([0, 0, 3, 150, 160, 2], (3, 2)),
        ([0.1, 0.2, 0.9, 0.4, 0.5, 0.8], (2, 3)),  # fractions
    ],
)
def test_the_number_of_keypoints_can_be_told_from_a_list(written, shape):
    assert shape_of(written) == shape


@given(anything | keypoints)
def test_any_value_has_a_shape_or_none(value):
    assert shape_of(value) is None or shape_of(value)[1] > 0


# ---- boxes


@pytest.mark.parametrize(
    "box", [None, [], [1, 2, 0, 0], [1, 2, 0, 5], [1, 2, -3, 5], [None] * 4, [NAN] * 4, [1.0, 2.0, 0.0, 1e-9]]
)
def test_a_box_without_extent_is_none(box):
    assert lacks_box(box)


@pytest.mark.parametrize("box", [[1, 2, 3, 4], [1, 2, 3], [1, 2, 3, None], "box", 5, {}, [1, 2, "3", 4]])
def test_a_box_and_something_that_was_meant_to_be_one_are_not_replaced(box):
    assert not lacks_box(box)


def test_the_box_of_keypoints_is_their_extent_with_a_margin():
    labeled = [100, 50, 2, 300, 450, 1]
    assert BOX_MARGIN == 0.1
    assert box_of_keypoints([*labeled, 900, 900, 0]) == pytest.approx([80, 10, 240, 480])


def test_the_box_of_a_single_keypoint_has_the_least_size():
    assert SMALLEST_BOX == 32
    assert box_of_keypoints([100, 50, 2]) == [84, 34, 32, 32]
    assert box_of_keypoints([100, 50, 2, 200, 50, 2]) == pytest.approx([90, 34, 120, 32])


place = st.floats(-1e5, 1e5)


@given(st.lists(st.tuples(place, place, st.sampled_from([0, 1, 2])), min_size=1, max_size=9))
def test_the_box_of_keypoints_holds_them_and_can_be_used(rows):
    rows = [*rows, (3.0, 4.0, 2)]
    box = box_of_keypoints([value for row in rows for value in row])
    assert wrong_box(box) is None
    x, y, width, height = box
    for column, row, visibility in rows:
        if visibility:
            assert x <= column <= x + width
            assert y <= row <= y + height


# ---- numbers as text


def test_text_that_is_a_number_is_one_wherever_numbers_belong():
    entry = {
        "width": "640",
        "bbox": ["1", " 2.5 ", 3, "-4e0"],
        "keypoints": [["1", 2, "2"], None],
        "area": "many",
        "id": "7",
    }
    assert with_numbers(entry) == entry | {
        "width": 640,
        "bbox": [1, 2.5, 3, -4],
        "keypoints": [[1, 2, 2], None],
    }


@pytest.mark.parametrize("value", ["nan", "inf", "1_000", "0x1", "", "1,2", "٣", [1, 2, None], 5, {"x": "1"}])
def test_what_is_no_number_in_text_stays(value):
    entry = {"bbox": value, "area": value}
    assert with_numbers(entry) is entry
