"""A skeleton out of an annotation file's category: pairs found by name or told, and bad fields named."""

import json
import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.coco import read_category
from pipelines.json_files import read_json
from pipelines.people import BuildError
from records.geometry import half_body_box
from records.nesting import MAX_DEPTH
from records.skeletons import COCO, DEFAULT_SIGMA, MPII, POSETRACK, Skeleton, skeleton_from_coco_category
from tests.sources import anything

FIELDS = ("keypoints", "flip_pairs", "skeleton", "sigmas", "upper_body")


def category(keypoints, **fields):
    """A category with sigmas, so that nothing has to be warned of for lack of them."""
    return {"id": 1, "keypoints": keypoints, "sigmas": [0.05] * len(keypoints)} | fields


def told(entry):
    """The skeleton, and what was warned of."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        skeleton = skeleton_from_coco_category(entry)
    assert all(warning.category is UserWarning for warning in warned)
    return skeleton, [str(warning.message) for warning in warned]


def pairs_of(*keypoints):
    """The pairs found by name, as names, and what was warned of."""
    skeleton, warned = told(category(list(keypoints)))
    return [tuple(skeleton.keypoints[index] for index in pair) for pair in skeleton.flip_pairs], warned


# ---- left and right by name


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left_eye", "right_eye"),
        ("l_eye", "r_eye"),
        ("LEye", "REye"),
        ("L-Eye", "R-Eye"),
        ("leftEye", "rightEye"),
        ("paw-L", "paw-R"),
        ("EYE.L", "EYE.R"),
        ("LEFT_EYE", "RIGHT_EYE"),
        ("HandLeft1", "HandRight1"),
        ("front left paw", "front right paw"),
        ("left", "right"),
        ("L1", "R1"),
        ("目_l", "目_r"),
        ("épaule.L", "épaule.R"),
    ],
)
def test_left_and_right_are_found_in_every_usual_spelling_left_first(left, right):
    for names in ((left, right), (right, left), ("nose", right, "tail", left)):
        assert pairs_of(*names) == ([(left, right)], [])


@pytest.mark.parametrize("skeleton", [COCO, POSETRACK, MPII])
def test_the_known_datasets_pairs_are_found_by_their_names(skeleton):
    found, warned = told(category(list(skeleton.keypoints)))
    assert set(found.flip_pairs) == set(skeleton.flip_pairs)
    assert warned == []


@pytest.mark.parametrize(
    "names",
    [
        ("nose", "reel", "lobe", "tail"),  # r and l are no words here
        ("l1_eye", "r2_eye"),  # other numbers
        ("left_eye", "right_ear"),
        ("él", "naïr"),
    ],
)
def test_keypoints_that_are_no_mirror_images_are_not_paired_and_it_is_said(names):
    pairs, warned = pairs_of(*names)
    assert pairs == []
    assert len(warned) == 1
    assert '"flip_pairs"' in warned[0]


def test_a_left_keypoint_without_a_right_one_keeps_its_place_and_is_named():
    pairs, warned = pairs_of("left_eye", "right_eye", "left_horn", "nose")
    assert pairs == [("left_eye", "right_eye")]
    assert len(warned) == 1
    assert "no single counterpart on the other side for left_horn:" in warned[0]


def test_keypoints_with_several_candidates_on_the_other_side_are_left_alone_and_named():
    pairs, warned = pairs_of("left_eye", "right_eye", "l-eye", "left_ear", "right_ear")
    assert pairs == [("left_ear", "right_ear")]
    assert len(warned) == 1
    assert "left_eye, l-eye, right_eye" in warned[0]


def test_names_that_differ_in_letters_outside_ascii_are_different():
    pairs, warned = pairs_of("耳_l", "目_r", "目_l", "耳_r")
    assert set(pairs) == {("耳_l", "耳_r"), ("目_l", "目_r")}
    assert warned == []


def test_a_single_keypoint_needs_no_pairs():
    assert pairs_of("nose") == ([], [])


word = st.sampled_from(["eye", "ear", "paw", "hip", "toe"])


@given(
    st.lists(word, min_size=1, unique=True),
    st.sampled_from(["_", "-", ".", " "]),
    st.booleans(),
    st.randoms(),
)
def test_pairs_do_not_depend_on_the_order_of_the_keypoints(words, sign, short, random):
    sides = ("l", "r") if short else ("left", "right")
    names = [f"{side}{sign}{name}" for name in words for side in sides] + ["nose"]
    random.shuffle(names)
    pairs, warned = pairs_of(*names)
    assert set(pairs) == {tuple(f"{side}{sign}{name}" for side in sides) for name in words}
    assert warned == []


# ---- told by fields


def test_flip_pairs_may_be_names_or_places_counted_from_0():
    names = ["a", "b", "left_c", "right_c"]
    for pairs in ([["b", "a"]], [[1, 0]], [["b", 0]]):
        skeleton, warned = told(category(names, flip_pairs=pairs))
        assert skeleton.flip_pairs == ((1, 0),)  # names do not count then
        assert warned == []
    skeleton, warned = told(category(names, flip_pairs=[]))
    assert (skeleton.flip_pairs, warned) == ((), [])


def test_lines_are_counted_from_1_as_in_coco_or_from_0_if_a_0_is_there():
    names = ["left_a", "right_a", "b"]
    assert told(category(names, skeleton=[[1, 2], [2, 3]]))[0].limbs == ((0, 1), (1, 2))
    assert told(category(names, skeleton=[[0, 1], [1, 2]]))[0].limbs == ((0, 1), (1, 2))
    assert told(category(names, skeleton=[["left_a", "b"]]))[0].limbs == ((0, 2),)
    for nothing in (None, []):
        assert told(category(names, skeleton=nothing))[0].limbs == ()


def test_sigmas_are_taken_as_they_are_and_cocos_mean_with_a_warning_without_them():
    names = ["left_a", "right_a"]
    assert told(category(names, sigmas=[0.01, 0.5]))[0].sigmas == (0.01, 0.5)
    for missing in ({}, {"sigmas": None}):
        skeleton, warned = told({"keypoints": names} | missing)
        assert skeleton.sigmas == (DEFAULT_SIGMA, DEFAULT_SIGMA)
        assert len(warned) == 1
        assert f'no "sigmas" in the category: OKS takes {DEFAULT_SIGMA}' in warned[0]
    np.testing.assert_allclose(DEFAULT_SIGMA, np.mean(COCO.sigmas), atol=5e-4)


def test_the_upper_body_is_told_by_names_or_places_and_there_is_none_otherwise():
    names = ["left_a", "right_a", "b"]
    assert told(category(names, upper_body=["b", 0]))[0].upper_body == (2, 0)
    assert told(category(names))[0].upper_body == ()


def test_everything_told_comes_back_out_of_the_manifest_form():
    entry = category(["l", "r", "m"], skeleton=[[1, 3]], upper_body=["m"], flip_pairs=[["l", "r"]])
    skeleton, _ = told(entry)
    assert Skeleton.from_json(json.loads(json.dumps(skeleton.to_json()))) == skeleton
    assert skeleton.name == "custom"


# ---- fields that cannot be understood


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"keypoints": None}, '"keypoints" must be a list of names'),
        ({"keypoints": "a"}, '"keypoints" must be a list of names'),
        ({"keypoints": ["a", 3]}, '"keypoints" must be a list of names'),
        ({"keypoints": []}, "at least one keypoint"),
        ({"keypoints": ["a", "a", "b"]}, "keypoint names must be unique"),
        ({"flip_pairs": 5}, '"flip_pairs" must be a list of pairs'),
        ({"flip_pairs": {"a": "b"}}, '"flip_pairs" must be a list of pairs'),
        ({"flip_pairs": ["ab"]}, '"flip_pairs" must be a list of pairs'),
        ({"flip_pairs": [["a"]]}, '"flip_pairs" must be a list of pairs'),
        ({"flip_pairs": [["a", "x"]]}, "\"flip_pairs\" has 'x'; expected one of a, b, c"),
        ({"flip_pairs": [["a", True]]}, "\"flip_pairs\" has 'True'"),
        ({"flip_pairs": [["a", [0]]]}, '"flip_pairs" has'),
        ({"flip_pairs": [[0, 3]]}, '"flip_pairs" has 3; keypoints are counted from 0 to 2'),
        ({"flip_pairs": [[0, -1]]}, '"flip_pairs" has -1'),
        ({"flip_pairs": [["a", "b"], ["b", "c"]]}, "flip_pairs names a keypoint twice"),
        ({"flip_pairs": [["a", "a"]]}, "flip_pairs names a keypoint twice"),
        ({"skeleton": 5}, '"skeleton" must be a list of pairs'),
        ({"skeleton": True}, '"skeleton" must be a list of pairs'),
        ({"skeleton": [5]}, '"skeleton" must be a list of pairs'),
        ({"skeleton": [[1, 2, 3]]}, '"skeleton" must be a list of pairs'),
        ({"skeleton": [[1, 4]]}, '"skeleton" has 4; keypoints are counted from 1 to 3'),
        ({"skeleton": [[0, 3]]}, '"skeleton" has 3; keypoints are counted from 0 to 2'),
        ({"skeleton": [[1.0, 2.0]]}, "\"skeleton\" has '1.0'"),
        ({"sigmas": 0.1}, '"sigmas" must be a list of numbers'),
        ({"sigmas": ["0.1"] * 3}, '"sigmas" must be a list of numbers'),
        ({"sigmas": [True] * 3}, '"sigmas" must be a list of numbers'),
        ({"sigmas": [0.1] * 2}, "sigmas has 2 values"),
        ({"sigmas": [0.1, 0.1, 0]}, "sigmas must lie between 0 and 1"),
        ({"sigmas": [0.1, 0.1, float("nan")]}, "sigmas must lie between 0 and 1"),
        ({"sigmas": [0.1, 0.1, 10**400]}, "sigmas must lie between 0 and 1"),
        ({"upper_body": "ab"}, '"upper_body" must be a list'),
        ({"upper_body": [3]}, '"upper_body" has 3'),
        ({"upper_body": ["d"]}, "\"upper_body\" has 'd'"),
    ],
)
def test_a_field_that_cannot_be_understood_is_named(fields, named):
    with pytest.raises(ValueError, match=re.escape(named)):
        told(category(["a", "b", "c"]) | fields)


keypoint = st.sampled_from(["a", "b", "left_c", 0, 1, 2, 3]) | anything
pairs = anything | st.lists(anything | st.lists(keypoint, max_size=3), max_size=3)
names = anything | st.lists(st.text() | st.sampled_from(["a", "b", "left_c", "right_c"]), max_size=4)
hostile = st.fixed_dictionaries(
    {"keypoints": names | st.just(["a", "b", "left_c"])},
    optional={
        "flip_pairs": pairs,
        "skeleton": pairs,
        "sigmas": anything | st.lists(st.floats() | st.integers(), max_size=4),
        "upper_body": anything | st.lists(keypoint, max_size=3),
    },
)


@settings(max_examples=400)
@given(anything | hostile)
def test_any_json_gives_a_skeleton_or_an_error_that_names_a_field(entry):
    try:
        skeleton, _ = told(entry)
    except ValueError as error:
        assert any(field in str(error) for field in (*FIELDS, "keypoint"))  # noqa: PT017
        return
    assert list(skeleton.keypoints) == entry["keypoints"]
    permutation = skeleton.flip_permutation
    np.testing.assert_array_equal(permutation[permutation], np.arange(skeleton.num_keypoints))
    json.dumps(skeleton.to_json(), allow_nan=False)


@pytest.mark.parametrize("field", FIELDS)
# The last are around what Python 3.11, 3.12 and 3.13 parse, and beyond what any does.
@pytest.mark.parametrize("depth", [3, MAX_DEPTH - 3, MAX_DEPTH - 2, 990, 1_495, 9_996, 100_000])
def test_a_file_nested_as_deep_as_we_allow_and_deeper_ends_in_one_error_or_without_its_line(
    tmp_path, field, depth
):
    path = tmp_path / "deep.json"
    nested = "[" * depth + "]" * depth
    entry = json.dumps({"keypoints": ["a"], "sigmas": [0.1]} | {field: 0}).replace(": 0", f": {nested}")
    path.write_text(f'{{"images": [], "annotations": [], "categories": [{entry}]}}')
    said = "nothing"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read_category(read_json(path), path)
        except BuildError as error:
            said = str(error)
            assert "deep.json" in said
    # The file, its categories and the category are three levels more.
    assert ("nested too deeply" in said) == (depth + 3 > MAX_DEPTH)
    # Of a skeleton a line that nobody understands may be left out.
    assert said != "nothing" or field == "skeleton"


# ---- the half body


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.booleans())
def test_half_bodies_are_never_drawn_without_an_upper_body(seed, count, upper_first):
    rng = np.random.default_rng(seed)
    keypoints = np.concatenate([rng.uniform(0, 99, (4, count, 2)), rng.integers(0, 3, (4, count, 1))], axis=2)
    skeleton, _ = told(category([f"point {n}" for n in range(count)], flip_pairs=[]))
    valid, center, scale = half_body_box(keypoints, skeleton.upper_body, np.full(4, upper_first), (192, 256))
    assert not valid.any()
    assert np.isnan(center).all()
    assert np.isnan(scale).all()
