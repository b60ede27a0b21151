"""A person detector's boxes as instances to cut out."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.ground_truth import find_ground_truth
from pipelines.annotations.coco import read_images
from pipelines.annotations.json_stream import read_json
from pipelines.build import build_records
from pipelines.errors import BuildError
from records.annotations.image_ids import find_texts
from records.geometry import box_to_center_scale
from tests.helpers.builders import annotations, image, instance, make_build, write_json, write_split
from tests.helpers.shared import shared_data
from tests.helpers.sources import box_of, check_usable, detected, detection, everyone


@pytest.mark.parametrize(("name", "threshold"), [("det00", 0.0), ("det03", 0.3)])
def test_detected_instances_are_the_official_ones(name, threshold):
    golden = np.load(shared_data("golden", "coco_eval", "person_db.npz"))
    images = read_images(read_json(shared_data("golden", "coco_eval", "gt_annotations.json")), "truth")
    path = shared_data("golden", "coco_eval", "detections.json")
    entries = read_json(path)
    source = detected(entries, images, threshold)
    instances = sorted(
        (
            (instance.instance_id, image.file_name, instance)
            for image in source.images
            for instance in image.instances
        ),
        key=lambda row: row[0],
    )  # the official list is in the file's order
    assert [file_name for _, file_name, _ in instances] == golden[f"{name}_image"].tolist()
    center, scale = box_to_center_scale([instance.box for *_, instance in instances], (192, 256))
    np.testing.assert_allclose(center, golden[f"{name}_center"], atol=1e-4)
    np.testing.assert_allclose(scale / 200, golden[f"{name}_scale"], atol=1e-6)
    np.testing.assert_array_equal([instance.score for *_, instance in instances], golden[f"{name}_score"])
    for position, _, one in instances:
        assert one.box == entries[position]["bbox"]
    assert len(instances) + sum(source.filtered.values()) == len(entries) == 150
    assert source.rejected == []


def test_a_detection_keeps_its_box_its_score_and_its_place_in_the_file():
    source = detected([box_of(category_id=3), box_of(bbox=[-5, 40, 100.5, 60], score=0.25)])
    (one,) = everyone(source)
    assert (one.instance_id, one.box, one.score) == (1, [-5, 40, 100.5, 60], 0.25)
    assert one.area == 100.5 * 60
    assert one.keypoints == [0] * 51
    assert source.filtered == {"other_category": 1}


@pytest.mark.filterwarnings("ignore:.*because of their image ids")
@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("other_category", {"category_id": 2}),
        ("image_of_another_split", {"image_id": 99}),
        ("image_of_another_split", {"image_id": {}}),
        ("low_score", {"score": 0.29}),
    ],
)
def test_detections_are_left_out_on_purpose_and_counted(reason, change):
    source = detected([box_of(), box_of(**change)], threshold=0.3)
    assert len(everyone(source)) == 1
    assert (source.filtered, source.rejected) == ({reason: 1}, [])


def test_a_score_at_the_threshold_is_kept():
    assert len(everyone(detected([box_of(score=0.3)], threshold=0.3))) == 1


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("bad_box", {"bbox": [1, 2, float("nan"), 4]}),
        ("bad_box", {"bbox": [1, 2, 3, 0]}),
        ("bad_score", {"score": None}),
        ("bad_score", {"score": float("nan")}),
    ],
)
def test_a_detection_that_cannot_be_used_is_rejected_with_the_reason(reason, change):
    source = detected([box_of(), box_of(**change)])
    assert len(everyone(source)) == 1
    (entry,) = source.rejected
    assert (entry["reason"], entry["image_id"], entry["instance_id"]) == (reason, 1, 1)


@pytest.mark.parametrize("data", [{}, {"annotations": []}, [1, 2], "text", [[]]])
def test_anything_but_a_list_of_detections_is_fatal_with_the_path(data):
    with pytest.raises(BuildError, match=r"boxes\.json is not a COCO results file"):
        detected(data)


@pytest.mark.parametrize("entries", [[], [box_of(image_id=5), box_of(image_id=6), box_of(category_id=2)]])
def test_detections_of_other_images_only_are_fatal_with_the_path(entries):
    with pytest.raises(BuildError, match=r"boxes\.json(: none of its \d boxes| is an empty list)"):
        detected(entries)


# ---- ids that are no whole numbers


def with_ids(*ids, files=("0001.jpg", "b/cat.png", "7.jpg"), **changes):
    """Instances per image, what was left out, and what was warned of."""
    images = read_images(annotations([image(n + 1, 99, 99, name) for n, name in enumerate(files)], []), "t")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        source = detected([box_of(image_id=one, **changes) for one in ids], images)
    found = {annotated.image_id: len(annotated.instances) for annotated in source.images}
    return found, source.filtered, [str(warning.message) for warning in warned]


@pytest.mark.parametrize(
    ("text", "image_id"),
    [
        *(("0001", 1), ("0001.jpg", 1), ("C:\\data\\0001.jpg", 1), ("photos/0001", 1)),
        *(("cat", 2), ("b/cat", 2), ("b/cat.png", 2), ("cat.png", 2)),
        *(("7", 3), ("+2", 2), ("002", 2), ("1", 1)),
    ],
)
def test_an_id_that_is_a_files_name_or_a_number_is_understood_and_it_is_said(text, image_id):
    found, filtered, (said,) = with_ids(text, image_id, text)
    assert (found, filtered) == ({image_id: 3}, {})
    assert "image ids of 2 boxes in boxes.json, such as " + json.dumps(text) + " (text), were" in said


def test_text_that_is_no_image_is_named_beside_what_the_images_have():
    found, filtered, (named, unknown) = with_ids(1, "cat", "dog", None, 4)
    assert (found, filtered) == ({1: 1, 2: 1}, {"image_of_another_split": 3})
    assert "found by the image's file name" in named
    assert 'such as "dog" (text), images such as 1 (a number) with the file 0001.jpg' in unknown
    assert "2 boxes in boxes.json are left out because of their image ids" in unknown
    with pytest.raises(
        BuildError, match=r'none of its 2 boxes .* ids such as "dog" \(text\), images such as 1 '
    ):
        with_ids("dog", "cow")
    with pytest.raises(BuildError, match=r"ids such as 8 \(a number\), images such as 1 "):
        with_ids(8, 9)


def test_numbers_with_a_decimal_point_count_as_the_whole_numbers_they_are():
    found, filtered, (said, _) = with_ids(1.0, 2.0, 2.5)
    assert (found, filtered) == ({1: 1, 2: 1}, {"image_of_another_split": 1})
    assert "image ids of 2 boxes in boxes.json, such as 1.0 (a number), were taken for whole numbers" in said


def test_text_that_may_be_a_name_or_a_number_is_what_more_of_the_others_are():
    files = ("2.jpg", "3.jpg", "4.jpg")
    assert with_ids("2", "3", "4", files=files)[0] == {1: 1, 2: 1, 3: 1}  # all of them are names
    assert with_ids("1", "2", "3", files=files)[0] == {1: 1, 2: 1, 3: 1}  # all of them are numbers
    with pytest.raises(
        BuildError, match=r'"2", a text, may be the number of 3\.jpg or the file 2\.jpg, whose id is 1'
    ):
        with_ids("2", "3", files=files)
    assert with_ids("02", "03", files=("02.jpg", "03.jpg", "1.jpg"))[0] == {
        1: 1,
        2: 1,
    }  # no number is so spelled


def test_a_name_that_several_images_have_finds_none_of_them():
    files = ("a/x.jpg", "b/x.jpg", "x.png")
    assert with_ids("a/x", "b/x.jpg", "x.png", files=files)[0] == {1: 1, 2: 1, 3: 1}
    with pytest.raises(BuildError, match="none of its 1 boxes"):
        with_ids("x.jpg", files=files)


def test_a_category_may_be_missing_or_a_text_and_those_that_are_there_are_named():
    assert with_ids(1, 2, category_id="1")[0] == {1: 1, 2: 1}
    entries = [box_of(), {key: value for key, value in box_of().items() if key != "category_id"}]
    assert len(everyone(detected(entries))) == 2
    with pytest.raises(
        BuildError, match=r'which to take: it has 2 of "person" \(text\), 1 of 0 \(a number\)'
    ):
        detected([box_of(category_id="person"), box_of(category_id="person"), box_of(category_id=0)])


ids = st.one_of(
    st.integers(-1, 9), st.integers(0, 9).map(str), st.sampled_from(["", "x", "a/x", "07", "x.jpg"])
)
file_names = st.lists(
    st.sampled_from(["1.jpg", "07.jpg", "a/x.jpg", "b/x.jpg", "x", "..", "a/"]), unique=True
)


@given(st.lists(ids.filter(lambda one: isinstance(one, str)), unique=True), file_names)
def test_a_text_stands_for_one_image_at_most_and_no_number_for_a_file_of_another_spelling(texts, names):
    images = dict(enumerate(names, start=1))
    try:
        named, numbered = find_texts(texts, images)
    except ValueError as error:
        assert "write the ids as numbers" in str(error)  # noqa: PT017
        return
    assert not named.keys() & numbered.keys()
    assert {*named.values(), *numbered.values()} <= images.keys()
    for text, found in named.items():
        assert images[found].removesuffix(".jpg").endswith(text.removesuffix(".jpg").split("/")[-1])
    assert all(int(text) == found for text, found in numbered.items())


@pytest.mark.filterwarnings("ignore:.*because of their image ids")
@given(st.lists(detection, max_size=6))
def test_nobody_is_lost_whatever_the_detections_are(detections):
    source = detected([box_of(), *detections])
    taken = len(everyone(source)) + sum(source.filtered.values()) + len(source.rejected)
    assert taken == len(detections) + 1
    check_usable(source)


# ---- which category, and which images


def test_the_category_is_that_of_the_annotations_unless_another_is_named(tmp_path):
    data = annotations([image(1, 160, 120)], [instance(1, 1, [20, 10, 40, 60])])
    write_split(tmp_path, "val", data)
    boxes = [box_of(category_id=number, bbox=[20, 10, 40, 60]) for number in (1, 1, 3)]
    write_json(tmp_path / "dets/human_detection.json", boxes)
    build = make_build(tmp_path, tmp_path / "out", "val", "detections")
    manifest = build_records(build)
    assert (manifest.records, manifest.filtered) == (2, {"other_category": 1})
    with pytest.raises(BuildError, match="detection_category was None, now 3"):
        build_records(replace(build, detection_category=3))
    manifest = build_records(replace(build, detection_category=3, overwrite=True))
    assert (manifest.records, manifest.filtered) == (1, {"other_category": 2})
    with pytest.raises(BuildError, match="none of its 3 boxes is of the category 4; --detection_category"):
        build_records(replace(build, detection_category=4, overwrite=True))


@pytest.mark.parametrize(
    "categories", [{}, {"categories": []}, {"categories": [{"id": 1, "name": "person"}]}]
)
def test_a_mere_list_of_images_is_enough_for_a_detectors_boxes(tmp_path, categories):
    """As COCO's image_info files: no annotations, and categories without keypoints or none."""
    write_split(tmp_path, "test", annotations([image(1, 160, 120), image(2, 160, 120)], []))
    info = {"images": [image(1, 160, 120), image(2, 160, 120)]} | categories
    write_json(tmp_path / "info.json", info)
    write_json(tmp_path / "dets/human_detection.json", [box_of(bbox=[20, 10, 40, 60]), box_of(image_id=9)])
    build = make_build(tmp_path, tmp_path / "out", "test", "detections")
    build = replace(build, annotations=str(tmp_path / "info.json"))
    manifest = build_records(build)
    assert (manifest.records, manifest.filtered) == (1, {"image_of_another_split": 1})
    ground_truth = find_ground_truth(manifest, Path("nowhere"))
    assert (ground_truth.labeled, ground_truth.content["annotations"], ground_truth.category) == (
        False,
        [],
        1,
    )
    with pytest.raises(BuildError, match='has no list "annotations"; ground-truth boxes need one'):
        build_records(replace(build, boxes="ground_truth", folder=str(tmp_path / "other")))


def test_a_users_own_list_of_images_must_name_the_keypoints(tmp_path):
    write_json(tmp_path / "annotations/person_keypoints_val2017.json", {"images": [image(1)]})
    write_json(tmp_path / "dets/human_detection.json", [box_of()])
    with pytest.raises(BuildError, match='0 categories with "keypoints"'):
        build_records(make_build(tmp_path, tmp_path / "out", "val", "detections", skeleton=None))
