"""Greedy OKS tracking of instances that walk, cross, come and go."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.metrics.tracking import greedy_pairs, track, track_results
from nms import oks_matrix
from records.skeletons import POSETRACK

SIGMAS = np.full(5, 0.05)
AREA = 100.0**2


def pose(x, seed=0):
    """An instance of 100 px at x."""
    points = np.random.default_rng(seed).uniform(0, 100, (5, 2)) + np.array([x, 0])
    return np.concatenate([points, np.ones((5, 1))], axis=1)


def frame(*places):
    return np.reshape([pose(x) for x in places], (-1, 5, 3)), np.full(len(places), AREA)


def ids(*frames, threshold=0.3):
    return [found.tolist() for found in track(frames, SIGMAS, threshold)]


def test_instances_keep_their_number_whatever_their_order():
    assert ids(frame(0, 500), frame(502, 2), frame(4, 504)) == [[0, 1], [1, 0], [0, 1]]


def test_newcomers_get_new_numbers_and_who_was_gone_is_new():
    assert ids(frame(0), frame(900, 1), frame(2), frame(3, 900)) == [[0], [1, 0], [0], [0, 2]]
    assert ids(frame(0), frame(), frame(0)) == [[0], [], [1]]
    assert ids() == []


def test_the_most_similar_pair_is_made_first():
    """Both are nearest to the instance at 0; the nearer one gets them, though it comes second."""
    assert ids(frame(0), frame(8, 2)) == [[0], [1, 0]]
    # With the first taken, the other is paired with who is left.
    assert ids(frame(0, 14), frame(6, 2)) == [[0, 1], [1, 0]]


def test_an_oks_of_exactly_the_threshold_is_enough():
    before, after = frame(0), frame(5)
    oks = oks_matrix(np.concatenate([before[0], after[0]]), [AREA] * 2, SIGMAS)[0, 1]
    assert 0.3 < oks < 1
    assert ids(before, after, threshold=oks) == [[0], [0]]
    assert ids(before, after, threshold=np.nextafter(oks, 1)) == [[0], [1]]


def test_pairs_of_a_matrix():
    similarity = np.array([[0.9, 0.8, 0.1], [0.85, 0.2, 0.1]])
    assert greedy_pairs(similarity, 0.15) == [(0, 0), (1, 1)]
    assert greedy_pairs(similarity, 0.5) == [(0, 0)]
    assert greedy_pairs(np.full((2, 2), 0.5), 0.5) == [(0, 0), (1, 1)]
    assert greedy_pairs(np.zeros((0, 3)), 0) == []


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_numbers_are_unique_in_a_frame_and_new_ones_count_up(seed, threshold):
    rng = np.random.default_rng(seed)
    frames = [frame(*rng.uniform(0, 60, rng.integers(0, 5))) for _ in range(6)]
    found = ids(*frames, threshold=threshold)
    assert [len(one) for one in found] == [len(areas) for _, areas in frames]
    assert all(len(set(one)) == len(one) for one in found)
    first_met = list(dict.fromkeys(number for one in found for number in one))
    assert sorted(first_met) == list(range(len(first_met)))
    # A number that is used again was used in the frame before.
    seen, before = set(), set()
    for one in found:
        assert set(one) & seen <= before
        seen |= set(one)
        before = set(one)


@pytest.mark.parametrize(
    ("frames", "threshold", "says"),
    [
        (
            [(np.zeros((1, 4, 3)), [1])],
            0.3,
            r"^frames\[0\]\[0\]: received shape \(1, 4, 3\); expected \(any, 5",
        ),
        ([frame(0), (frame(0)[0], [1, 2])], 0.3, r"^frames\[1\]\[1\]: received shape \(2,\)"),
        ([(frame(0)[0] * np.nan, [1])], 0.3, r"^frames\[0\]\[0\]: received nan"),
        ([(frame(0)[0], [-1])], 0.3, r"^areas: received -1"),
        ([frame(0)], 1.1, r"^threshold: received 1\.1; expected an OKS, 0 to 1"),
    ],
)
def test_bad_arguments_are_named(frames, threshold, says):
    with pytest.raises(ValueError, match=says):
        track(frames, SIGMAS, threshold)


def result(image_id, x, ear=0.0):
    """A PoseTrack result; the ears are where the network's fancy puts them."""
    keypoints = np.random.default_rng(0).uniform(0, 100, (17, 3)) + np.array([x, 0, 0])
    for name in ("left_ear", "right_ear"):
        keypoints[POSETRACK.keypoints.index(name), :2] += ear
    return {"image_id": image_id, "keypoints": keypoints.ravel().tolist(), "score": 1.0}


def test_results_are_tracked_video_by_video_in_any_order():
    results = [result(2, 1), result(1, 500), result(1, 0), result(7, 0), result(8, 0), result(3, 1)]
    tracked = track_results(results, np.full(6, AREA), {"a": [1, 2, 3], "b": [7, 8]})
    assert [one.pop("track_id") for one in tracked] == [1, 0, 1, 0, 0, 1]
    assert tracked == results
    assert "track_id" not in results[0]
    assert track_results([], [], {"a": [1]}) == []


def test_the_ears_have_no_part_in_tracking():
    results = [result(1, 0), result(2, 0, ear=5000)]
    tracked = track_results(results, [AREA, AREA], {"a": [1, 2]}, threshold=1.0)
    assert [one["track_id"] for one in tracked] == [0, 0]


def test_results_that_do_not_fit_are_refused():
    with pytest.raises(
        ValueError, match=r"^results: number 0 is on image 9, which is in none of the 1 videos"
    ):
        track_results([result(9, 0)], [AREA], {"a": [1]})
    with pytest.raises(ValueError, match=r"^areas: received shape \(2,\); expected \(1,\)"):
        track_results([result(1, 0)], [AREA, AREA], {"a": [1]})
    with pytest.raises(ValueError, match=r"^results: keypoints of number 0: received shape \(3,\)"):
        track_results([result(1, 0) | {"keypoints": [1, 2, 3]}], [AREA], {"a": [1]})
