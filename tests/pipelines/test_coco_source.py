"""COCO-format files as instances to cut out: the official selection, and what happens to everything else."""

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.annotations.coco import read_ground_truth
from pipelines.annotations.json_stream import read_json
from pipelines.annotations.source import read_source
from pipelines.errors import BuildError
from pipelines.instances import keypoint_array
from records.geometry import box_to_center_scale
from records.skeletons import COCO
from tests.helpers.builders import CATEGORY, annotations, image, instance, make_build, write_json
from tests.helpers.shared import shared_data
from tests.helpers.sources import (
    BOX,
    a_category,
    an_image,
    annotation,
    anything,
    check_usable,
    detected,
    everyone,
    ground_truth,
    some_of,
)

# ---- the official selection


@pytest.fixture(scope="module")
def golden():
    return np.load(shared_data("golden", "coco_eval", "person_db.npz"))


def test_ground_truth_instances_are_the_official_ones(golden):
    path = shared_data("golden", "coco_eval", "gt_annotations.json")
    source = read_ground_truth(read_json(path), path, COCO)
    instances = [
        (annotated.file_name, instance) for annotated in source.images for instance in annotated.instances
    ]
    assert [name for name, _ in instances] == golden["gt_image"].tolist()
    center, scale = box_to_center_scale([instance.box for _, instance in instances], (192, 256))
    np.testing.assert_allclose(center, golden["gt_center"], atol=1e-4)
    np.testing.assert_allclose(scale / 200, golden["gt_scale"], atol=1e-6)
    keypoints = np.stack([keypoint_array(instance) for _, instance in instances])
    np.testing.assert_array_equal(keypoints[..., :2], golden["gt_joints"][..., :2])
    np.testing.assert_array_equal(keypoints[..., 2] > 0, golden["gt_vis"][..., 0] > 0)
    assert source.rejected == []
    assert len(instances) + sum(source.filtered.values()) == 118


# ---- one instance


@pytest.mark.parametrize("no", [0, False, None, "0", " 0 ", "0.0", "false", "False", "no", ""])
def test_whoever_is_no_crowd_may_say_so_in_text(no):
    assert len(everyone(ground_truth(annotations([image(1)], [instance(1, 1, BOX, iscrowd=no)])))) == 1


def test_an_instance_is_taken_as_annotated_with_the_box_cut_to_the_image():
    source = ground_truth(annotations([image(7), image(8)], [instance(3, 7, [50, 10, 30, 20], area=123.5)]))
    (annotated,) = source.images  # 8 has nobody
    (one,) = annotated.instances
    assert (annotated.image_id, annotated.file_name, annotated.width, annotated.height) == (
        7,
        "000000000007.jpg",
        64,
        48,
    )
    assert (one.instance_id, one.area, one.score) == (3, 123.5, 1.0)
    np.testing.assert_array_equal(one.box, [50, 10, 13, 19])
    assert one.keypoints == instance(3, 7, [50, 10, 30, 20])["keypoints"]
    assert (source.filtered, source.rejected) == ({}, [])


@pytest.mark.parametrize("area", [0, -3])
def test_instances_without_area_are_left_out_as_in_the_official_loader(area):
    source = ground_truth(annotations([image(1)], [instance(1, 1, BOX, area=area)]))
    assert (everyone(source), source.filtered) == ([], {"no_area": 1})


@pytest.mark.parametrize("area", [None, float("nan"), "12", [4]])
def test_without_a_usable_area_it_is_that_of_the_box(area):
    (one,) = everyone(ground_truth(annotations([image(1)], [instance(1, 1, BOX, area=area)])))
    assert one.area == one.box[2] * one.box[3] == 19 * 29


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("crowd", {"iscrowd": 1}),
        ("crowd", {"iscrowd": "1"}),
        ("no_keypoints", {"keypoints": [0] * 51}),
        ("no_keypoints", {"keypoints": []}),
    ],
)
def test_instances_are_left_out_on_purpose_and_counted(reason, change):
    instances = [instance(1, 1, BOX), instance(2, 1, BOX, **change), instance(3, 1, BOX, **change)]
    source = ground_truth(annotations([image(1)], instances))
    assert [p.instance_id for p in everyone(source)] == [1]
    assert source.filtered == {reason: 2}
    assert source.rejected == []


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("unknown_image", {"image_id": 99}),
        ("unknown_image", {"image_id": "1"}),
        ("unknown_image", {"image_id": [1]}),
        ("unknown_image", {"image_id": None}),
        ("bad_id", {"id": None}),
        ("bad_id", {"id": "x"}),
        ("bad_id", {"id": 2**63}),
        ("bad_box", {"bbox": None}),
        ("bad_box", {"bbox": [1, 2, 3]}),
        ("bad_box", {"bbox": [1, 2, 3, "4"]}),
        ("bad_box", {"bbox": [float("nan"), 2, 30, 40]}),
        ("bad_box", {"bbox": [1, 2, float("inf"), 40]}),
        ("bad_box", {"bbox": [1, 2, 10**400, 40]}),
        ("bad_box", {"bbox": [1, 2, 0, 40]}),
        ("bad_box", {"bbox": [1, 2, 30, -40]}),
        ("bad_box", {"bbox": [1, 2, True, 40]}),
        ("bad_keypoints", {"keypoints": [1, 1, 2] * 16}),
        ("bad_keypoints", {"keypoints": [1, 1, 2] * 18}),
        ("bad_keypoints", {"keypoints": None}),
        ("bad_keypoints", {"keypoints": {"nose": 1}}),
        ("bad_keypoints", {"keypoints": [1, 1, 3] * 17}),
        ("bad_keypoints", {"keypoints": [1, 1, 0.5] * 17}),
        ("bad_keypoints", {"keypoints": [float("nan"), 1, 2] * 17}),
        ("bad_keypoints", {"keypoints": [None, 1, 2] * 17}),
        ("box_outside", {"bbox": [64, 10, 20, 20]}),
        ("box_outside", {"bbox": [10, 500, 20, 20]}),
    ],
)
def test_an_instance_that_cannot_be_used_is_rejected_with_the_reason(reason, change):
    source = ground_truth(annotations([image(1)], [instance(1, 1, BOX), instance(2, 1, BOX) | change]))
    assert [p.instance_id for p in everyone(source)] == [1]
    assert source.filtered == {}
    (entry,) = source.rejected
    assert entry["reason"] == reason
    assert entry["detail"]
    assert entry["instance_id"] == change.get("id", 2)
    json.dumps(entry)


def test_json_files_with_nan_are_read_and_only_the_instance_is_rejected(tmp_path):
    data = annotations([image(1)], [instance(1, 1, BOX), instance(2, 1, [float("nan"), 2, 30, 40])])
    write_json(tmp_path / "truth.json", data)
    assert "NaN" in (tmp_path / "truth.json").read_text()
    source = ground_truth(read_json(tmp_path / "truth.json"))
    assert len(everyone(source)) == 1
    assert [entry["reason"] for entry in source.rejected] == ["bad_box"]


def test_an_entry_that_is_no_object_is_rejected():
    source = ground_truth(annotations([image(1)], [instance(1, 1, BOX), None, 7]))
    assert [entry["reason"] for entry in source.rejected] == ["bad_annotation"] * 2


def test_of_two_instances_with_one_id_the_later_is_rejected():
    instances = [
        instance(1, 1, BOX),
        instance(1, 2, BOX),
        instance(2, 1, BOX, iscrowd=1),
        instance(2, 2, BOX),
    ]
    source = ground_truth(annotations([image(1), image(2)], instances))
    assert [(annotated.image_id, len(annotated.instances)) for annotated in source.images] == [(1, 1), (2, 1)]
    (entry,) = source.rejected
    assert (entry["reason"], entry["image_id"], entry["instance_id"]) == ("duplicate_id", 2, 1)
    assert source.filtered == {"crowd": 1}


def test_an_image_that_is_listed_twice_alike_is_one():
    source = ground_truth(annotations([image(1), image(1)], [instance(1, 1, BOX)]))
    assert [len(annotated.instances) for annotated in source.images] == [1]


def test_other_categories_are_no_instances():
    data = annotations([image(1)], [instance(1, 1, BOX), instance(2, 1, BOX, category_id=18)])
    source = ground_truth(data | {"categories": [{"id": 18, "name": "dog"}, CATEGORY]})
    assert [p.instance_id for p in everyone(source)] == [1]
    assert source.rejected == []


# ---- the whole file


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is not JSON"),
        ('{"images": [', "is not JSON"),
        ("\x00", "is not JSON"),
        ("[]", '"images"'),
        ("3", '"images"'),
        ("{}", '"images"'),
        ('{"images": {}}', '"images"'),
        ('{"images": []}', '"annotations"'),
        ('{"images": [], "annotations": {}}', '"annotations"'),
        ('{"images": [], "annotations": []}', '0 categories with "keypoints"'),
        ('{"images": [], "annotations": [], "categories": 3}', '0 categories with "keypoints"'),
        ('{"images": [{"id": 1}], "annotations": []}', r"entry 0 is {'id': 1}"),
        ('{"images": [null], "annotations": []}', "entry 0 is None"),
        (json.dumps(annotations([image(1), image(2) | {"id": "2"}], [])), "entry 1"),
        (json.dumps(annotations([image(1, width=None)], [])), "entry 0"),
        (json.dumps(annotations([image(1, height=-1)], [])), "entry 0"),
        (json.dumps(annotations([image(1) | {"file_name": 7}], [])), "entry 0"),
        (json.dumps(annotations([image(1), image(1, file_name="b.jpg")], [])), "two images have the id 1"),
        (json.dumps(annotations([image(1), image(1, width=65)], [])), "two images have the id 1"),
    ],
)
def test_a_file_that_is_not_in_coco_format_is_fatal_with_its_path(tmp_path, text, what):
    path = tmp_path / "annotations" / "person_keypoints_train2017.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(BuildError, match=what) as error:
        read_source(make_build(tmp_path, tmp_path / "records"))
    assert str(path) in str(error.value)


def test_bytes_that_are_no_text_are_fatal_with_the_path(tmp_path):
    path = tmp_path / "truth.json"
    path.write_bytes(b'{"images": "\xff\xfe"}')
    with pytest.raises(BuildError, match=r"truth\.json is not JSON"):
        read_json(path)


def test_a_missing_file_is_fatal_with_its_path(tmp_path):
    with pytest.raises(BuildError, match=r"nowhere\.json does not exist"):
        read_json(tmp_path / "nowhere.json")


def test_another_skeleton_is_fatal_with_both_lists_of_names():
    category = CATEGORY | {"keypoints": ["head", "tail"]}
    with pytest.raises(BuildError, match=r"truth\.json has the keypoints head, tail; .*nose, left_eye"):
        ground_truth(annotations([image(1)], []) | {"categories": [category]})
    swapped = [CATEGORY["keypoints"][i] for i in COCO.flip_permutation]
    with pytest.raises(BuildError, match="right_eye, left_eye"):
        ground_truth(annotations([image(1)], []) | {"categories": [CATEGORY | {"keypoints": swapped}]})


# ---- anything at all


@given(st.lists(annotation, max_size=6))
@example([instance(1, 1, BOX), instance(1, 1, [1e17, 1, 1e17, 1e17])])
def test_nobody_is_lost_whatever_the_annotations_are(instances):
    source = ground_truth(annotations([image(1), image(2)], instances))
    assert len(everyone(source)) + sum(source.filtered.values()) + len(source.rejected) == len(instances)
    check_usable(source)


@settings(max_examples=200)
@given(
    st.one_of(
        anything,
        some_of(
            {
                "images": st.one_of(anything, st.lists(an_image, max_size=3)),
                "annotations": st.one_of(anything, st.lists(annotation, max_size=3)),
                "categories": st.one_of(anything, st.lists(a_category, max_size=3)),
            }
        ),
    )
)
def test_a_file_of_anything_is_either_read_or_refused_with_its_path(data):
    for read, path in ((ground_truth, "truth.json"), (detected, "boxes.json")):
        message = None
        try:
            check_usable(read(data))
        except BuildError as error:
            message = str(error)
        assert message is None or path in message
