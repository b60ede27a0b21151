"""The compiled NMS against the plain reference, the official code's outputs, and cases worked out by hand."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import nms
from nms import reference
from tests.helpers.shared import shared_data

both = pytest.mark.parametrize("implementation", [nms, reference], ids=["compiled", "reference"])


def instances(seed=0, count=12, num_keypoints=17):
    """(keypoints, scores, areas) of instances of whom some are copies of others, exact or moved a little."""
    rng = np.random.default_rng(seed)
    keypoints = np.concatenate(
        [rng.uniform(0, 300, (count, num_keypoints, 2)), rng.random((count, num_keypoints, 1))], axis=-1
    )
    areas = rng.uniform(500, 60000, count)
    originals = rng.integers(0, count, count)
    keypoints = keypoints[originals]
    keypoints[:, :, :2] += rng.choice([0, 0.5, 3, 10], (count, 1, 1)) * rng.normal(
        size=(count, num_keypoints, 2)
    )
    # Coarse scores, so that ties occur.
    return keypoints, rng.integers(0, 6, count) / 5, areas[originals]


def boxes(seed=0, count=12):
    """(boxes, scores) on whole pixels, so that equal boxes and overlaps of exactly a half occur."""
    rng = np.random.default_rng(seed)
    corner, size = rng.integers(0, 8, (count, 2)), rng.integers(0, 6, (count, 2))
    return np.concatenate([corner, corner + size], axis=1), rng.integers(0, 6, count) / 5


# ---- worked out by hand


@both
def test_oks_is_the_formula_of_coco(implementation):
    keypoints = np.zeros((2, 3, 3))
    keypoints[1, :, 0] = [0, 3, 4]
    areas, sigmas = [100, 300], np.array([0.5, 0.25, 0.1])
    expected = np.mean(np.exp(-np.array([0, 9, 16]) / (2 * 200 * (2 * sigmas) ** 2)))
    matrix = implementation.oks_matrix(keypoints, areas, sigmas)
    np.testing.assert_allclose(matrix, [[1, expected], [expected, 1]], atol=1e-12)


@both
def test_only_the_columns_scores_decide_which_keypoints_count(implementation):
    keypoints = np.zeros((2, 2, 3))
    keypoints[0, :, 2] = [0.9, 0.9]
    keypoints[1, :, 2] = [0.9, 0.2]
    keypoints[1, 1, 0] = 1e4  # far off, but unseen in the second pose
    matrix = implementation.oks_matrix(keypoints, [100, 100], [0.1, 0.1], min_visibility=0.2)
    np.testing.assert_allclose(matrix, [[1, 1], [0.5, 1]], atol=1e-12)


@both
def test_a_pose_without_counted_keypoints_is_similar_to_nothing(implementation):
    keypoints = np.zeros((2, 17, 3))
    assert implementation.oks_matrix(keypoints, [10, 10], min_visibility=0.5).tolist() == [[0, 0], [0, 0]]
    assert implementation.oks_nms(keypoints, [2, 1], [10, 10], 0.5, min_visibility=0.5).tolist() == [0, 1]


@both
def test_equal_poses_of_zero_area_are_similar_and_others_are_not(implementation):
    keypoints = np.zeros((3, 17, 3))
    keypoints[2] = 1
    assert implementation.oks_nms(keypoints, [1, 2, 3], [0, 0, 0], 0.9).tolist() == [2, 1]


@both
@pytest.mark.parametrize(("threshold", "kept"), [(0.49, [2]), (0.5, [2, 0])])
def test_an_overlap_of_exactly_the_threshold_stays(implementation, threshold, kept):
    """Boxes of 4 x 1 and 2 x 1 inclusive pixels; and two poses of which one keypoint in two is the same."""
    overlapping = [[0, 0, 1, 0], [0, 0, 3, 0], [0, 0, 3, 0]]
    assert implementation.box_nms(overlapping, [1, 2, 3], threshold).tolist() == kept
    keypoints = np.zeros((3, 2, 3))
    keypoints[0, 1, 0] = 1e6
    assert implementation.oks_nms(keypoints, [1, 2, 3], [9, 9, 9], threshold, [1, 1]).tolist() == kept


@both
def test_of_equal_scores_the_lower_index_comes_first(implementation):
    far_apart = np.arange(30.0)[:, None, None] * np.full((17, 3), 1e4)
    scores = np.tile([1.0, 0.0, 1.0], 10)
    expected = np.flatnonzero(scores == 1).tolist() + np.flatnonzero(scores == 0).tolist()
    assert implementation.oks_nms(far_apart, scores, np.ones(30), 0.5).tolist() == expected
    assert implementation.soft_oks_nms(far_apart, scores, np.ones(30), 0.5).tolist() == expected[:20]
    assert implementation.box_nms(far_apart[:, 0, [0, 0, 1, 1]], scores, 0.5).tolist() == expected


@both
def test_soft_nms_takes_a_copy_later_and_stops_in_time(implementation):
    keypoints = np.zeros((3, 17, 3))
    keypoints[1] = 1e4
    # The copy of the best, 0.9 exp(-1 / 0.5) = 0.12, falls behind the other instance's 0.2.
    arguments = (keypoints, [1, 0.2, 0.9], [100, 100, 100], 0.5)
    assert implementation.soft_oks_nms(*arguments).tolist() == [0, 1, 2]
    assert implementation.soft_oks_nms(*arguments, max_kept=2).tolist() == [0, 1]


@both
def test_nothing_gives_nothing(implementation):
    nobody = np.zeros((0, 17, 3)), np.zeros(0), np.zeros(0)
    for kept in (
        implementation.oks_nms(*nobody, 0.5),
        implementation.soft_oks_nms(*nobody, 0.5),
        implementation.box_nms(np.zeros((0, 4)), np.zeros(0), 0.5),
    ):
        assert kept.shape == (0,)
        assert kept.dtype == np.intp
    assert implementation.oks_matrix(nobody[0], nobody[2]).shape == (0, 0)


def test_any_dtype_layout_and_read_only_arrays_are_taken_and_left_unchanged():
    keypoints, scores, areas = instances()
    expected = nms.oks_nms(keypoints, scores, areas, 0.5).tolist()
    strided = np.asfortranarray(keypoints)
    for array in (strided, scores, areas):
        array.setflags(write=False)
    assert nms.oks_nms(strided, scores, areas, 0.5).tolist() == expected
    assert nms.oks_nms(keypoints.tolist(), scores.tolist(), areas.tolist(), 0.5).tolist() == expected
    nms.soft_oks_nms(strided, scores, areas, 0.5)


# ---- compiled against reference


@given(
    seed=st.integers(0, 2**32),
    count=st.integers(0, 40),
    num_keypoints=st.integers(1, 20),
    threshold=st.floats(0.01, 1),
    min_visibility=st.none() | st.floats(0, 1),
)
def test_compiled_poses_equal_the_reference(seed, count, num_keypoints, threshold, min_visibility):
    keypoints, scores, areas = (array[:count] for array in instances(seed, max(count, 1), num_keypoints))
    sigmas = np.random.default_rng(seed).uniform(0.02, 0.12, num_keypoints)
    options = {"sigmas": sigmas, "min_visibility": min_visibility}
    np.testing.assert_allclose(
        nms.oks_matrix(keypoints, areas, **options),
        reference.oks_matrix(keypoints, areas, **options),
        atol=1e-12,
    )
    # Lowered scores that differ in their last bit only may come in any order, so soft NMS has no ties here.
    distinct = np.random.default_rng(seed).random(count)
    for name, order_by in (("oks_nms", scores), ("soft_oks_nms", distinct)):
        fast, plain = (
            getattr(module, name)(keypoints, order_by, areas, threshold, **options)
            for module in (nms, reference)
        )
        assert fast.tolist() == plain.tolist(), name


@given(
    seed=st.integers(0, 2**32), count=st.integers(1, 40), threshold=st.sampled_from([0, 0.25, 0.5, 0.7, 1])
)
def test_compiled_boxes_equal_the_reference(seed, count, threshold):
    arguments = (*boxes(seed, count), threshold)
    assert nms.box_nms(*arguments).tolist() == reference.box_nms(*arguments).tolist()


@given(seed=st.integers(0, 2**32), threshold=st.floats(0, 1))
def test_what_oks_nms_keeps_is_unlike_and_what_it_drops_is_like_a_better_one(seed, threshold):
    keypoints, scores, areas = instances(seed)
    kept = nms.oks_nms(keypoints, scores, areas, threshold)
    matrix = nms.oks_matrix(keypoints, areas)
    rank = {index: place for place, index in enumerate(np.argsort(-scores, kind="stable"))}
    assert sorted(kept, key=rank.get) == kept.tolist()
    for index in range(len(scores)):
        better = [other for other in kept if rank[other] < rank[index]]
        assert (index in kept) == all(matrix[other, index] <= threshold for other in better)


@given(
    seed=st.integers(0, 2**32),
    num_keypoints=st.integers(1, 40),
    distance=st.sampled_from([1e-6, 1e-4, 0.1, 1, 5, 20, 100]),
    min_visibility=st.none() | st.just(0.3),
)
def test_the_last_bit_of_the_threshold_decides(seed, num_keypoints, distance, min_visibility):
    """The shortcut for poses that are far apart decides nothing that the OKS itself would not."""
    rng = np.random.default_rng(seed)
    keypoints = np.concatenate(
        [rng.normal(0, distance, (2, num_keypoints, 2)), rng.random((2, num_keypoints, 1))], axis=-1
    )
    areas, sigmas = rng.uniform(0, 3e4, 2), rng.uniform(0.02, 0.12, num_keypoints)
    oks = nms.oks_matrix(keypoints, areas, sigmas, min_visibility)[0, 1]
    assume(oks > 0)  # no threshold is below that
    for threshold, kept in ((oks, [0, 1]), (np.nextafter(oks, -1), [0])):
        arguments = (keypoints, [2, 1], areas, threshold, sigmas, min_visibility)
        assert nms.oks_nms(*arguments).tolist() == kept


@given(
    seed=st.integers(0, 2**32),
    counts=st.lists(st.integers(1, 9), max_size=6),
    mixed=st.booleans(),
    threshold=st.sampled_from([0.2, 0.5, 0.9]),
    min_visibility=st.none() | st.just(0.5),
    max_kept=st.integers(1, 6),
)
def test_many_images_at_once_are_each_image_for_itself(
    seed, counts, mixed, threshold, min_visibility, max_kept
):
    rng = np.random.default_rng(seed)
    keypoints, scores, areas = (array[: sum(counts)] for array in instances(seed, max(sum(counts), 1)))
    names = rng.choice(1000, len(counts), replace=False) - 500
    image_ids = np.repeat(names, counts)
    if mixed:
        rng.shuffle(image_ids)
    for name, more in (("oks_nms", {}), ("soft_oks_nms", {"max_kept": max_kept})):
        options = {"threshold": threshold, "min_visibility": min_visibility} | more
        kept = getattr(nms, name)(keypoints, scores, areas, image_ids=image_ids, **options)
        expected = []
        for image_id in dict.fromkeys(image_ids.tolist()):  # in the order first met
            poses = np.flatnonzero(image_ids == image_id)
            alone = getattr(nms, name)(keypoints[poses], scores[poses], areas[poses], **options)
            expected += poses[alone].tolist()
        assert kept.tolist() == expected, name
        assert kept.dtype == np.intp


# ---- bad input

GOOD = dict(zip(("keypoints", "scores", "areas"), instances(), strict=True)) | {"threshold": 0.5}


def spoiled(array, place, value):
    array = array.copy()
    array[place] = value
    return array


@pytest.mark.parametrize("function", [nms.oks_nms, nms.soft_oks_nms])
@pytest.mark.parametrize(
    ("argument", "value", "says"),
    [
        ("keypoints", spoiled(GOOD["keypoints"], (3, 4, 0), np.nan), r"received nan at index \(3, 4, 0\)"),
        ("keypoints", GOOD["keypoints"][:, :, :2], r"received shape \(12, 17, 2\); expected \(any, any, 3\)"),
        ("keypoints", [[1, 2], [3]], "no array of numbers"),
        ("scores", spoiled(GOOD["scores"], 1, np.inf), "received inf"),
        ("scores", GOOD["scores"][:-1], r"received shape \(11,\); expected \(12,\)"),
        ("areas", GOOD["areas"][:-1], r"received shape \(11,\); expected \(12,\)"),
        ("areas", 3.0, r"received shape \(\); expected \(12,\)"),
        ("areas", spoiled(GOOD["areas"], 5, -1), "received -1.0 in row 5"),
        ("threshold", np.nan, "received nan"),
        ("threshold", "high", "received 'high'"),
        ("sigmas", np.ones(16), r"received shape \(16,\); expected \(17,\)"),
        ("sigmas", np.zeros(17), "expected numbers above 0"),
        ("min_visibility", np.inf, "received inf"),
        ("image_ids", np.zeros(11, int), r"received shape \(11,\); expected \(12,\)"),
        ("image_ids", np.zeros(12), "received float64; expected integers"),
        ("image_ids", ["a"] * 12, "expected integers"),
    ],
)
def test_bad_poses_are_named(function, argument, value, says):
    with pytest.raises(ValueError, match=f"^{argument}: .*{says}"):
        function(**(GOOD | {argument: value}))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([[0, 0, np.nan, 1]], [1], 0.5), "^boxes: received nan"),
        (([[0, 0, 1]], [1], 0.5), r"^boxes: received shape \(1, 3\); expected \(any, 4\)"),
        (([[0, 0, 9, 9], [50, 50, 20, 30]], [1, 1], 0.5), r"^boxes: row 1 is \[50.0, .* x y w h"),
        (([[0, 0, 1, 1]], [1, 2], 0.5), r"^scores: received shape \(2,\); expected \(1,\)"),
        (([[0, 0, 1, 1]], [1], np.inf), "^threshold: received inf"),
        (([[0, 0, 1, 1]], [1], -0.1), "^threshold: received -0.1; expected a number of at least 0"),
    ],
)
def test_bad_boxes_are_named(arguments, says):
    with pytest.raises(ValueError, match=says):
        nms.box_nms(*arguments)


def test_a_negative_threshold_of_poses_is_named():
    with pytest.raises(ValueError, match=r"^threshold: received -0\.1; expected a number of at least 0"):
        nms.oks_nms(**(GOOD | {"threshold": -0.1}))


def test_cocos_sigmas_are_for_17_keypoints_only():
    with pytest.raises(
        ValueError, match=r"^sigmas: received None with keypoints of 16 keypoints; .* 17 keypoints"
    ):
        nms.oks_nms(*instances(num_keypoints=16), 0.5)
    with pytest.raises(ValueError, match="read-only"):
        nms.COCO_SIGMAS[0] = 1


def test_any_number_of_poses_may_be_asked_for():
    assert len(nms.soft_oks_nms(**(GOOD | {"max_kept": 2**70}))) == 12


@pytest.mark.parametrize("change", [{"threshold": 0}, {"max_kept": 0}, {"max_kept": 2.5}])
def test_soft_nms_needs_a_width_and_a_count(change):
    with pytest.raises(ValueError, match=f"^{next(iter(change))}: received"):
        nms.soft_oks_nms(**(GOOD | change))


# ---- the official code's outputs


@pytest.fixture(scope="module")
def golden():
    with np.load(shared_data("golden", "nms.npz")) as file:
        return dict(file)


def groups(offsets):
    return [slice(*ends) for ends in pairwise(offsets)]


def check_kept(kept, expected, score_tie, order_free, classes):
    """With tied scores the official order is undefined; where it does not matter, equal instances are one."""
    expected = expected[expected >= 0]
    if not score_tie:
        assert kept.tolist() == expected.tolist()
    elif order_free:
        assert sorted(classes[kept]) == sorted(classes[expected])


@both
def test_official_oks(implementation, golden):
    for instances_, pairs in zip(groups(golden["offsets"]), groups(golden["oks_offsets"]), strict=True):
        keypoints, areas = golden["keypoints"][instances_], golden["areas"][instances_]
        for name, visible in (("oks_iou_novis", None), ("oks_iou_vis02", 0.2)):
            matrix = implementation.oks_matrix(keypoints, areas, min_visibility=visible)
            np.testing.assert_allclose(matrix, golden[name][pairs].reshape(matrix.shape), rtol=0, atol=1e-6)


@both
@pytest.mark.parametrize("kind", ["oks", "soft"])
def test_official_pose_nms(implementation, kind, golden):
    suppress = implementation.oks_nms if kind == "oks" else implementation.soft_oks_nms
    for group, instances_ in enumerate(groups(golden["offsets"])):
        arguments = [golden[name][instances_] for name in ("keypoints", "scores", "areas")]
        for case in np.ndindex(3, 2):
            kept = suppress(
                *arguments, golden["thresholds"][case[0]], min_visibility=None if case[1] == 0 else 0.2
            )
            check_kept(
                kept,
                golden[f"keep_{kind}"][group][case],
                golden["has_score_tie"][group],
                golden[f"order_free_{kind}"][group][case],
                golden["tie_class"][instances_],
            )


@both
def test_official_box_nms(implementation, golden):
    for group, rows in enumerate(groups(golden["box_offsets"])):
        detections = golden["box_dets"][rows]
        for case, threshold in enumerate(golden["thresholds"]):
            check_kept(
                implementation.box_nms(detections[:, :4], detections[:, 4], threshold),
                golden["box_keep"][group, case],
                golden["box_has_score_tie"][group],
                golden["box_order_free"][group, case],
                golden["box_tie_class"][rows],
            )
