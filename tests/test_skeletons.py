"""The table of skeletons: consistent, checked, and what COCO's own tool assumes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pycocotools.cocoeval import Params

from records.skeletons import COCO, Skeleton


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
