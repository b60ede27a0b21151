"""PoseTrack's files in COCO format: the reference conversion exactly, nobody lost, errors named."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.annotations import coco
from pipelines.annotations.posetrack import join_videos
from pipelines.errors import BuildError
from records.skeletons import POSETRACK
from tests.helpers.releases import frame, instance, read_videos, video
from tests.helpers.shared import shared_data

FULL_HD = (1920, 1080)


def full_hd(_):
    return FULL_HD


@pytest.mark.parametrize("split", ["val", "test"])
def test_equals_the_reference_conversion(split):
    golden = shared_data("golden", "posetrack")
    converted, filtered = join_videos(reversed(read_videos(golden / "annotations")), full_hd, split)
    expected = json.loads((golden / f"expected_{split}.json").read_text())
    areas = [[entry.pop("area", 0) for entry in data["annotations"]] for data in (converted, expected)]
    np.testing.assert_allclose(*areas, rtol=1e-9)
    assert converted == expected
    assert filtered == {}
    assert len(expected["annotations"]) == 14


def test_real_annotations_become_instances_of_the_real_images():
    folder = shared_data("dataset", "PoseTrack")

    def size_of(file_name):
        height, width, _ = cv2.imread(str(folder / file_name)).shape
        return width, height

    converted, _ = join_videos(read_videos(folder / "original_annotations/val"), size_of, "val")
    source = coco.read_ground_truth(json.loads(json.dumps(converted)), "converted", POSETRACK)
    assert [len(image.instances) for image in source.images] == [1, 2, 11]
    assert (source.filtered, source.rejected) == ({}, [])
    for image in source.images:
        for instances in image.instances:
            ears = [name.endswith("ear") for name in POSETRACK.keypoints]
            assert not np.reshape(instances.keypoints, (17, 3))[ears].any()


def test_every_field_of_the_dataset_is_kept():
    before = frame(10), instance(1, 10)
    converted, _ = join_videos([("a.json", video([before[0]], [before[1]]))], full_hd, "train")
    image, annotation = converted["images"][0], converted["annotations"][0]
    assert image == before[0] | {"width": 1920, "height": 1080, "coco_url": "invalid"}
    assert annotation == before[1] | {"area": 40 * 90.5, "iscrowd": 0, "num_keypoints": 15}
    converted, _ = join_videos(
        [("a.json", video([before[0]], [before[1] | {"iscrowd": "0"}]))], full_hd, "train"
    )
    assert converted["annotations"] == [annotation]


def test_order_is_that_of_the_files_names():
    files = [(name, video([frame(i)], [instance(i, i)])) for name, i in (("b", 1), ("c", 2), ("a", 3))]
    converted, _ = join_videos(files, full_hd, "train")
    assert [image["id"] for image in converted["images"]] == [3, 1, 2]
    assert [entry["id"] for entry in converted["annotations"]] == [3, 1, 2]
    assert join_videos(files[::-1], full_hd, "train")[0] == converted


def test_ears_never_count_even_if_a_file_says_so():
    entry = instance(1, 10)
    entry["keypoints"] = [5.0, 6.0, 1.0] * 17
    converted, _ = join_videos([("a", video([frame(10)], [entry]))], full_hd, "train")
    annotation = converted["annotations"][0]
    assert annotation["keypoints"][9:15] == [0] * 6
    assert annotation["num_keypoints"] == 15
    assert entry["keypoints"] == [5.0, 6.0, 1.0] * 17, "the input is not changed"


def test_frames_without_labels_stay_and_their_instances_are_counted():
    images = [frame(10), frame(11, is_labeled=False, has_labeled_person=True)]
    instances = [instance(1, 10), instance(2, 11, keypoints=[0] * 51), instance(3, 11)]
    converted, filtered = join_videos([("a", video(images, instances))], full_hd, "train")
    assert [image["id"] for image in converted["images"]] == [10, 11]
    assert [entry["id"] for entry in converted["annotations"]] == [1]
    assert filtered == {"unlabeled_frame": 2}


def test_the_test_split_may_have_no_annotations_at_all():
    converted, _ = join_videos([("a", {"images": [frame(10)]})], full_hd, "test")
    assert converted["annotations"] == []
    assert converted["categories"][0]["keypoints"] == list(POSETRACK.keypoints)
    with pytest.raises(BuildError, match=r'a is not in PoseTrack.*list "annotations"'):
        join_videos([("a", {"images": [frame(10)]})], full_hd, "val")


def test_an_image_that_cannot_be_read_keeps_its_place_and_its_instances():
    images = [
        frame(1),
        frame(2),
        frame(3, width=640, height=480),
        frame(4, vid_id="000002"),
        {"id": 5, "file_name": "5.jpg"},
    ]
    instances = [instance(n, n) for n in range(1, 6)]

    def size_of(file_name):
        return FULL_HD if file_name.endswith("000001.jpg") else None

    converted, filtered = join_videos([("a", video(images, instances))], size_of, "train")
    sizes = [(image["width"], image["height"]) for image in converted["images"]]
    assert sizes == [FULL_HD, FULL_HD, (640, 480), (0, 0), (0, 0)]
    assert len(converted["annotations"]) == 5
    assert filtered == {}


def test_the_images_own_size_beats_the_files():
    converted, _ = join_videos([("a", video([frame(1, width=3, height=4)], []))], full_hd, "train")
    assert (converted["images"][0]["width"], converted["images"][0]["height"]) == FULL_HD


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], 'b.json is not in PoseTrack\'s format: expected an object with a list "images"'),
        ({"annotations": []}, 'b.json is not in .*a list "images"'),
        ({"images": 3, "annotations": []}, 'b.json .*a list "images"'),
        ({"images": [frame(2)], "annotations": {}}, 'b.json .*a list "annotations"'),
        (video([frame(2), "x"], []), "b.json: entry 1 of 'images' is x, expected an object"),
        (video([{"file_name": "a"}], []), "b.json: entry 0 of 'images' .*whole number id and a file_name"),
        (video([{"id": 2}], []), "b.json: entry 0 of 'images' .*whole number id and a file_name"),
        (video([frame(2, is_labeled="no")], []), "b.json: entry 0 of 'images' has is_labeled 'no'"),
        (video([frame(2)], [None]), "b.json: entry 0 of 'annotations' is None, expected an object"),
        (video([frame(2), frame(2)], []), "b.json: entry 1 of 'images' has the id 2, which b.json: entry 0"),
        (
            video([frame(1)], []),
            "b.json: entry 0 of 'images' has the id 1, which a.json: entry 0 of 'images'",
        ),
        (
            video([frame(2)], [], categories=[{"keypoints": ["nose"]}]),
            "b.json: entry 0 of 'categories' has the keypoints .*nose.*; expected PoseTrack's: nose, head_b",
        ),
    ],
)
def test_a_file_that_is_something_else_is_named_with_the_place(data, message):
    with pytest.raises(BuildError, match=message):
        join_videos([("a.json", video([frame(1)], [])), ("b.json", data)], full_hd, "train")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@given(
    entries=st.lists(
        st.fixed_dictionaries(
            {"id": st.integers(0, 9)},
            optional={
                "image_id": st.integers(0, 4) | anything,
                "bbox": st.lists(st.floats(-5, 50), min_size=4, max_size=4) | anything,
                "keypoints": st.lists(st.integers(0, 2), min_size=51, max_size=51) | anything,
                "iscrowd": anything,
            },
        ),
        max_size=6,
    ),
    labeled=st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_whatever_is_wrong_with_instances_nobody_is_lost(entries, labeled):
    images = [frame(n, is_labeled=value) for n, value in enumerate(labeled)]
    converted, filtered = join_videos([("a", video(images, entries))], full_hd, "train")
    assert len(converted["annotations"]) + sum(filtered.values()) == len(entries)
    source = coco.read_ground_truth(converted, "a", POSETRACK)
    counted = sum(len(image.instances) for image in source.images) + len(source.rejected)
    assert counted + sum(source.filtered.values()) == len(converted["annotations"])
