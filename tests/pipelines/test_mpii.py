"""The MPII release in COCO format: the older files, the official boxes, and every odd spelling."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.annotations.mpii import coco_files, objpos_box
from pipelines.annotations.mpii_release import Entry, Keypoint, Rect, read_release
from pipelines.image_sizes import header_sizes
from records.geometry import box_to_center_scale
from records.skeletons import MPII
from tests.helpers.releases import EMPTY, POINT, rect, write_release
from tests.helpers.shared import shared_data


def convert_rects(folder, *rects, boxes="objpos"):
    """The annotations of one training image with these rects."""
    entries = read_release(write_release(folder, [("a.jpg", list(rects))]))
    return coco_files(entries, lambda name: (640, 480), boxes)["train"]["annotations"]


def point_of(annotation, name="head_top"):
    index = MPII.keypoints.index(name)
    return annotation["keypoints"][3 * index : 3 * index + 3]


# ---- the older converters and the official loader


@pytest.fixture(scope="module")
def golden_entries():
    return read_release(shared_data("golden", "mpii", "mpii_human_pose_v1_u12_1.mat"))


@pytest.mark.parametrize("sizes", ["table", "headers"])
def test_keypoint_boxes_give_the_older_converters_files(golden_entries, sizes):
    if sizes == "table":
        table = json.loads(shared_data("golden", "mpii", "image_sizes.json").read_text())
        size_of = table.get
    else:
        size_of = header_sizes(shared_data("dataset", "MPII", "images"))
    converted = coco_files(golden_entries, size_of, boxes="keypoints")
    assert converted.keys() == {"train", "test"}
    for split, received in converted.items():
        expected = json.loads(shared_data("golden", "mpii", f"expected_{split}.json").read_text())
        assert received.keys() == expected.keys()
        assert received["images"] == expected["images"]
        assert received["categories"] == expected["categories"]
        assert len(received["annotations"]) == len(expected["annotations"])
        for one, other in zip(received["annotations"], expected["annotations"], strict=True):
            for name in ("bbox", "area"):
                np.testing.assert_allclose(one.pop(name), other.pop(name), rtol=0, atol=1e-6)
            assert one == other


def test_objpos_boxes_are_the_official_centers_and_scales():
    instances = json.loads(shared_data("golden", "mpii", "valid_annotations.json").read_text())
    expected = np.load(shared_data("golden", "mpii", "person_db.npz"))
    known = [row for row, instance in enumerate(instances) if instance["scale"] > 0]
    assert len(instances) - len(known) == 1  # its center and scale are -1, the official mark for "missing"
    boxes = [objpos_box(instances[row]["center"], instances[row]["scale"]) for row in known]
    center, scale = box_to_center_scale(boxes, (256, 256))
    np.testing.assert_allclose(center, expected["center"][known], rtol=0, atol=1e-4)
    np.testing.assert_allclose(scale, 200 * expected["scale"][known], rtol=0, atol=1e-4)
    for row in set(range(len(instances))) - set(known):
        assert objpos_box(instances[row]["center"], instances[row]["scale"]) is None


def test_everybody_of_the_made_up_release_is_in_the_files(golden_entries):
    table = json.loads(shared_data("golden", "mpii", "image_sizes.json").read_text())
    converted = coco_files(golden_entries, table.get)
    annotations = [a for split in converted.values() for a in split["annotations"]]
    assert sorted(a["id"] for a in annotations) == list(range(sum(len(e.instances) for e in golden_entries)))
    counts = {split: len(content["annotations"]) for split, content in converted.items()}
    assert counts == {"train": 16, "test": 3}
    assert sum(a["num_keypoints"] > 0 for a in converted["train"]["annotations"]) == 12
    hidden = [a["keypoints"][2::3].count(1) for a in annotations]
    assert sum(hidden) == 2  # '0' is written twice


def test_the_validation_instances_are_those_of_the_official_ground_truth(golden_entries):
    # The made-up release holds real people under their own image names; their keypoints must be the same.
    instances = json.loads(shared_data("golden", "mpii", "valid_annotations.json").read_text())
    first = coco_files(golden_entries, lambda name: (1280, 720))["train"]["annotations"][0]
    received = np.reshape(first["keypoints"], (16, 3))
    expected = np.array(instances[0]["joints"])
    np.testing.assert_array_equal(received[:, 2] > 0, np.array(instances[0]["joints_vis"]) > 0)
    annotated = received[:, 2] > 0
    np.testing.assert_allclose(received[annotated, :2], expected[annotated] - 1, atol=1e-9)


# ---- spellings and gaps


@pytest.mark.parametrize(
    ("spelling", "visibility"),
    [
        ("1", 2),
        ("0", 1),
        (np.uint8(1), 2),
        (np.uint8(0), 1),
        (1.0, 2),
        (0.0, 1),
        (True, 2),
        (EMPTY, 2),
        ("", 2),
        (None, 2),
        ("yes", None),
        (math.nan, None),
        (7.0, None),
    ],
)
def test_visibility_in_every_spelling(tmp_path, spelling, visibility):
    point = POINT | {"is_visible": spelling}
    if spelling is None:
        del point["is_visible"]
    (annotation,) = convert_rects(tmp_path, rect([point]))
    assert point_of(annotation) == [29, 39, visibility]
    assert annotation["num_keypoints"] == 1
    other = point | {"id": 0.0, "x": 90.0, "y": 70.0}
    (annotation,) = convert_rects(tmp_path, rect([point, other]), boxes="keypoints")
    assert point_of(annotation) == [30, 40, 1]


def test_fields_of_an_instance_are_counted_from_0(tmp_path):
    (annotation,) = convert_rects(tmp_path, rect([POINT]))
    expected = {"id": 0, "image_id": 0, "category_id": 1, "iscrowd": 0, "num_keypoints": 1, "scale": 2.0}
    expected |= {"person_index": 0, "objpos": [39, 49], "head_box": [9, -6, 49, 44]}
    expected |= {"bbox": [39 - 200, 49 + 30 - 200, 400, 400], "area": 160000}
    assert {name: value for name, value in annotation.items() if name != "keypoints"} == expected
    assert sum(v != 0 for v in annotation["keypoints"]) == 3
    assert "list_row" not in annotation


def test_of_a_keypoint_that_comes_twice_the_later_stands(tmp_path):
    (annotation,) = convert_rects(tmp_path, rect([POINT, {**POINT, "x": 5.5, "is_visible": "0"}]))
    assert point_of(annotation) == [4.5, 39, 1]
    assert annotation["num_keypoints"] == 1


@pytest.mark.parametrize(
    "missing", [{"objpos": None}, {"objpos": EMPTY}, {"scale": None}, {"scale": EMPTY}, {"scale": -1.0}]
)
def test_instances_without_center_or_scale_have_no_box(tmp_path, missing):
    (annotation,) = convert_rects(tmp_path, rect([POINT], **missing))
    assert annotation["bbox"] == [0, 0, 0, 0]
    assert annotation["area"] == 0
    assert annotation["num_keypoints"] == 1


@pytest.mark.parametrize("points", [None, EMPTY, {"point": EMPTY}, {"other": 1.0}])
def test_instances_without_points_stay_with_their_box(tmp_path, points):
    instances = [rect(annopoints=points), rect([POINT])]
    without, complete = convert_rects(tmp_path, *instances)
    assert without["keypoints"] == [0] * 48
    assert without["num_keypoints"] == 0
    assert without["bbox"] == complete["bbox"]
    assert (without["id"], complete["id"]) == (0, 1)
    assert (
        convert_rects(tmp_path, *instances, boxes="keypoints") == []
    )  # a single keypoint has no extent either


def test_an_image_of_nobody_is_not_listed_and_never_looked_for(tmp_path):
    looked_for = []
    path = write_release(tmp_path, [("nobody.jpg", []), ("a.jpg", [rect([POINT])])])
    converted = coco_files(read_release(path), lambda name: looked_for.append(name))
    assert looked_for == ["a.jpg"]
    assert [image["file_name"] for image in converted["train"]["images"]] == ["a.jpg"]


def test_instances_of_a_missing_image_stay_in_the_file_without_its_size(tmp_path):
    entries = read_release(write_release(tmp_path, [("a.jpg", [rect([POINT])])]))
    converted = coco_files(entries, header_sizes(tmp_path))["train"]
    assert converted["images"] == [{"id": 0, "file_name": "a.jpg", "width": 0, "height": 0}]
    assert len(converted["annotations"]) == 1


@pytest.mark.parametrize("number", [16.0, -1.0, 0.5, math.nan, EMPTY, "x"])
def test_a_keypoint_without_a_place_leaves_no_keypoints_to_trust(tmp_path, number):
    points = [POINT, {**POINT, "id": number}]
    for boxes in ("objpos", "keypoints"):
        (annotation,) = convert_rects(tmp_path, rect(points), boxes=boxes)
        assert annotation["keypoints"] is None


@pytest.mark.parametrize("x", [math.nan, math.inf, EMPTY, "x", 1e30])
def test_a_coordinate_that_is_none_becomes_null(tmp_path, x):
    for boxes in ("objpos", "keypoints"):
        (annotation,) = convert_rects(tmp_path, rect([{**POINT, "x": x}]), boxes=boxes)
        assert point_of(annotation)[0] is None
        json.dumps(annotation, allow_nan=False)


# ---- properties of the conversion


coordinate = st.none() | st.floats(-1e4, 1e4)
keypoints = st.builds(
    Keypoint, st.integers(0, 15) | st.none(), coordinate, coordinate, st.sampled_from([1, 2, None])
)
rects = st.builds(
    Rect,
    instance_id=st.just(0),
    index=st.just(0),
    keypoints=st.lists(keypoints, max_size=20).map(tuple),
    objpos=st.none() | st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)),
    scale=st.none() | st.floats(-10, 20),
    head_box=st.none() | st.tuples(*[st.floats(-1e4, 1e4)] * 4),
)


@given(st.lists(rects, min_size=1, max_size=4))
def test_nobody_is_lost_and_every_value_is_json(instances):
    converted = coco_files([Entry(7, "a.jpg", "train", tuple(instances))], lambda name: (9, 9))
    annotations = json.loads(json.dumps(converted, allow_nan=False))["train"]["annotations"]
    assert len(annotations) == len(instances)
    for annotation, instance in zip(annotations, instances, strict=True):
        keypoints = annotation["keypoints"]
        assert (keypoints is None) == any(keypoint.number is None for keypoint in instance.keypoints)
        if keypoints is not None:
            assert len(keypoints) == 48
            assert annotation["num_keypoints"] == len({keypoint.number for keypoint in instance.keypoints})


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(1e-3, 50))
def test_a_box_returns_the_adjusted_center_and_scale(x, y, scale):
    center, size = box_to_center_scale(objpos_box((x, y), scale), (256, 256))
    np.testing.assert_allclose(center, [x - 1, y + 15 * scale - 1], rtol=0, atol=1e-8)
    np.testing.assert_allclose(size, 250 * scale, rtol=1e-12)


def test_the_category_is_the_skeleton():
    (category,) = coco_files([], lambda name: None)["train"]["categories"]
    assert tuple(category["keypoints"]) == MPII.keypoints
    assert category["skeleton"][0] == [1, 2]


def test_unknown_boxes_are_refused():
    with pytest.raises(ValueError, match="boxes must be one of"):
        coco_files([], lambda name: None, boxes="head")
