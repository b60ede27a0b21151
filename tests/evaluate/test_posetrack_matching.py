"""Which pose belongs to which instance in PoseTrack's metrics, and what lies in ignore regions."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.metrics.posetrack_matching import inside
from tests.helpers.posetrack_videos import HEAD_TOP, NOSE, evaluate, move, perfect, remove, video


def test_a_keypoint_is_right_up_to_half_the_heads_size(tmp_path):
    ground_truth = video(instances=1)
    predictions = perfect(ground_truth)
    for instance in predictions["annotations"]:
        move(instance, 29.99)
        move(instance, 0.02, NOSE)
    metrics = evaluate(tmp_path, [(ground_truth, predictions)])
    assert metrics["MOTP"]["nose"] == 0  # without a match
    ap = metrics["AP"]
    assert ap.pop("nose") == 0
    assert ap.pop("total") == pytest.approx(100 * 14 / 15)
    assert set(ap.values()) == {100}


def test_of_two_poses_for_one_instance_the_better_one_counts(tmp_path):
    """The other one is a false alarm in every keypoint, even where it is right."""
    ground_truth = video(instances=1)
    predictions = perfect(ground_truth, score=0.5)
    for instance in perfect(ground_truth, score=0.9)["annotations"]:
        move(instance, 500, NOSE)
        predictions["annotations"].append(instance | {"track_id": 7})
    metrics = evaluate(tmp_path, [(ground_truth, predictions)])
    assert set(metrics["AP"].values()) == {50}
    assert set(metrics["recall"].values()) == {100}
    assert set(metrics["precision"].values()) == {50}


def test_a_pose_that_loses_its_instance_gets_no_other(tmp_path):
    """The second pose is mostly the first instance, whom the first pose has, and in one keypoint the other
    one.
    """
    ground_truth = video(instances=2)
    predictions = perfect(ground_truth)
    for instance, other in zip(
        predictions["annotations"][::2], predictions["annotations"][1::2], strict=True
    ):
        top = other["keypoints"][3 * HEAD_TOP : 3 * HEAD_TOP + 3]
        other["keypoints"] = list(instance["keypoints"])
        other["keypoints"][3 * HEAD_TOP : 3 * HEAD_TOP + 3] = top
    recall = evaluate(tmp_path, [(ground_truth, predictions)])["recall"]
    assert set(recall.values()) == {50}


def test_an_instance_whom_nobody_predicts_takes_nothing_from_the_others(tmp_path):
    ground_truth = video(instances=2)
    predictions = perfect(ground_truth)
    predictions["annotations"] = [p for p in predictions["annotations"] if p["track_id"] == 0]
    metrics = evaluate(tmp_path, [(ground_truth, predictions)])
    assert (set(metrics["recall"].values()), set(metrics["precision"].values())) == ({50}, {100})


def test_the_share_of_an_instances_keypoints_decides_and_not_their_number(tmp_path):
    """Two keypoints of an instance that has only these are more than three of fifteen."""
    ground_truth = video(instances=2)
    predictions = perfect(ground_truth)
    for instance in ground_truth["annotations"][::2]:
        for keypoint in set(range(17)) - {NOSE, HEAD_TOP}:
            remove(instance, keypoint)
    for instance in predictions["annotations"][::2]:
        move(instance, 5000)
        move(instance, -5000, [NOSE, HEAD_TOP])
    for instance, other in zip(
        predictions["annotations"][::2], predictions["annotations"][1::2], strict=True
    ):
        instance["keypoints"][5 * 3 : 8 * 3] = other["keypoints"][5 * 3 : 8 * 3]
    predictions["annotations"] = predictions["annotations"][::2]
    recall = evaluate(tmp_path, [(ground_truth, predictions)])["recall"]
    assert (recall["nose"], recall["head_top"], recall["left_shoulder"]) == (50, 50, 0)


def test_where_everybody_is_ignored_poseval_counts_one_miss_and_one_false_alarm(tmp_path):
    ground_truth = video(instances=3)
    predictions = perfect(ground_truth)
    ground_truth["annotations"] = ground_truth["annotations"][::3]
    predictions["annotations"] = [
        p for p in predictions["annotations"] if (p["image_id"] == 11) == (p["track_id"] > 0)
    ]
    ground_truth["images"][1] |= {
        "ignore_regions_x": [[-9, 600, 600, -9]],
        "ignore_regions_y": [[-9, -9, 600, 600]],
    }
    metrics = evaluate(tmp_path, [(ground_truth, predictions)])
    # One found in frame 10, then one missed and one false alarm though nobody is there and two are predicted.
    assert set(metrics["MOTA"].values()) == {0}
    assert set(metrics["recall"].values()) == {100}


def test_the_scores_rank_and_missing_ones_come_last(tmp_path):
    ground_truth = video(instances=1)
    predictions = perfect(ground_truth)
    for instance in perfect(ground_truth, score=0.1)["annotations"]:
        move(instance, 5000)
        predictions["annotations"].append(instance | {"track_id": 7})
    assert evaluate(tmp_path, [(ground_truth, predictions)])["AP"]["total"] == 100
    for instance in predictions["annotations"][:3]:
        instance["scores"] = []
    assert evaluate(tmp_path, [(ground_truth, predictions)])["AP"]["total"] == 50


def test_what_lies_in_ignore_regions_does_not_count(tmp_path):
    ground_truth = video(instances=2)
    predictions = perfect(ground_truth)
    for instance in predictions["annotations"]:
        if instance["track_id"] == 1:
            move(instance, 100)
    assert evaluate(tmp_path, [(ground_truth, predictions)])["AP"]["total"] < 60
    for image in ground_truth["images"]:
        image["ignore_regions_x"], image["ignore_regions_y"] = (
            [[900, 2000, 2000, 900]],
            [[900, 900, 2000, 2000]],
        )
    metrics = evaluate(tmp_path, [(ground_truth, predictions)])
    assert {metrics[name]["total"] for name in ("AP", "recall", "MOTA", "MOT recall")} == {100}


@given(st.integers(0, 2**32 - 1))
def test_inside_is_what_opencv_says_of_whole_numbers(seed):
    """OpenCV computes in float32, which is exact here; its border counts as 0, ours as outside."""
    rng = np.random.default_rng(seed)
    polygon = rng.integers(0, 12, (rng.integers(3, 9), 2))
    points = rng.integers(0, 12, (20, 2))
    contour = polygon.astype(np.int32)[:, None]
    expected = [cv2.pointPolygonTest(contour, (float(x), float(y)), False) > 0 for x, y in points]
    assert inside(points.astype(float), polygon.astype(float)).tolist() == expected
    closed = np.concatenate([polygon, polygon[:1]]).astype(float)
    assert inside(points.astype(float), closed).tolist() == expected


def test_less_than_a_triangle_has_no_inside():
    points = np.array([[0.0, 0.0], [1.0, 1.0]])
    for corners in range(3):
        assert not inside(points, np.array([[0.0, 0.0], [2.0, 2.0]])[:corners]).any()
