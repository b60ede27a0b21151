"""A skeleton out of an annotation file's category: pairs found by name or told, and bad fields named."""

import json
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrpose.json_text import MAX_DEPTH
from pipelines.annotations.coco import read_category
from pipelines.annotations.json_stream import read_json
from pipelines.errors import BuildError
from records.coco_category import DEFAULT_SIGMA, skeleton_from_coco_category
from records.geometry import half_body_box
from records.mirrored_names import mirrored_names, plain_name
from records.skeletons import COCO, MPII, POSETRACK, Skeleton
from tests.helpers.sources import anything

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
    found, warned = told(category(list(skeleton.keypoints), upper_body=[0]))
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


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("leftear", "rightear"),
        ("earleft", "earright"),
        ("Lknee", "Rknee"),
        ("LKNEE", "RKNEE"),
        ("leye", "reye"),
        ("eyel", "eyer"),
        ("lshoulders", "rshoulders"),
        ("lbigtoe", "rbigtoe"),
        ("lfrontpaw", "rfrontpaw"),
        ("leye_inner2", "reye_inner2"),
        ("rear_lpaw", "rear_rpaw"),  # where rear might be the right one of ear
        ("lefteye", "right_eye"),
        ("Lear", "rear"),
    ],
)
def test_sides_that_are_spelled_together_with_a_part_of_the_body_are_found_beside_others(left, right):
    for names in ((left, right), (right, left), ("left_hip", right, "tail", left, "right_hip")):
        pairs, warned = pairs_of(*names)
        assert (left, right) in pairs
        assert (len(pairs), warned) == (len(names) // 2, [])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("leg", "reg"),
        ("lobe", "robe"),
        ("lend", "rend"),
        ("lamp", "ramp"),
        ("Lear2", "rear1"),
        ("lx", "rx"),
        ("left", "bright"),
        ("links", "rechts"),
        ("l", "lear"),
    ],
)
def test_words_that_begin_with_l_and_r_by_chance_are_no_pair_and_are_listed_beside_pairs(one, other):
    pairs, warned = pairs_of("left_hip", one, "tail", other, "right_hip")
    assert pairs == [("left_hip", "right_hip")]
    (said,) = warned
    assert re.match(
        rf"no single counterpart on the other side for {one}, {other}: they keep their place", said
    )
    pairs, warned = pairs_of(one, other)
    assert pairs == []
    assert len(warned) == 1


def test_what_is_in_the_middle_and_a_single_other_keypoint_are_no_matter_for_a_warning():
    assert (
        pairs_of("left_hip", "right_hip", "nose", "upper_neck", "head_top", "tailbase", "tailtip", "pad")[1]
        == []
    )
    (said,) = pairs_of("left_hip", "right_hip", "nose", "pad", "mark")[1]
    assert "for pad, mark:" in said
    (said,) = pairs_of("left_hip", "right_hip", *[f"point{n}" for n in range(30)])[1]
    assert "point19 and 10 more: they keep" in said


parts = st.sampled_from(["eye", "Ear", "knee", "paw", "upperlip", "leg", "obe", "mark"])
IN_THE_MIRROR = {
    "left{}": "right{}",
    "left_{}": "right_{}",
    "{}Left": "{}Right",
    "L{}": "R{}",
    "l{}": "r{}",
    "{}l": "{}r",
}
spellings = st.sampled_from(sorted(IN_THE_MIRROR))


@given(
    st.lists(st.tuples(parts, spellings), max_size=8),
    st.lists(st.sampled_from(["rear", "lip", "x"])),
    st.randoms(),
)
def test_whatever_is_paired_differs_in_nothing_but_the_side_whatever_the_order(spelled, more, random):
    mirrored = {}
    for part, spelling in spelled:
        right = (
            spelling.replace("left", "right")
            .replace("Left", "Right")
            .replace("L", "R")
            .replace("l{", "r{")
            .replace("}l", "}r")
        )
        mirrored[spelling.format(part)] = right.format(part)
    names = list(dict.fromkeys([*mirrored, *mirrored.values(), *more]))
    random.shuffle(names)
    pairs, _ = mirrored_names(names)
    found = {(names[left], names[right]) for left, right in pairs}
    assert len({index for pair in pairs for index in pair}) == 2 * len(pairs)
    for left, right in found:
        assert plain_name(left)[1] == plain_name(right)[1]
    assert {frozenset(pair) for pair in pairs_again(names)} == {frozenset(pair) for pair in found}


def pairs_again(names):
    """The pairs of the same names in another order."""
    ordered = sorted(names)
    return [(ordered[left], ordered[right]) for left, right in mirrored_names(ordered)[0]]


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


@pytest.mark.parametrize(
    ("lines", "limbs", "said"),
    [
        ([[1, 2], [1, 5]], ((0, 1),), '1 of the 2 lines in "skeleton" are left out, for example [1, 5]: '),
        ([[0, 1], [2, 3]], ((0, 1),), "[2, 3]: expected pairs of keypoints, which are counted from 0 to 2"),
        ([[1, -1], [3, 4], [2, 3]], ((1, 2),), "2 of the 3 lines"),
        ([["left_a", "b"], ["b", "c"]], ((0, 2),), "['b', 'c']"),
        ([5, [1, 2, 3], [1], [True, 2], [None, 1], [1.5, 2], [[1], 2], [1, float("nan")]], (), "8 of the 8"),
        ([[1.0, 2.0]], ((0, 1),), None),
    ],
)
def test_lines_to_keypoints_that_do_not_exist_are_left_out_with_a_warning(lines, limbs, said):
    skeleton, warned = told(category(["left_a", "right_a", "b"], skeleton=lines))
    assert skeleton.limbs == limbs
    assert len(warned) == (said is not None)
    assert said is None or said in warned[0]


# ---- COCO's seventeen under another name


def coco_like(keypoints, **fields):
    skeleton, warned = told({"keypoints": keypoints} | fields)
    by_name = {name: (skeleton.sigmas[i], i in skeleton.upper_body) for i, name in enumerate(keypoints)}
    return skeleton, by_name, warned


def test_cocos_keypoints_have_cocos_sigmas_upper_body_pairs_and_lines_and_a_hint():
    skeleton, _, warned = coco_like(list(COCO.keypoints))
    assert skeleton == replace(COCO, name="custom")
    (said,) = warned
    assert "sigmas and upper_body, which the category lacks, are COCO's; --dataset coco" in said


@pytest.mark.parametrize(
    "spell", [str.upper, lambda n: n.replace("_", ""), lambda n: " ".join(n.split("_")[::-1])]
)
def test_cocos_keypoints_in_another_order_and_spelling_are_cocos_too(spell):
    names = [*map(spell, COCO.keypoints[::-1])]
    skeleton, by_name, warned = coco_like(names)
    for index, name in enumerate(COCO.keypoints):
        assert by_name[spell(name)] == (COCO.sigmas[index], index in COCO.upper_body)
    assert {frozenset(16 - i for i in pair) for pair in COCO.flip_pairs} == set(
        map(frozenset, skeleton.flip_pairs)
    )
    assert {frozenset(16 - i for i in line) for line in COCO.limbs} == set(map(frozenset, skeleton.limbs))
    assert len(warned) == 1
    assert "--dataset" not in warned[0]


def test_what_a_category_of_cocos_keypoints_says_itself_counts():
    own = {"sigmas": [0.05] * 17, "upper_body": [0], "flip_pairs": [], "skeleton": [[1, 2]]}
    skeleton, _, warned = coco_like(list(COCO.keypoints), **own)
    assert (skeleton.sigmas, skeleton.upper_body) == ((0.05,) * 17, (0,))
    assert (skeleton.flip_pairs, skeleton.limbs, warned) == ((), ((0, 1),), [])
    skeleton, _, (said,) = coco_like(list(COCO.keypoints), sigmas=[0.05] * 17)
    assert (skeleton.sigmas, skeleton.upper_body) == ((0.05,) * 17, COCO.upper_body)
    assert "17 keypoints: upper_body, which" in said


def test_sixteen_of_cocos_keypoints_or_one_more_are_not_cocos():
    for names in (COCO.keypoints[1:], (*COCO.keypoints, "neck"), (*COCO.keypoints[1:], "neck")):
        skeleton, _, warned = coco_like(list(names))
        assert set(skeleton.sigmas) == {DEFAULT_SIGMA}
        assert skeleton.upper_body == ()
        assert len(warned) == 1


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
def test_a_file_nested_as_deep_as_we_allow_and_deeper_ends_in_one_error(tmp_path, field, depth):
    path = tmp_path / "deep.json"
    nested = "[" * depth + "]" * depth
    entry = json.dumps({"keypoints": ["a"], "sigmas": [0.1]} | {field: 0}).replace(": 0", f": {nested}")
    path.write_text(f'{{"images": [], "annotations": [], "categories": [{entry}]}}')
    too_deep = depth + 3 > MAX_DEPTH  # the file, its categories and the category are three levels more
    if field == "skeleton" and not too_deep:  # of which a line that nobody understands is left out
        with pytest.warns(UserWarning, match="skeleton"):
            assert read_category(read_json(path), path).skeleton.limbs == ()
        return
    with pytest.raises(BuildError, match=r"deep\.json") as error:
        read_category(read_json(path), path)
    assert ("nested too deeply" in str(error.value)) == too_deep


# ---- the half body


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.booleans())
def test_half_bodies_are_never_sampled_without_an_upper_body(seed, count, upper_first):
    rng = np.random.default_rng(seed)
    keypoints = np.concatenate([rng.uniform(0, 99, (4, count, 2)), rng.integers(0, 3, (4, count, 1))], axis=2)
    skeleton, _ = told(category([f"point {n}" for n in range(count)], flip_pairs=[]))
    valid, center, scale = half_body_box(keypoints, skeleton.upper_body, np.full(4, upper_first), (192, 256))
    assert not valid.any()
    assert np.isnan(center).all()
    assert np.isnan(scale).all()
