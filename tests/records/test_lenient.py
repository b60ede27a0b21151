"""Annotation files of labeling tools, against the same files in strict COCO form."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evaluate.ground_truth import find_ground_truth, read_ground_truth
from hrpose.command import CommandError
from hrpose.json_checks import is_number
from pipelines.annotations.json_stream import Entries
from pipelines.annotations.source import read_source
from pipelines.build import build_records
from pipelines.errors import BuildError
from records.annotations.instance_checks import wrong_box, wrong_keypoints
from records.annotations.lenient import Lenient
from records.errors import RecordsError
from tests.helpers.builders import annotations, image, make_build, shard_bytes, write_json
from tests.helpers.sources import a_category, an_image, annotation, anything, everyone, some_of

HAND = {
    "id": 1,
    "name": "hand",
    "keypoints": ["wrist", "left_tip", "right_tip"],
    "sigmas": [0.05, 0.05, 0.05],
}
FOOT = {"id": 19, "name": "foot", "keypoints": ["heel", "toe"]}
POINTS = [110, 20, 2, 50, 60, 1, 80, 90, 2]
BOX = [40, 10, 100, 90]


def hand(instance_id, image_id, **changes):
    one = {"id": instance_id, "image_id": image_id, "category_id": 1, "keypoints": POINTS, "bbox": BOX}
    return one | {"area": 5000, "iscrowd": 0} | changes


def data_of(instances, images=(1, 2), categories=(HAND,)):
    images = [one if isinstance(one, dict) else image(one, 160, 120, f"{one}.jpg") for one in images]
    return {"images": images, "annotations": instances, "categories": list(categories)}


def build_of(folder, data, **changes):
    """A `Build` of custom data, whose images of 160 x 120 pixels are drawn where they are not there."""
    write_json(folder / "train.json", data)
    (folder / "photos").mkdir(exist_ok=True)
    for entry in data["images"]:
        path = folder / "photos" / Path(entry.get("file_name") or "none.jpg").name
        if not path.exists():
            cv2.imwrite(str(path), np.full((120, 160, 3), 90, np.uint8))
    custom = {
        "dataset": "custom",
        "skeleton": None,
        "lenient": True,
        "annotations": str(folder / "train.json"),
    }
    return make_build(folder, folder / "out", **custom | {"images": str(folder / "photos")} | changes)


def read(folder, data, **changes):
    """(`Source`, list of what was warned of)."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        source = read_source(build_of(folder, data, **changes))
    return source, [str(one.message) for one in warned]


def told(folder, data, **changes):
    """{(image id, instance id): (box, keypoints)} of the instances, and what was warned of."""
    source, warned = read(folder, data, **changes)
    assert source.rejected == []
    instances = {
        (image.image_id, one.instance_id): (one.box, one.keypoints)
        for image in source.images
        for one in image.instances
    }
    return instances, warned


def test_a_file_in_strict_form_is_read_as_ever_and_without_a_word(tmp_path):
    instances, warned = told(tmp_path, data_of([hand(5, 1), hand(3, 2)]))
    assert instances == {
        (1, 5): (pytest.approx([40, 10, 99, 89]), POINTS),
        (2, 3): (instances[2, 3][0], POINTS),
    }
    assert warned == []


# ---- categories


def test_categories_with_the_same_keypoints_are_one(tmp_path):
    other = HAND | {"id": 2, "name": "other hand"}
    instances, warned = told(
        tmp_path, data_of([hand(1, 1), hand(2, 2, category_id=2)], categories=[HAND, other])
    )
    assert len(instances) == 2
    (said,) = warned
    assert "2 categories have the same keypoints and count as one: hand (id 1), other hand (id 2)" in said
    chosen, warned = told(
        tmp_path,
        data_of([hand(1, 1), hand(2, 2, category_id=2)], categories=[HAND, other]),
        category="other hand",
    )
    assert [*chosen] == [(2, 2)]
    assert warned == []


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: {"1": one}, lambda one: {"x": one, "y": FOOT}])
def test_categories_may_be_an_object(tmp_path, wrap):
    expected, _ = told(tmp_path, data_of([hand(1, 1)]))
    source, _ = read(tmp_path, data_of([hand(1, 1)]) | {"categories": wrap(HAND)})
    assert list(source.skeleton.keypoints) == HAND["keypoints"]
    assert told(tmp_path, data_of([hand(1, 1)]) | {"categories": wrap(HAND)})[0] == expected


def test_categories_may_have_text_for_ids(tmp_path):
    named = [FOOT | {"id": 1}, HAND | {"id": "hand"}]
    instances, warned = told(tmp_path, data_of([hand(1, 1, category_id="hand")], categories=named))
    assert [*instances] == [(1, 1)]
    assert "the category with keypoints has the id 'hand', here it is 2" in warned


@pytest.mark.parametrize("names", [{"0": "wrist"}, "wrist,left_tip,right_tip"])
def test_names_in_another_form_are_not_called_none(tmp_path, names):
    with pytest.raises(RecordsError, match=r'"keypoints" of the category hand .* must be a list of names'):
        read(tmp_path, data_of([hand(1, 1)], categories=[HAND | {"keypoints": names}]))


def test_the_only_category_that_is_annotated_is_taken(tmp_path):
    unlabeled = {"id": 9, "image_id": 1, "category_id": 19, "keypoints": [0] * 6, "bbox": BOX}
    source, warned = read(tmp_path, data_of([hand(1, 1), unlabeled], categories=[FOOT, HAND]))
    assert source.skeleton.keypoints == tuple(HAND["keypoints"])
    assert (source.count, source.filtered) == (1, {"other_category": 1})
    assert "only hand (id 1) is annotated and taken, not foot (id 19)" in warned[0]


def test_of_several_annotated_ones_the_user_chooses(tmp_path):
    foot = {"id": 9, "image_id": 1, "category_id": 19, "keypoints": [50, 50, 2, 70, 70, 2], "bbox": BOX}
    data = data_of([hand(1, 1), hand(2, 1), foot], categories=[FOOT, HAND])
    with pytest.raises(
        RecordsError, match=r"foot \(id 19\): 2 keypoints, 1 .*hand \(id 1\): .* 2 .*--category"
    ):
        read(tmp_path, data)
    for name, count in (("hand", 2), ("1", 2), ("19", 1), ("foot", 1)):
        assert read(tmp_path, data, category=name)[0].count == count
    with pytest.raises(RecordsError, match=r"--category=face: .* has none of that name or id; it has foot"):
        read(tmp_path, data, category="face")


def test_without_names_there_are_as_many_keypoints_as_in_the_annotations(tmp_path):
    nameless = {"id": 1, "name": "hand", "keypoints": [], "skeleton": []}
    for categories in ([nameless], [{"id": 1, "name": "hand"}], [], [{"id": 4, "name": "car"}]):
        source, warned = read(tmp_path, data_of([hand(1, 1), hand(2, 2)], categories=categories))
        assert source.skeleton.keypoints == ("k0", "k1", "k2")
        assert source.count == 2
        assert any("3, as in the annotations, called k0 to k2" in said for said in warned)


def test_without_names_two_numbers_for_each_keypoint_can_be_told(tmp_path):
    source, _ = read(tmp_path, data_of([hand(1, 1, keypoints=[110, 20, 50, 60, 80, 90])], categories=[]))
    assert (source.skeleton.num_keypoints, source.count) == (3, 1)


def test_without_names_one_broken_list_does_not_decide(tmp_path):
    for broken in ([1, 1, 2], [1, 1, 2] * 7):
        instances = [hand(1, 1, keypoints=broken), hand(2, 1), hand(3, 2)]
        source, _ = read(tmp_path, data_of(instances, categories=[{"id": 1, "keypoints": []}]))
        assert (source.skeleton.num_keypoints, source.count, len(source.rejected)) == (3, 2, 1)


@pytest.mark.parametrize("category", [None, "missing"])
def test_annotations_without_a_category_are_of_the_only_one(tmp_path, category):
    instance = hand(1, 1, category_id=category)
    if category:
        del instance["category_id"]
    for categories in ([HAND], [HAND, FOOT], [HAND, HAND | {"id": 2}], [{"id": 3, "name": "x"}], []):
        instances = [instance, hand(2, 1)] if len(categories) > 1 else [instance]
        if categories == [HAND, FOOT]:  # of which of the two is it?
            with pytest.raises(RecordsError, match=r"hand .* 2 annotations; foot .* 1 annotations"):
                read(tmp_path, data_of(instances, categories=categories))
            continue
        source, _ = read(tmp_path, data_of(instances, categories=categories))
        assert (source.count, source.skeleton.num_keypoints) == (len(instances), 3)
    five = HAND | {"keypoints": [*HAND["keypoints"], "a", "b"]}
    with pytest.raises(RecordsError, match="3 keypoints each, their category names 5"):
        read(tmp_path, data_of([instance], categories=[five]))


def test_without_names_categories_of_other_numbers_have_to_be_chosen(tmp_path):
    categories = [{"id": 1, "name": "hand"}, {"id": 2, "name": "foot"}]
    data = data_of([hand(1, 1), hand(2, 1, category_id=2, keypoints=[9, 9, 2])], categories=categories)
    with pytest.raises(RecordsError, match=r"no category names its keypoints.*--category"):
        read(tmp_path, data)
    source, _ = read(tmp_path, data, category="foot")
    assert (source.skeleton.num_keypoints, source.count) == (1, 1)


def test_other_numbers_of_names_than_of_keypoints_are_told_in_one_line(tmp_path):
    five = HAND | {"keypoints": [*HAND["keypoints"], "a", "b"], "sigmas": [0.05] * 5}
    with pytest.raises(
        RecordsError, match="annotations have 3 keypoints each, their category names 5; --skel"
    ):
        read(tmp_path, data_of([hand(1, 1), hand(2, 2)], categories=[five]))


def test_more_names_than_cocos_are_told_what_takes_them(tmp_path):
    category = annotations([], [])["categories"][0]
    category = category | {"keypoints": [*category["keypoints"], "finger", "toe"]}
    data = data_of([hand(1, 1, keypoints=[20, 20, 2] * 17)], categories=[category])
    with pytest.raises(
        RecordsError, match=r"17 keypoints each, their category names 19; .*--dataset coco takes"
    ):
        read(tmp_path, data)
    coco = make_build(tmp_path, tmp_path / "out", annotations=str(tmp_path / "train.json"))
    with pytest.warns(UserWarning, match="names 19 keypoints; the first 17 are those of coco and taken"):
        assert read_source(coco).count == 1


@pytest.mark.parametrize("lenient", [True, False])
def test_annotations_of_another_category_are_told_with_both_ids(tmp_path, lenient):
    instances = [hand(1, 1, category_id=0), hand(2, 2, category_id=0)]
    with pytest.raises(BuildError, match="has the id 1, and no annotation has it: 2 of category_id 0"):
        read(tmp_path, data_of(instances), lenient=lenient)


# ---- ids


def test_whole_numbers_may_be_written_as_floats_or_text(tmp_path):
    images = [image(1.0, 160, 120, "1.jpg"), image("2", 160, 120, "2.jpg")]
    instances = [hand(5.0, 1), hand("6", "2", category_id=1.0), hand(7, 2)]
    found, warned = told(tmp_path, data_of(instances, images))
    assert [*found] == [(1, 5), (2, 6), (2, 7)]
    assert warned == ['4 images or annotations have ids such as 1.0 or "1": read as whole numbers']


@pytest.mark.parametrize("missing", [None, "a", "", 2**64, [1]])
def test_annotations_without_ids_are_numbered_by_their_place(tmp_path, missing):
    instances = [hand(7, 1), hand(missing, 1), hand(7, 2)]
    found, warned = told(tmp_path, data_of(instances))
    assert [*found] == [(1, 1), (1, 2), (2, 3)]
    (said,) = warned
    assert said.startswith("1 annotations have no id, or one that is no whole number: all are numbered")


def test_images_with_text_for_ids_are_numbered_by_their_place(tmp_path):
    images = [image("img1", 160, 120, "1.jpg"), image(1, 160, 120, "2.jpg"), image("07", 160, 120, "3.jpg")]
    instances = [hand(1, "img1"), hand(2, 1), hand(3, 7), hand(4, "07")]
    source, warned = read(tmp_path, data_of(instances, images))
    assert [(p.image_id, p.file_name, len(p.instances)) for p in source.images] == [
        (1, "1.jpg", 1),
        (2, "2.jpg", 1),
        (3, "3.jpg", 2),
    ]
    assert "2 images have an id that is no whole number: all are numbered by their place" in warned[0]
    # A number that was nobody's id is not one of the new ones.
    strays = [hand(1, "img1"), hand(2, 3), hand(3, "img9")]
    source, _ = read(tmp_path, data_of(strays, images))
    assert [entry["reason"] for entry in source.rejected] == ["unknown_image"] * 2


def test_annotations_may_name_the_file_in_place_of_the_id(tmp_path):
    images = [image(11, 160, 120, "a/one.jpg"), image(12, 160, 120, "b/two.jpg"), image(13, 1, 1, "b/x.jpg")]
    instances = [hand(1, "one.jpg"), hand(2, "b/two.jpg"), hand(3, "two"), hand(4, 11), hand(5, "three")]
    source, warned = read(tmp_path, data_of(instances, images))
    assert [(p.image_id, everyone_of(p)) for p in source.images] == [(11, [1, 4]), (12, [2, 3])]
    assert [(entry["image_id"], entry["reason"]) for entry in source.rejected] == [("three", "unknown_image")]
    assert "3 annotations have the name of an image's file in place of its id" in warned


def test_a_files_name_without_its_suffix_is_meant_before_the_number_that_it_spells(tmp_path):
    images = [image(n, 160, 120, f"{n + 1:04}.jpg") for n in range(3)]
    instances = [hand(1, "0001"), hand(2, "0003"), hand(3, 1), hand(4, "1")]
    source, warned = read(tmp_path, data_of(instances, images))
    assert [(p.file_name, everyone_of(p)) for p in source.images] == [
        ("0001.jpg", [1]),
        ("0002.jpg", [3, 4]),
        ("0003.jpg", [2]),
    ]
    assert "2 annotations have the name of an image's file in place of its id" in warned


def test_text_that_may_be_a_files_name_or_another_files_id_is_refused(tmp_path):
    images = [image(1, 160, 120, "2.jpg"), image(2, 160, 120, "1.jpg")]
    with pytest.raises(
        RecordsError, match=r'train.json: the image id "1", a text, may be the number of 2.jpg'
    ):
        read(tmp_path, data_of([hand(1, "1"), hand(2, "2")], images))


def test_numbers_may_be_text(tmp_path):
    def as_text(values):
        return list(map(str, values))

    instances = [hand(1, 1), hand(2, 2)]
    changed = [entry | {name: as_text(entry[name]) for name in ("bbox", "keypoints")} for entry in instances]
    images = [image(n, 160, 120, f"{n}.jpg") for n in (1, 2)]
    images[1] |= {"width": "160", "height": "120.0"}
    expected, _ = told(tmp_path, data_of(instances))
    received, warned = told(tmp_path, data_of(changed, images))
    assert received == expected
    said = [one for one in warned if "text" in one]
    assert said == [
        '3 images or annotations have text in the place of numbers, such as "640": read as numbers'
    ]


def test_visibilities_that_say_nothing_are_called_so_and_never_taken_for_coordinates(tmp_path):
    instances = [hand(1, 1, keypoints=[30, 40, 0.9, 50, 60, 0.8, 70, 45, 0.7, 33, 44, 1])]
    for names in ([], ["a", "b", "c", "d"]):
        category = {"id": 1, "name": "hand", "keypoints": names}
        source, _ = read(tmp_path, data_of(instances, categories=[category]))
        ((reason, detail),) = [(entry["reason"], entry["detail"]) for entry in source.rejected]
        assert (reason, detail[:31]) == ("bad_keypoints", "visibility must be 0, 1 or 2, r")


@pytest.mark.parametrize("area", [0, -1, "0"])
def test_an_area_of_nothing_is_that_of_the_box(tmp_path, area):
    source, warned = read(tmp_path, data_of([hand(1, 1, area=area), hand(2, 2, area=None)]))
    (area, of_box) = (one.area for one in everyone(source))
    assert area == of_box > 0
    assert "1 annotations have an area of 0 or less: it is that of their box" in warned


def test_text_that_spells_one_number_twice_is_two_images(tmp_path):
    images = [image("01", 160, 120, "a.jpg"), image("1", 160, 120, "b.jpg")]
    source, _ = read(tmp_path, data_of([hand(1, "1"), hand(2, "01")], images))
    assert [(p.image_id, p.file_name, everyone_of(p)) for p in source.images] == [
        (1, "a.jpg", [2]),
        (2, "b.jpg", [1]),
    ]


def everyone_of(image):
    return [one.instance_id for one in image.instances]


def test_a_detectors_boxes_find_the_images_and_categories_that_were_numbered(tmp_path):
    other = HAND | {"id": 2, "name": "other hand"}
    images = [image("img1", 0, 0, "1.jpg"), image("img2", 160, 120, "2.jpg")]
    write_json(
        tmp_path / "found.json",
        [
            {"image_id": "img2", "category_id": 2, "bbox": BOX, "score": 0.5},
            {"image_id": "img1", "category_id": 1, "bbox": BOX, "score": 0.6},
            {"image_id": 2, "category_id": 1, "bbox": BOX, "score": 0.6},
        ],
    )
    boxes = {"boxes": "detections", "detections": str(tmp_path / "found.json")}
    source, warned = read(tmp_path, data_of([hand(1, "img1")], images, [HAND, other]), **boxes)
    assert [(p.image_id, p.width, everyone_of(p)) for p in source.images] == [(1, 160, [1]), (2, 160, [0])]
    assert source.filtered == {"image_of_another_split": 1}
    assert any("1 images have no width and height" in said for said in warned)
    source, _ = read(
        tmp_path, data_of([hand(1, "img1")], images, [HAND, other]), **boxes, detection_category=2
    )
    assert [(p.image_id, everyone_of(p)) for p in source.images] == [(2, [0])]


# ---- images


def test_sizes_that_are_not_stated_are_those_of_the_files(tmp_path):
    images = [image(n, 160, 120, f"{n}.jpg") for n in range(1, 6)]
    del images[0]["width"], images[0]["height"]
    images[1] |= {"width": 0, "height": 0}
    images[2] |= {"width": None, "height": None}
    images[3] |= {"width": "wide", "height": float("nan")}
    source, warned = read(tmp_path, data_of([hand(n, n) for n in range(1, 6)], images))
    assert [(p.width, p.height, p.size_stated) for p in source.images] == [
        (160, 120, n == 5) for n in range(1, 6)
    ]
    # Boxes are cut to a size from a header as to one from the file.
    assert len({tuple(one.box) for one in everyone(source)}) == 1
    (said,) = warned
    assert said.startswith("4 images have no width and height in the file: these are read from the headers")


def test_an_image_that_is_not_there_costs_its_instances_and_nothing_else(tmp_path):
    data = data_of([hand(1, 1), hand(2, 2)], [image(1, 0, 0, "1.jpg"), image(2, 0, 0, "2.jpg")])
    build = build_of(tmp_path, data, max_bad_fraction=1)
    (tmp_path / "photos/2.jpg").unlink()
    manifest = build_records(build)
    assert (manifest.records, manifest.rejected) == (1, {"missing_image": 1})


@pytest.mark.parametrize(
    "entry",
    [
        *(None, 5, {}, {"id": 9}, {"file_name": "x.jpg"}, {"id": None, "file_name": "x.jpg"}),
        *(image(9) | {"width": "a"}, image(9, file_name=7), image(9) | {"id": [9]}),
    ],
)
def test_an_image_that_nobody_uses_never_refuses_a_file(tmp_path, entry):
    write = data_of([hand(1, 1)])
    folder_of = build_of(tmp_path, write)
    write_json(tmp_path / "train.json", write | {"images": [entry, *write["images"], entry]})
    assert read_source(folder_of).count == 1


def test_two_unused_images_may_have_one_id_but_used_ones_may_not(tmp_path):
    images = [image(1, 160, 120, "1.jpg"), image(9, 1, 1, "a.jpg"), image(9, 1, 1, "b.jpg")]
    assert read(tmp_path, data_of([hand(1, 1)], images))[0].count == 1
    with pytest.raises(BuildError, match=r"two images have the id 9: a\.jpg and b\.jpg"):
        read(tmp_path, data_of([hand(1, 9)], images))


# ---- keypoints and boxes


def test_keypoints_of_every_form_give_the_same_instances(tmp_path):
    instances = [
        hand(1, 1),
        hand(2, 1, keypoints=[[110, 20, 2], [50, 60, 1], [80, 90, 2]]),
        hand(3, 1, keypoints=[110, 20, 50, 60, 80, 90]),
        hand(4, 1, keypoints=[110, 20, True, 50, 60, False, 80, 90, True]),
        hand(5, 1, keypoints=[110, 20, 2, None, float("nan"), -1, 80, 90, 2]),
    ]
    found, warned = told(tmp_path, data_of(instances))
    assert [keypoints for _, keypoints in found.values()] == [
        POINTS,
        POINTS,
        [110, 20, 2, 50, 60, 2, 80, 90, 2],
        [110, 20, 2, 0, 0, 0, 80, 90, 2],
        [110, 20, 2, 0, 0, 0, 80, 90, 2],
    ]
    assert sorted(said.split()[0] for said in warned) == ["1", "1", "2"]


def test_keypoints_that_are_null_are_none(tmp_path):
    source, warned = read(tmp_path, data_of([hand(1, 1), hand(2, 1, keypoints=None)]))
    assert (source.count, source.filtered, source.rejected) == (1, {"no_keypoints": 1}, [])
    assert warned == ["1 annotations say that their keypoints are null: nothing is labeled"]


@pytest.mark.parametrize("box", [None, [], [0, 0, 0, 0], [110, 20, 0, 70], [float("nan")] * 4])
def test_who_has_no_box_has_that_of_the_keypoints(tmp_path, box):
    instances = [hand(1, 1, bbox=box, area=0), hand(2, 1)]
    source, warned = read(tmp_path, data_of(instances))
    one, other = everyone(source)
    assert one.box == pytest.approx([44, 13, 71, 83])  # one less each, as all that are cut
    assert one.area == pytest.approx(71 * 83)
    assert other.area == 5000
    (said,) = warned
    assert said.startswith("1 annotations have no box, or one without extent: it is that of the labeled")
    assert said.endswith("10% larger on every side, and at least 32 x 32 pixels")


def test_a_box_that_is_broken_or_has_no_keypoints_beside_it_is_still_rejected(tmp_path):
    instances = [hand(1, 1, bbox=[1, 2, 3]), hand(2, 1, bbox=None, keypoints=[1, 1, 7] * 3), hand(3, 1)]
    source, _ = read(tmp_path, data_of(instances))
    assert [entry["reason"] for entry in source.rejected] == ["bad_box", "bad_box"]


def test_a_dataset_of_single_points_is_built(tmp_path):
    ball = {"id": 1, "name": "ball", "keypoints": ["centre"]}
    instances = [hand(n, n, keypoints=[80, 60, 2], bbox=[80, 60, 0, 0], area=0) for n in (1, 2)]
    manifest = build_records(build_of(tmp_path, data_of(instances, categories=[ball])))
    assert (manifest.records, manifest.skeleton.num_keypoints, manifest.rejected) == (2, 1, {})


# ---- the whole way


def strict_and_lenient(first_id=1):
    """The same instances twice: in strict form, and as several tools would write them."""
    rng = np.random.default_rng(first_id)
    names, strict, lenient = [], [], []
    for place in range(1, 7):
        names.append(f"{first_id + place}.jpg")
        points = np.concatenate([rng.uniform(20, 100, (3, 2)).round(1), np.full((3, 1), 2)], axis=1)
        written = [[x, y, True] for x, y, _ in points.tolist()]
        low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
        size = np.maximum((high - low) * 1.2, 32)
        box = [*((low + high - size) / 2).tolist(), *size.tolist()]
        if place == 2:
            points[1], written[1] = 0, [None, None, False]
            box = BOX
        strict.append(hand(place, place, keypoints=points.ravel().tolist(), bbox=box, area=900 + place))
        lenient.append(
            strict[-1] | {"id": f"one {place}", "image_id": names[-1][:-4] + "x", "keypoints": written}
        )
        lenient[-1] |= {"category_id": f"{place % 2 + 1}", "iscrowd": "0"}
        if place != 2:
            del lenient[-1]["bbox"]
    images = [image(place, 160, 120, name) for place, name in enumerate(names, 1)]
    odd = [{"id": name[:-4] + "x", "file_name": name} for name in names]
    other = HAND | {"id": 2, "name": "other"}
    return data_of(strict, images, [dict(HAND)]), data_of(lenient, odd, [dict(HAND), other])


def test_lenient_and_strict_files_give_the_same_records_and_the_same_ground_truth(tmp_path):
    read = []
    for name, data in zip(("strict", "lenient"), strict_and_lenient(), strict=True):
        (tmp_path / name).mkdir()
        build = build_of(tmp_path / name, data)
        manifest = build_records(build)
        assert (manifest.records, manifest.rejected) == (6, {})
        ground_truth = find_ground_truth(manifest, Path(build.annotations))
        assert (
            ground_truth.unusable,
            ground_truth.category,
            ground_truth.labeled,
            ground_truth.has_areas,
        ) == (0, 1, True, True)
        read.append((shard_bytes(build.folder), ground_truth))
    (shards, ground_truth), (other_shards, other_ground_truth) = read
    assert shards == other_shards
    assert [*ground_truth.instances] == [*other_ground_truth.instances]
    for one, other in zip(
        ground_truth.content["annotations"], other_ground_truth.content["annotations"], strict=True
    ):
        for key in ("id", "image_id", "category_id", "area", "iscrowd", "num_keypoints"):
            assert one[key] == other[key]
        np.testing.assert_allclose(one["bbox"], other["bbox"])
        assert one["keypoints"] == other["keypoints"]
    assert [one["id"] for one in ground_truth.content["images"]] == [
        one["id"] for one in other_ground_truth.content["images"]
    ]


def test_the_category_of_the_build_is_that_of_the_evaluation(tmp_path):
    foot = {"id": 9, "image_id": 1, "category_id": 19, "keypoints": [50, 50, 2, 70, 70, 2], "bbox": BOX}
    data = data_of([hand(1, 1), hand(2, 1), foot], categories=[FOOT | {"sigmas": [0.1, 0.1]}, HAND])
    build = build_of(tmp_path, data, category="foot")
    ground_truth = find_ground_truth(build_records(build), Path(build.annotations))
    assert ([*ground_truth.instances], ground_truth.category) == ([9], 19)


# ---- anything at all

a_number = st.floats(0, 60) | st.integers(0, 60) | st.none() | st.just(float("nan"))
a_visibility = st.sampled_from([0, 1, 2, -1, True, False, None, float("nan"), 2.0])
some_keypoints = st.one_of(
    *(
        st.lists(kind, min_size=3, max_size=3)
        for kind in (
            st.tuples(a_number, a_number, a_visibility).map(list),
            st.tuples(a_number, a_number).map(list),
            st.none() | st.tuples(a_number, a_number, a_visibility).map(list),
        )
    ),
)
an_odd_id = st.integers(1, 3) | st.sampled_from([1.0, 2.0, "1", "2", "a", "02", None])
odd = some_of(
    {
        "id": an_odd_id,
        "image_id": an_odd_id,
        "category_id": st.sampled_from([1, 1, 1.0, "1", 2, None]),
        "keypoints": some_keypoints
        | some_keypoints.map(lambda rows: [n for row in rows if row for n in row]),
        "bbox": st.sampled_from([BOX, None, [], [1, 2, 0, 0]]),
        "area": st.sampled_from([0, 50, None]),
        "iscrowd": st.sampled_from([0, 1, "0", "1"]),
    }
)
an_odd_image = st.builds(
    lambda one, changes: one | changes,
    st.builds(image, st.integers(1, 3)),
    some_of({"id": an_odd_id, "width": st.sampled_from([0, None, 64]), "height": st.sampled_from([0, 64])}),
)
a_file = some_of(
    {
        "images": anything | st.lists(an_image | an_odd_image, max_size=3),
        "annotations": anything | st.lists(annotation | odd, max_size=4),
        "categories": anything | st.lists(a_category | st.just(HAND), max_size=3),
    }
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(anything | a_file, st.none() | st.sampled_from(["person", "1", "hand"]))
def test_any_file_is_read_or_refused_and_the_evaluation_sees_the_instances_of_the_build(path, data, category):
    build = replace(
        make_build(path, path / "out", dataset="custom", lenient=True, category=category, skeleton=None),
        annotations=str(path / "any.json"),
    )
    write_json(path / "any.json", data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = read_source(build)
    except CommandError as error:
        assert "any.json" in str(error)  # noqa: PT017
        return
    counted = source.count + sum(source.filtered.values()) + len(source.rejected)
    assert counted == len(data["annotations"])
    for one in everyone(source):
        assert wrong_box(one.box) is None
        assert wrong_keypoints(one.keypoints, source.skeleton.num_keypoints) is None
        assert is_number(one.area)
    content = Lenient(json.loads((path / "any.json").read_text()), path, category, source.skeleton).content
    ground_truth = read_ground_truth(path, content, source.skeleton)
    assert ground_truth.instances.keys() == {one.instance_id for one in everyone(source)}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(an_image | an_odd_image, max_size=3),
    st.lists(annotation | odd, max_size=4),
    st.lists(a_category | st.just(HAND), max_size=3),
)
def test_lists_that_are_kept_as_text_are_read_as_parsed_ones(images, instances, categories):
    attempts = []
    for kind in (list, Entries):
        try:
            data = {"images": kind(images), "annotations": kind(instances), "categories": categories}
            lenient = Lenient(data, "a.json")
        except CommandError as error:
            attempts.append(str(error))
            continue
        content = {name: list(entries) for name, entries in lenient.content.items()}
        attempts.append(repr([content, lenient.used, lenient.assumptions()]))
    assert attempts[0] == attempts[1]


@pytest.mark.slow
def test_lenient_and_strict_files_end_in_the_same_ap(tmp_path, small_networks):
    from evaluate.run import evaluate_run
    from tests.helpers.small_evaluations import small_evaluation
    from tests.helpers.small_runs import INPUT_SIZE, small_options
    from train.loop import train

    measured = []
    for kind in (0, 1):
        folder = tmp_path / str(kind)
        for split, first in (("train", 1), ("val", 101)):
            data = strict_and_lenient(first)[kind]
            for category in data["categories"]:
                category["sigmas"] = [0.9] * 3  # a network that has learned next to nothing finds somebody
            (folder / split).mkdir(parents=True)
            build = build_of(folder / split, data, split=split, crop={"input_size": INPUT_SIZE})
            build_records(replace(build, folder=str(folder / "records" / split)))
        options = small_options(folder / "records", folder / "run", dataset="custom", epochs=1, batch_size=4)
        train(options)
        measured.append(evaluate_run(small_evaluation(options, split="val", boxes="ground_truth")))
    assert measured[0] == measured[1]
    assert measured[0]["AP"] > 0
