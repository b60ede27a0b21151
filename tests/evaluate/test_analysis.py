"""AP taken apart: the same numbers as pycocotools, kinds of instances, kinds of errors."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import coco
from pycocotools.cocoeval import COCOeval

from evaluate.metrics.coco import evaluate_coco
from evaluate.metrics.oks_matching import NOBODY, group_images, match
from evaluate.report.analysis import ERRORS, analyze, count_errors, keypoint_errors, visible_groups
from records.skeletons import COCO, Skeleton

HAND = Skeleton(
    name="hand",
    keypoints=("wrist", "left_tip", "right_tip"),
    flip_pairs=((1, 2),),
    limbs=((0, 1), (0, 2)),
    upper_body=(),
    sigmas=(0.05, 0.05, 0.05),
)


def scene(seed, skeleton, num_images=6, poses_each=4):
    """(annotations, results) of random instances, crowds and instances without labels among them, and of
    poses
    near them, doubled ones, ties and false alarms among these."""
    rng = np.random.default_rng(seed)
    keypoints = skeleton.num_keypoints
    annotations, results = [], []
    for image_id in range(1, num_images + 1):
        instances = []
        for _ in range(rng.integers(0, 5)):
            side = rng.choice([20.0, 60.0, 140.0])
            corner = rng.uniform(0, 150, 2)
            points = np.concatenate(
                [corner + rng.uniform(0, side, (keypoints, 2)), rng.integers(0, 3, (keypoints, 1))], axis=1
            )
            kind = rng.integers(0, 8)
            if kind < 2:
                points[:] = 0
            elif kind == 2:
                points[rng.random(keypoints) < 0.8, 2] = 0
            instances.append(points)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "bbox": [*corner.tolist(), side, side],
                    "area": float(rng.choice([0.6 * side * side, 32.0**2, 96.0**2])),
                    "iscrowd": int(kind == 0),
                    "keypoints": points.ravel().tolist(),
                }
            )
        for points in instances:
            for _ in range(rng.integers(0, poses_each)):
                noise = rng.normal(0, rng.choice([0.5, 4, 15]), (keypoints, 2))
                pose = np.concatenate([points[:, :2] + noise, np.ones((keypoints, 1))], axis=1)
                results.append(result(image_id, pose, rng.integers(0, 6) / 5))
        for _ in range(rng.integers(0, 3)):
            results.append(result(image_id, rng.uniform(0, 200, (keypoints, 3)), rng.random()))
    order = rng.permutation(len(results))
    return annotations, [results[place] for place in order]


def result(image_id, pose, score):
    return {
        "image_id": image_id,
        "category_id": 1,
        "keypoints": np.asarray(pose).ravel().tolist(),
        "score": float(score),
    }


def content(annotations, num_images=6):
    images = [{"id": number} for number in range(1, num_images + 1)]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1}]}


def value(number):
    return -1.0 if number is None else number


@pytest.mark.parametrize("skeleton", [COCO, HAND], ids=lambda skeleton: skeleton.name)
@given(seed=st.integers(0, 2**32 - 1))
def test_ap_by_size_and_the_curves_are_those_of_pycocotools(skeleton, seed):
    annotations, results = scene(seed, skeleton)
    expected = evaluate_coco(content(annotations), results, skeleton.sigmas)
    analysis = analyze(annotations, results, skeleton)
    for group, suffix in zip(analysis.sizes, ("", " (M)", " (L)"), strict=True):
        assert value(group.ap) == pytest.approx(expected[f"AP{suffix}"], abs=1e-12)
        assert value(group.ar) == pytest.approx(expected[f"AR{suffix}"], abs=1e-12)
    for threshold, name in ((0.5, "AP .5"), (0.75, "AP .75")):
        curve = analysis.curves.get(threshold)
        assert value(None if curve is None else curve.mean()) == pytest.approx(expected[name], abs=1e-12)


def test_only_the_best_20_poses_of_an_image_count():
    annotations, results = scene(3, COCO, poses_each=30)
    assert max(np.bincount([r["image_id"] for r in results])) > 40
    expected = evaluate_coco(content(annotations), results)["AP"]
    assert analyze(annotations, results, COCO).sizes[0].ap == pytest.approx(expected, abs=1e-12)


def test_images_that_are_not_asked_for_do_not_count():
    annotations, results = scene(4, COCO)
    expected = evaluate_coco(content(annotations), results, None, [1, 2, 3])["AP"]
    assert expected != evaluate_coco(content(annotations), results)["AP"]
    assert analyze(annotations, results, COCO, {1, 2, 3}).sizes[0].ap == pytest.approx(expected, abs=1e-12)


def test_oks_is_that_of_pycocotools_for_crowds_too():
    annotations, results = scene(5, COCO)
    ground_truth, index = coco.COCO(), coco.COCO()
    ground_truth.dataset = content([{"num_keypoints": 1} | a for a in annotations])
    index.dataset = content([r | {"id": number} for number, r in enumerate(results, start=1)])
    ground_truth.createIndex()
    index.createIndex()
    evaluation = COCOeval(ground_truth, index, "keypoints")
    evaluation._prepare()
    compared = 0
    for image in group_images(annotations, results, 17):
        expected = evaluation.computeOks(image.image_id, 1)
        if len(expected):
            np.testing.assert_allclose(image.oks(COCO.sigmas), expected, atol=1e-12)
            compared += not image.counts.all()
    assert compared


def test_an_instance_that_counts_is_preferred_to_one_who_is_ignored_and_of_equals_the_later():
    oks = np.array([[0.9, 0.6, 0.6], [0.9, 0.6, 0.6]])
    ignored, crowd = np.array([[True, False, False]]), np.array([True, False, False])
    assert match(oks, ignored, crowd, [0.5]).tolist() == [[[2, 1]]]
    assert match(oks, ignored, crowd, [0.7]).tolist() == [[[0, 0]]]  # a crowd is taken twice
    assert match(oks, ignored, ~crowd, [0.95]).tolist() == [[[NOBODY, NOBODY]]]


def test_groups_of_labeled_keypoints_cover_any_skeleton():
    assert visible_groups(17) == [(1, 5), (6, 10), (11, 15), (16, 17)]
    for keypoints in range(1, 60):
        groups = visible_groups(keypoints)
        assert [n for first, last in groups for n in range(first, last + 1)] == list(range(1, keypoints + 1))


def test_instances_of_other_groups_and_poses_next_to_them_do_not_count():
    rng = np.random.default_rng(1)
    few, many = (np.full((17, 3), 2.0) for _ in range(2))
    few[:, :2], many[:, :2] = rng.uniform(0, 100, (17, 2)), rng.uniform(300, 400, (17, 2))
    few[4:, 2] = 0
    box = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 100, 100], "area": 9000.0}
    annotations = [
        box | {"id": number, "keypoints": points.ravel().tolist()}
        for number, points in enumerate((few, many))
    ]
    near = many + np.array([9.0, 0, 0])  # too far off for the high thresholds
    results = [result(1, near, 0.9), result(1, few, 0.5)]
    groups = {group.name: group for group in analyze(annotations, results, COCO).visible}
    assert groups["1-5"].instances == groups["16-17"].instances == 1
    assert groups["1-5"].ap == pytest.approx(1)
    assert 0 < groups["16-17"].ap < 1
    assert groups["6-10"].ap is None
    # A pose next to nobody counts against all.
    results = [result(1, near + np.array([1000, 1000, 0]), 0.95), *results]
    assert analyze(annotations, results, COCO).visible[0].ap == pytest.approx(0.5)


def two_hands():
    keypoints = np.array(
        [[[0, 0, 2], [100, 0, 2], [0, 100, 2]], [[500, 0, 2], [600, 0, 2], [500, 100, 2]]], float
    )
    return keypoints, np.full(2, 100.0**2)


def kinds(pose, keypoints, areas, instance=0, skeleton=HAND):
    errors, _ = keypoint_errors(np.array(pose, float), keypoints, areas, instance, skeleton)
    return ["-" if error < 0 else ERRORS[error] for error in errors]


def test_each_kind_of_error():
    """ks = exp(-d² / 2s²k²) with s = 100 and k = 0.1: 0.85 at 5.7 pixels, 0.5 at 11.8 pixels."""
    keypoints, areas = two_hands()
    assert kinds(keypoints[0, :, :2], keypoints, areas) == ["good"] * 3
    assert kinds([[5.6, 0], [105.8, 0], [0, 111.7]], keypoints, areas) == ["good", "jitter", "jitter"]
    assert kinds([[11.9, 0], [0, 95], [95, 0]], keypoints, areas) == ["miss", "inversion", "inversion"]
    assert kinds([[500, 3], [600, 3], [600, 0]], keypoints, areas) == ["swap", "swap", "swap"]
    assert kinds([[100, 0], [500, 0], [300, 300]], keypoints, areas) == ["miss", "miss", "miss"]


def test_unlabeled_keypoints_are_neither_judged_nor_taken_for_others():
    keypoints, areas = two_hands()
    keypoints[0, 2, 2] = 0
    assert kinds([[0, 0], [0, 100], [0, 0]], keypoints, areas) == ["good", "miss", "-"]
    keypoints[1, :, 2] = 0
    assert kinds([[500, 0], [100, 0], [0, 0]], keypoints, areas) == ["miss", "good", "-"]


def test_where_two_errors_explain_a_keypoint_the_nearer_one_does():
    keypoints, areas = two_hands()
    keypoints[1, 1, :2] = [0, 106]  # the other hand's tip is next to this one's other tip
    assert kinds([[0, 0], [0, 101], [0, 100]], keypoints, areas)[1] == "inversion"
    assert kinds([[0, 0], [0, 105], [0, 100]], keypoints, areas)[1] == "swap"


def test_a_keypoint_that_is_nearer_to_another_instance_is_a_swap_even_close_to_its_own_place():
    keypoints, areas = two_hands()
    keypoints[1, 0, :2] = [8, 0]
    assert kinds([[3, 0], [100, 0], [0, 100]], keypoints, areas)[0] == "good"
    assert kinds([[5, 0], [100, 0], [0, 100]], keypoints, areas)[0] == "swap"
    keypoints[0, 1, :2] = [0, 92]  # and to the own mirrored keypoint an inversion
    assert kinds([[0, 0], [0, 97], [0, 97]], keypoints, areas)[1:] == ["inversion", "good"]


def test_of_equal_similarities_the_own_place_counts_then_another_instances_then_the_mirrored():
    keypoints, areas = two_hands()
    keypoints[1, 0, :2] = keypoints[0, 0, :2]
    keypoints[1, 1, :2] = keypoints[0, 2, :2]
    pose = [[0, 0], [0, 100], [0, 100]]
    assert kinds(pose, keypoints, areas) == ["good", "swap", "good"]
    assert kinds(pose, keypoints, areas, instance=1) == ["good", "good", "swap"]


def test_similarity_takes_the_keypoints_own_sigma():
    skeleton = replace(HAND, sigmas=(0.05, 0.05, 0.1))
    keypoints, areas = two_hands()
    # 15 pixels off the other tip: 0.32 with the sigma of the first tip, 0.75 with that of the second.
    pose = [[0, 0], [15, 100], [115, 0]]
    assert kinds(pose, keypoints, areas, skeleton=skeleton) == ["good", "miss", "inversion"]


def official_errors(pose, keypoints, areas, instance, skeleton):
    """Kinds of errors by a plain loop over the rules of coco-analyze's ``_find_kpt_errors``."""
    mirror, found = skeleton.flip_permutation, []
    for keypoint, sigma in enumerate(skeleton.sigmas):
        if keypoints[instance, keypoint, 2] == 0:
            found.append("-")
            continue
        best, what = -1.0, None
        others = [(number, "swap") for number in range(len(keypoints)) if number != instance]
        places = [(instance, keypoint, "own"), *((number, keypoint, name) for number, name in others)]
        places += [(instance, mirror[keypoint], "inversion")]
        places += [(number, mirror[keypoint], name) for number, name in others]
        for number, place, name in places:
            x, y, visibility = keypoints[number, place]
            squared = (pose[keypoint][0] - x) ** 2 + (pose[keypoint][1] - y) ** 2
            ks = np.exp(-squared / (2 * sigma) ** 2 / areas[number] / 2) if visibility else -1.0
            if ks > best:
                best, what = ks, name
        own = "good" if best > 0.85 else "jitter"
        found.append("miss" if best < 0.5 else own if what == "own" else what)
    return found


@given(seed=st.integers(0, 2**32 - 1))
def test_errors_are_those_of_the_published_tool(seed):
    rng = np.random.default_rng(seed)
    instances, skeleton = rng.integers(1, 5), replace(HAND, sigmas=tuple(rng.uniform(0.03, 0.2, 3)))
    keypoints = np.concatenate(
        [rng.uniform(0, 60, (instances, 3, 2)), rng.integers(0, 3, (instances, 3, 1))], axis=2
    )
    areas, instance = rng.uniform(30, 150, instances) ** 2, int(rng.integers(instances))
    pose = keypoints[rng.integers(instances), rng.permutation(3), :2] + rng.normal(
        0, rng.choice([1, 6, 20]), (3, 2)
    )
    expected = official_errors(pose, keypoints, areas, instance, skeleton)
    assert kinds(pose, keypoints, areas, instance, skeleton) == expected


def test_errors_are_counted_by_keypoint():
    keypoints, areas = two_hands()
    keypoints[1, 2, 2] = 0
    annotations = [
        {"id": n, "image_id": 7, "bbox": [0, 0, 9, 9], "area": areas[n], "keypoints": k.ravel().tolist()}
        for n, k in enumerate(keypoints)
    ]
    inverted = keypoints[1][[0, 2, 1]]
    results = [result(7, keypoints[0], 0.4), result(7, inverted, 0.9)]
    analysis = analyze(annotations, results, HAND)
    assert [(pair.row, pair.instance_id) for pair in analysis.pairs] == [(1, 1), (0, 0)]
    assert analysis.unmatched == 0
    counts, similarity = count_errors(analysis.pairs, 3)
    assert counts.tolist() == [[2, 0, 0, 0, 0], [1, 0, 0, 0, 1], [1, 0, 0, 0, 0]]
    np.testing.assert_allclose(similarity, [1, 0.5, 1], atol=1e-6)


def test_nothing_to_find_and_nothing_found():
    annotations, results = scene(6, COCO)
    nobody = analyze([], results, COCO)
    assert [group.ap for group in (*nobody.sizes, *nobody.visible)] == [None] * 7
    assert nobody.curves == {}
    nothing = analyze(annotations, [], COCO)
    assert nothing.sizes[0].ap == 0.0
    assert nothing.unmatched == nothing.sizes[0].instances > 0
    counts, similarity = count_errors(nothing.pairs, 17)
    assert counts.sum() == 0
    assert np.isnan(similarity).all()
    assert analyze([], [], COCO).pairs == []
