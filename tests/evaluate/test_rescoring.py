"""Rescoring, NMS per image and the form of the results."""

import json

import numpy as np
import pytest

from evaluate.rescoring import rescore, rescore_and_nms, to_results
from nms import oks_matrix
from tests.helpers.shared import shared_data


def crowd(count=4, num_keypoints=17):
    """Arguments of instances far apart, all keypoints scored 0.5 and boxes 0.8."""
    keypoints = np.full((count, num_keypoints, 3), 0.5)
    keypoints[:, :, :2] = 1e4 * np.arange(count)[:, None, None]
    return {
        "keypoints": keypoints,
        "areas": np.full(count, 5000.0),
        "box_scores": np.full(count, 0.8),
        "image_ids": np.arange(count),
    }


def test_score_is_the_mean_of_the_visible_keypoints_times_the_box_score():
    keypoint_scores = [[0.2, 0.3, 0.7], [0.1, 0.2, 0.0], [1.0, 1.0, 1.0]]
    np.testing.assert_allclose(rescore(keypoint_scores, [0.5, 0.9, 0.25], 0.2), [0.25, 0, 0.25])


def test_results_are_plain_coco_dicts_in_the_order_images_are_met():
    instances = crowd()
    instances["image_ids"] = np.array([7, 3, 7, 5])
    instances["box_scores"] = np.array([0.2, 0.8, 0.6, 0.4])
    results = to_results(**instances)
    assert [result["image_id"] for result in results] == [7, 7, 3, 5]
    assert [result["score"] for result in results] == pytest.approx([0.3, 0.1, 0.4, 0.2])
    assert results[0]["keypoints"] == instances["keypoints"][2].ravel().tolist()
    assert set(results[0]) == {"image_id", "category_id", "keypoints", "score"}
    assert results[0]["category_id"] == 1
    assert json.loads(json.dumps(results)) == results


def test_copies_go_within_an_image_but_not_across_images():
    instances = crowd()
    instances["keypoints"][:] = instances["keypoints"][0]
    instances["image_ids"] = np.array([1, 1, 2, 2])
    instances["box_scores"] = np.array([0.5, 0.6, 0.6, 0.5])
    results = to_results(**instances)
    assert [(result["image_id"], result["score"]) for result in results] == [(1, 0.3), (2, 0.3)]


def test_soft_keeps_copies_in_its_own_order_with_their_own_scores():
    instances = crowd(3)
    instances["keypoints"][1, :, :2] = instances["keypoints"][0, :, :2]
    instances["image_ids"] = np.zeros(3, int)
    instances["box_scores"] = np.array([1.0, 0.9, 0.5])
    scores = [result["score"] for result in to_results(**instances, soft=True)]
    assert scores == pytest.approx([0.5, 0.25, 0.45])  # the copy's 0.45 exp(-1 / 0.9) = 0.15 comes last


def test_visibility_has_no_part_in_the_oks():
    """Two poses that agree in their one visible keypoint only are two instances."""
    instances = crowd(2)
    instances["keypoints"][:, 1:, 2] = 0.1
    instances["keypoints"][:, 0, :2] = 0
    instances["image_ids"][:] = 1
    assert len(to_results(**instances)) == 2


def test_other_skeletons_need_their_sigmas():
    instances = crowd(num_keypoints=5)
    assert len(to_results(**instances, sigmas=np.full(5, 0.05))) == 4
    with pytest.raises(ValueError, match=r"^sigmas: received None with keypoints of 5 keypoints"):
        to_results(**instances)


def test_no_poses_keep_nothing():
    kept, scores = rescore_and_nms(np.zeros((0, 17, 3)), [], [], [], 0.9, 0.2, False, None)
    assert kept.shape == scores.shape == (0,)


def test_no_poses_give_no_results():
    assert to_results(np.zeros((0, 17, 3)), [], [], []) == []


@pytest.mark.parametrize(
    ("argument", "value", "says"),
    [
        ("keypoints", np.zeros((4, 17, 2)), r"received shape \(4, 17, 2\); expected \(N, K, 3\)"),
        ("areas", np.zeros(3), r"received shape \(3,\); expected \(4,\)"),
        ("box_scores", [0.1, np.nan, 0.3, 0.4], r"pose 1 \(image 1\)"),
        ("image_ids", ["a", "b", "c", "d"], "expected integers"),
    ],
)
def test_bad_input_is_named(argument, value, says):
    with pytest.raises(ValueError, match=f"^{argument}: .*{says}"):
        to_results(**(crowd() | {argument: value}))


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_official_results(kind):
    folder = shared_data("golden", "coco_eval")
    expected = json.loads((folder / f"results_{kind}.json").read_text())
    with np.load(folder / "predictions.npz") as file:
        boxes = file["all_boxes"]
        results = to_results(
            file["all_preds"], boxes[:, 4], boxes[:, 5], file["image_id"], soft=kind == "soft"
        )
    assert [result["image_id"] for result in results] == [result["image_id"] for result in expected]
    for key, tolerance in (("keypoints", 1e-4), ("score", 1e-6)):
        np.testing.assert_allclose(
            [result[key] for result in results],
            [result[key] for result in expected],
            rtol=0,
            atol=tolerance,
        )


def official_keep(instances, soft):
    """What the official `evaluate` keeps of one image's poses: rescoring, and `oks_nms` or `soft_oks_nms`.

    After lib/dataset/coco.py and lib/nms/nms.py, with a stable sort: up to 16 poses NumPy's default is one.
    """
    scores = rescore(instances["keypoints"][:, :, 2], instances["box_scores"], 0.2)
    overlap = oks_matrix(instances["keypoints"], instances["areas"])
    order, kept = scores.argsort(kind="stable")[::-1], []
    while len(order) and not (soft and len(kept) == 20):
        best, order = order[0], order[1:]
        kept.append(int(best))
        if soft:
            scores[order] *= np.exp(-(overlap[best, order] ** 2) / 0.9)
            order = order[scores[order].argsort(kind="stable")[::-1]]
        else:
            order = order[overlap[best, order] <= 0.9]
    return kept


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("seed", range(20))
def test_poses_whose_score_is_0_come_in_the_official_order(seed, soft):
    """Some keypoints are below 0.2 in most poses, all of them in others, and some poses are copies."""
    rng = np.random.default_rng(seed)
    count = 8 + seed
    instances = crowd(count)
    instances["keypoints"][:, :, 2] = rng.choice([0.1, 0.2, 0.6, 0.9], (count, 17))
    instances["keypoints"][rng.random(count) < 0.6, :, 2] = 0.2
    instances["keypoints"][rng.random(count) < 0.4, :, :2] = 5
    instances["box_scores"] = rng.random(count)
    image_ids = rng.choice([7, 3], count)
    kept, _ = rescore_and_nms(*(instances | {"image_ids": image_ids}).values(), 0.9, 0.2, soft, None)
    assert (rescore(instances["keypoints"][:, :, 2], instances["box_scores"], 0.2) == 0).sum() > 2
    expected = []
    for image_id in dict.fromkeys(image_ids.tolist()):
        rows = np.flatnonzero(image_ids == image_id)
        expected += rows[official_keep({name: of[rows] for name, of in instances.items()}, soft)].tolist()
    assert kept.tolist() == expected
