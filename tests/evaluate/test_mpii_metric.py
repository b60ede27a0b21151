"""PCKh on instances made here, on the official code's result, and on published predictions."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from evaluate.metrics.mpii_files import HeadGroundTruth, load_ground_truth, write_submission
from evaluate.metrics.pckh import OFFICIAL_TENTH, evaluate_mpii, format_table, pckh
from records.skeletons import MPII
from tests.helpers.shared import shared_data

COLUMNS = ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean", "Mean@0.1"]
GROUPS = [column.lower() for column in COLUMNS[:-1]]
NAMES = ["rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor"]
NAMES += ["neck", "head", "rwri", "relb", "rsho", "lsho", "lelb", "lwri"]


def make_ground_truth(instances=4, seed=0):
    """Everything annotated; the head's box is 80 x 60 px, its size 0.6 x 100 = 60 px."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 500, (instances, 1, 2)) + np.array([[0, 0], [80, 60]])
    return HeadGroundTruth(rng.uniform(0, 1000, (instances, 16, 2)), np.zeros((instances, 16), bool), corners)


def write_ground_truth(path, ground_truth=None, **changes):
    """gt_valid.mat, in MATLAB's frame and axis order."""
    ground_truth = ground_truth or make_ground_truth()
    names = np.empty((1, 16), object)
    names[0] = NAMES
    variables = {
        "dataset_joints": names,
        "jnt_missing": ground_truth.missing.T.astype(np.uint8),
        "pos_gt_src": np.moveaxis(ground_truth.keypoints_image, 0, 2) + 1,
        "headboxes_src": np.moveaxis(ground_truth.head_boxes, 0, 2) + 1,
    } | changes
    savemat(path, {name: value for name, value in variables.items() if value is not None})
    return path


def test_a_keypoint_is_right_up_to_half_the_heads_size():
    ground_truth = make_ground_truth(instances=1)
    predictions = ground_truth.keypoints_image.copy()
    predictions[0, :, 0] += 29.999
    assert pckh(predictions, ground_truth)["mean"] == 100
    predictions[0, MPII.keypoints.index("head_top"), 0] += 0.002
    result = pckh(predictions, ground_truth)
    assert result["head"] == 0
    assert result["shoulder"] == 100
    assert result["mean"] == pytest.approx(100 * 13 / 14)
    assert pckh(predictions, ground_truth, threshold=0.501)["mean"] == 100


def test_groups_are_means_of_left_and_right():
    ground_truth = make_ground_truth(instances=4)
    predictions = ground_truth.keypoints_image.copy()
    predictions[:3, MPII.keypoints.index("l_wrist")] += 100
    result = pckh(predictions, ground_truth)
    assert list(result) == ["mean", "per_joint", *GROUPS[:-1]]
    assert result["per_joint"].shape == (16,)
    assert result["per_joint"][MPII.keypoints.index("l_wrist")] == 25
    assert {group: result[group] for group in GROUPS[:-1]} == dict.fromkeys(GROUPS[:-1], 100) | {
        "wrist": 62.5
    }


def test_pelvis_and_thorax_are_not_in_the_mean():
    ground_truth = make_ground_truth()
    predictions = ground_truth.keypoints_image.copy()
    predictions[:, [6, 7]] += 500
    result = pckh(predictions, ground_truth)
    assert result["mean"] == 100
    assert result["per_joint"][[6, 7]].tolist() == [0, 0]


def test_the_mean_weighs_keypoints_by_how_often_they_are_annotated():
    ground_truth = make_ground_truth(instances=2)
    ground_truth.missing[1, 1:] = True
    predictions = ground_truth.keypoints_image.copy()
    predictions[:, 0] += 500
    # 15 keypoints of 14 kinds count, of which keypoint 0 is twice there and twice wrong.
    assert pckh(predictions, ground_truth)["mean"] == pytest.approx(100 * 13 / 15)


def test_what_nobody_has_annotated_is_nan_and_leaves_the_mean_alone():
    ground_truth = make_ground_truth()
    ground_truth.missing[:, MPII.keypoints.index("head_top")] = True
    result = pckh(ground_truth.keypoints_image, ground_truth)
    assert np.isnan(result["head"])
    assert np.isnan(result["per_joint"]).sum() == 1
    assert result["mean"] == 100
    ground_truth.missing[:] = True
    assert np.isnan(pckh(ground_truth.keypoints_image, ground_truth)["mean"])


def test_the_place_of_a_missing_keypoint_says_nothing():
    ground_truth = make_ground_truth()
    predictions = ground_truth.keypoints_image + np.random.default_rng(1).normal(
        0, 30, ground_truth.keypoints_image.shape
    )
    ground_truth.missing[::2, 3] = True
    expected = pckh(predictions, ground_truth)
    predictions[::2, 3] += 1e6
    result = pckh(predictions, ground_truth)
    assert result.pop("per_joint").tolist() == expected.pop("per_joint").tolist()
    assert result == expected


@given(st.integers(0, 2**32 - 1))
def test_the_order_of_instances_does_not_matter_and_a_part_of_them_can_be_measured(seed):
    rng = np.random.default_rng(seed)
    ground_truth = make_ground_truth(6, seed)
    ground_truth.missing[rng.random((6, 16)) < 0.2] = True
    predictions = ground_truth.keypoints_image + rng.normal(0, 30, ground_truth.keypoints_image.shape)
    order = rng.permutation(6)
    assert pckh(predictions[order], ground_truth.select(order))["mean"] == pytest.approx(
        pckh(predictions, ground_truth)["mean"]
    )
    assert len(ground_truth.select(order[:2])) == 2


def test_the_last_column_is_at_a_tenth_unless_the_official_one_is_asked_for():
    ground_truth = make_ground_truth()
    predictions = ground_truth.keypoints_image.copy()
    predictions[..., 0] += 60 * 0.105
    metrics = evaluate_mpii(predictions, ground_truth)
    assert list(metrics) == COLUMNS
    assert metrics["Mean@0.1"] == 0
    assert evaluate_mpii(predictions, ground_truth, official_tenth=True)["Mean@0.1"] == 100
    assert np.arange(0, 0.51, 0.01)[11] == OFFICIAL_TENTH


def test_the_table_is_the_official_codes():
    header, rule, row = format_table(dict(zip(COLUMNS, range(90, 99), strict=True)), "hrnet_w32").splitlines()
    assert header == "| Arch " + "".join(f"| {column} " for column in COLUMNS) + "|"
    assert rule == "|---|---|---|---|---|---|---|---|---|---|"
    assert row.startswith("| hrnet_w32 | 90.000 | 91.000 |")


@pytest.mark.parametrize(
    ("predictions", "says"),
    [
        (np.zeros((3, 16, 2)), r"^predictions_image: received shape \(3, 16, 2\); expected \(4, 16, 2\)"),
        (np.zeros((4, 16, 3)), r"^predictions_image: received shape \(4, 16, 3\)"),
        (np.full((4, 16, 2), np.nan), r"^predictions_image: received nan at index \(0, 0, 0\)"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(predictions, says):
    with pytest.raises(ValueError, match=says):
        pckh(predictions, make_ground_truth())
    with pytest.raises(ValueError, match=says):
        evaluate_mpii(predictions, make_ground_truth())


def test_the_ground_truth_is_read_into_coordinates_from_0(tmp_path):
    ground_truth = make_ground_truth()
    ground_truth.missing[1, 2] = True
    loaded = load_ground_truth(write_ground_truth(tmp_path / "gt_valid.mat", ground_truth))
    assert loaded.keypoints_image == pytest.approx(ground_truth.keypoints_image)
    assert loaded.missing.tolist() == ground_truth.missing.tolist()
    assert loaded.head_boxes == pytest.approx(ground_truth.head_boxes)
    assert loaded.head_sizes == pytest.approx([60] * 4)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"jnt_missing": None}, r"has no variable jnt_missing; expected gt_valid\.mat"),
        ({"dataset_joints": np.array([["head"]], object)}, r"dataset_joints is head; expected rank, rkne,"),
        ({"dataset_joints": np.zeros((1, 16))}, r"dataset_joints is 0\.0, .*; expected rank, rkne,"),
        ({"jnt_missing": np.zeros((16, 3))}, r"jnt_missing: received shape \(16, 3\); expected \(16, 4\)"),
        ({"jnt_missing": np.full((16, 4), 2)}, r"jnt_missing has \[2\.\]; expected 0 and 1 only"),
        ({"pos_gt_src": np.full((16, 2, 4), np.inf)}, r"pos_gt_src: received inf at index \(0, 0, 0\)"),
        ({"pos_gt_src": np.zeros((16, 3, 4))}, r"pos_gt_src: received shape \(16, 3, 4\)"),
        ({"headboxes_src": np.ones((2, 2, 4))}, r"headboxes_src of instance 0 \(from 0\) has no extent"),
        ({"headboxes_src": {"a": 1}}, r"headboxes_src: received no array of numbers"),
    ],
)
def test_a_ground_truth_of_another_form_is_refused_by_name(tmp_path, changes, says):
    path = write_ground_truth(tmp_path / "gt_valid.mat", **changes)
    with pytest.raises(ValueError, match=rf"gt_valid\.mat:? ?{says}"):
        load_ground_truth(path)


def test_a_file_that_is_not_matlabs_is_refused_by_name(tmp_path):
    path = write_ground_truth(tmp_path / "gt_valid.mat")
    content = path.read_bytes()
    for broken in (b"", b"{}", content[:200], content[:-100], b"MATLAB 7.3 MAT-file" + content[19:400]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"gt_valid\.mat.*expected gt_valid\.mat"):
            load_ground_truth(path)
    with pytest.raises(FileNotFoundError):
        load_ground_truth(tmp_path / "none.mat")


def test_a_submission_counts_from_1_in_matlab_and_from_0_in_json(tmp_path):
    predictions = make_ground_truth().keypoints_image.astype(np.float32)
    write_submission(predictions, tmp_path / "pred.mat", tmp_path / "pred.json")
    assert {path.name for path in tmp_path.iterdir()} == {"pred.mat", "pred.json"}
    preds = loadmat(tmp_path / "pred.mat")["preds"]
    assert preds.shape == (4, 16, 2)
    assert preds.dtype == np.float64
    assert (preds == predictions.astype(np.float64) + 1).all()
    assert json.loads((tmp_path / "pred.json").read_text()) == predictions.tolist()
    with pytest.raises(ValueError, match=r"^predictions_image: .*expected \(any, 16, 2\)"):
        write_submission(predictions[0], tmp_path / "pred.mat", tmp_path / "pred.json")


def test_official_pckh():
    folder = shared_data("golden", "mpii")
    with np.load(folder / "pckh_predictions.npz") as file:
        predictions = file["preds"][:, :, :2]
    expected = json.loads((folder / "pckh_expected.json").read_text())
    metrics = evaluate_mpii(predictions, load_ground_truth(folder / "gt_valid.mat"), official_tenth=True)
    assert list(metrics) == list(expected) == COLUMNS
    assert list(metrics.values()) == pytest.approx(list(expected.values()), abs=1e-6)


@pytest.mark.parametrize("threshold", [0.5, 0.1])
def test_published_predictions_have_their_published_numbers(threshold):
    folder = shared_data("golden", "mpii")
    ground_truth = load_ground_truth(shared_data("dataset", "MPII", "annotations", "gt_valid.mat"))
    with np.load(folder / "published_newell_valid.npz") as file:
        predictions = file["preds"].astype(np.float64) - 1
    expected = json.loads((folder / "published_newell_valid.json").read_text())[f"pckh@{threshold}"]
    result = pckh(predictions, ground_truth, threshold)
    # The numbers are given with four decimals.
    assert result["per_joint"] == pytest.approx(expected["per_joint"], abs=5.1e-5)
    assert result["mean"] == pytest.approx(expected["mean"], abs=5.1e-5)
