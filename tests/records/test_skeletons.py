"""The table of skeletons: consistent, checked, and what COCO's own tool assumes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pycocotools.cocoeval import Params

from nms import COCO_SIGMAS
from records.skeletons import COCO, MPII, POSETRACK, Skeleton, keypoint_difference


def test_coco_flip_pairs_are_exactly_the_left_and_right_names():
    names = set(COCO.keypoints)
    expected = {
        (name, name.replace("left_", "right_"))
        for name in COCO.keypoints
        if name.startswith("left_") and name.replace("left_", "right_") in names
    }
    assert {(COCO.keypoints[left], COCO.keypoints[right]) for left, right in COCO.flip_pairs} == expected
    assert len(expected) == 8


def test_flip_permutation_swaps_the_pairs_and_undoes_itself():
    permutation = COCO.flip_permutation
    for index, name in enumerate(COCO.keypoints):
        mirrored = name.replace("left_", "#").replace("right_", "left_").replace("#", "right_")
        assert COCO.keypoints[permutation[index]] == mirrored
    np.testing.assert_array_equal(permutation[permutation], np.arange(17))


def test_coco_limbs_look_the_same_in_the_mirror():
    permutation = COCO.flip_permutation
    limbs = {frozenset(limb) for limb in COCO.limbs}
    assert {frozenset(permutation[list(limb)].tolist()) for limb in COCO.limbs} == limbs
    assert len(limbs) == len(COCO.limbs) == 19


def test_coco_upper_body_ends_at_the_wrists():
    assert {COCO.keypoints[index] for index in COCO.upper_body} == {
        name
        for name in COCO.keypoints
        if name.split("_")[-1] in ("nose", "eye", "ear", "shoulder", "elbow", "wrist")
    }


def test_coco_sigmas_are_those_of_cocos_own_tool():
    np.testing.assert_allclose(COCO.sigmas, Params("keypoints").kpt_oks_sigmas, rtol=1e-12)
    np.testing.assert_allclose(COCO.sigmas, COCO_SIGMAS, rtol=1e-12)  # of nms, which imports nobody


def test_posetrack_has_both_ends_of_the_head_where_coco_has_eyes():
    expected = [
        name.replace("left_eye", "head_bottom").replace("right_eye", "head_top") for name in COCO.keypoints
    ]
    assert list(POSETRACK.keypoints) == expected


def test_posetrack_flips_every_left_and_right_even_ears_nobody_annotated():
    for index, name in enumerate(POSETRACK.keypoints):
        mirrored = name.replace("left_", "#").replace("right_", "left_").replace("#", "right_")
        assert POSETRACK.keypoints[POSETRACK.flip_permutation[index]] == mirrored
    assert len(POSETRACK.flip_pairs) == 7


def test_posetrack_limbs_join_what_is_annotated_and_look_the_same_in_the_mirror():
    permutation = POSETRACK.flip_permutation
    limbs = {frozenset(limb) for limb in POSETRACK.limbs}
    assert {frozenset(permutation[list(limb)].tolist()) for limb in POSETRACK.limbs} == limbs
    joined = {POSETRACK.keypoints[index] for limb in limbs for index in limb}
    assert set(POSETRACK.keypoints) - joined == {"left_ear", "right_ear"}


def test_posetrack_sigmas_are_those_mmpose_gives_it():
    expected = [
        0.026,
        0.025,
        0.025,
        0.035,
        0.035,
        0.079,
        0.079,
        0.072,
        0.072,
        0.062,
        0.062,
        0.107,
        0.107,
        0.087,
        0.087,
        0.089,
        0.089,
    ]
    assert list(POSETRACK.sigmas) == expected


def mirrored_in_mpii(name):
    return {"r": "l", "l": "r"}[name[0]] + name[1:] if name[1] == "_" else name


def test_mpii_flip_pairs_are_exactly_the_left_and_right_names_left_first():
    assert len(MPII.flip_pairs) == 6
    for left, right in MPII.flip_pairs:
        assert MPII.keypoints[left].startswith("l_")
        assert MPII.keypoints[right] == mirrored_in_mpii(MPII.keypoints[left])
    official = [[0, 5], [1, 4], [2, 3], [10, 15], [11, 14], [12, 13]]  # lib/dataset/mpii.py, right first
    assert sorted([right, left] for left, right in MPII.flip_pairs) == official
    for index, name in enumerate(MPII.keypoints):
        assert MPII.keypoints[MPII.flip_permutation[index]] == mirrored_in_mpii(name)


def test_mpii_limbs_are_the_official_tree_and_look_the_same_in_the_mirror():
    parents = [1, 2, 6, 6, 3, 4, 6, 6, 7, 8, 11, 12, 7, 7, 13, 14]  # lib/dataset/mpii.py
    limbs = {frozenset(limb) for limb in MPII.limbs}
    assert limbs == {frozenset(pair) for pair in enumerate(parents) if pair[0] != pair[1]}
    assert {frozenset(MPII.flip_permutation[list(limb)].tolist()) for limb in MPII.limbs} == limbs
    assert len(limbs) == len(MPII.limbs) == 15


def test_mpii_upper_body_starts_at_the_thorax_and_sigmas_are_mirrored():
    assert [MPII.keypoints[index] for index in range(16) if index not in MPII.upper_body] == [
        *("r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "pelvis")
    ]
    sigmas = np.array(MPII.sigmas)
    np.testing.assert_array_equal(sigmas[MPII.flip_permutation], sigmas)


def test_json_round_trip():
    assert Skeleton.from_json(json.loads(json.dumps(COCO.to_json()))) == COCO


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"keypoints": (), "sigmas": (), "flip_pairs": (), "limbs": (), "upper_body": ()}, "at least one"),
        ({"keypoints": ("nose", *COCO.keypoints[:-1])}, "names must be unique"),
        ({"keypoints": COCO.keypoints[:-1]}, "flip_pairs"),
        ({"flip_pairs": ((1, 17),)}, "flip_pairs"),
        ({"flip_pairs": ((1, 2), (2, 3))}, "flip_pairs names a keypoint twice"),
        ({"flip_pairs": ((1, 1),)}, "flip_pairs names a keypoint twice"),
        ({"limbs": ((0, -1),)}, "limbs"),
        ({"upper_body": (0, 99)}, "upper_body"),
        ({"sigmas": COCO.sigmas[:-1]}, "sigmas has 16 values"),
        ({"sigmas": (0.0, *COCO.sigmas[1:])}, "sigmas must lie"),
        ({"sigmas": (float("nan"), *COCO.sigmas[1:])}, "sigmas must lie"),
    ],
)
def test_a_contradictory_skeleton_is_refused_with_the_name_of_its_part(change, named):
    with pytest.raises(ValueError, match=named) as error:
        replace(COCO, name="mine", **change)
    assert "'mine'" in str(error.value)


def test_the_first_keypoint_that_differs_is_told():
    names = ["nose", "left_eye", "right_eye"]
    assert keypoint_difference(names, tuple(names)) is None
    assert keypoint_difference(names, ["nose", "eye"]) == "keypoint 1 is 'left_eye' and 'eye'"
    assert keypoint_difference(names, names[::-1]).endswith("'nose' and 'right_eye', in another order")
    for ours, theirs in ((names, names[:2]), (names[:2], names)):
        assert (
            keypoint_difference(ours, theirs) == "keypoint 2, 'right_eye', and those after it are in one only"
        )
