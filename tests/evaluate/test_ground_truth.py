"""What the evaluation takes from an annotation file: whom the build takes, in a form no metric fails on."""

import hashlib
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evaluate.ground_truth import find_ground_truth, read_ground_truth
from evaluate.metrics.coco import evaluate_coco
from records.errors import RecordsError
from records.skeletons import COCO
from tests.helpers.builders import annotations, image, instance
from tests.helpers.sources import BOX, annotation, everyone, ground_truth, some_of
from tests.helpers.sources import anything as any_value

HUGE = 10**29  # more than int64 holds; NumPy makes an object of it
IMAGES = [image(1, 160, 120), image(2, 160, 120)]


def read(instances, image_ids=None, clean_boxes=True, **changes):
    data = annotations(IMAGES, instances) | changes
    return read_ground_truth(Path("truth.json"), data, COCO, image_ids, clean_boxes=clean_boxes)


def keypoints_with(value):
    return [value, *instance(1, 1, BOX)["keypoints"][1:]]


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None},
        {"id": [3]},
        {"id": True},
        {"image_id": None},
        {"image_id": [1]},
        {"image_id": 3},
        {"bbox": [HUGE, 2, 3, 4]},
        {"bbox": [1, 2, 0, 4]},
        {"bbox": "1234"},
        {"keypoints": keypoints_with(HUGE)},
        {"keypoints": keypoints_with(None)},
        {"keypoints": [1, 1, 7] * 17},
        {"keypoints": [1, 1, 2]},
    ],
)
def test_whom_the_build_rejects_the_metric_does_not_miss(changes):
    instances = [instance(1, 1, BOX), instance(2, 2, BOX) | changes]
    assert len(ground_truth(annotations(IMAGES, instances)).rejected) == 1
    found = read(instances)
    assert (found.unusable, list(found.instances), len(found.content["annotations"])) == (1, [1], 1)


@pytest.mark.parametrize("entry", [None, 5, "person", [1], {}])
def test_what_is_no_annotation_is_counted(entry):
    found = read([entry, instance(1, 1, BOX)])
    assert (found.unusable, list(found.instances)) == (1, [1])


@pytest.mark.parametrize("area", [HUGE, None, "12", float("nan"), True])
def test_an_area_that_is_none_is_the_boxs(area):
    found = read([instance(1, 1, BOX, area=area)])
    assert found.instances[1]["area"] == 20 * 30
    assert not found.has_areas
    assert read([instance(1, 1, BOX)]).has_areas


def test_of_two_instances_with_one_id_the_first_counts_as_in_the_build():
    instances = [instance(1, 1, BOX), instance(1, 1, [60, 50, 30, 40]), instance(2, 2, BOX)]
    found = read(instances)
    assert (found.unusable, found.listed) == (1, (1, 2))
    built = everyone(ground_truth(annotations(IMAGES, instances), clean_boxes=False))
    assert found.instances[1]["bbox"] == BOX == built[0].box
    assert [p["id"] for p in found.content["annotations"]] == [1, 2]


def test_of_two_instances_with_one_id_the_first_whose_box_is_in_its_image_counts_as_in_the_build():
    instances = [instance(1, 1, [500, 12, 20, 30]), instance(1, 2, BOX), instance(1, 1, BOX)]
    found = read(instances)
    ((one,),) = (image.instances for image in ground_truth(annotations(IMAGES, instances)).images)
    assert (one.instance_id, found.instances[1]["image_id"], found.unusable) == (1, 2, 2)
    assert read(instances, clean_boxes=False).instances[1]["image_id"] == 1


def test_crowds_and_instances_without_keypoints_or_area_hold_no_id():
    others = [{"iscrowd": 1}, {"keypoints": [0] * 51}, {"area": 0}, {"image_id": 2}]
    instances = [*(instance(1, 1, BOX) | other for other in others), instance(1, 1, [60, 50, 30, 40])]
    found = read(instances, image_ids=frozenset({1}))
    assert (found.unusable, len(found.content["annotations"])) == (0, 5)
    assert found.instances[1]["bbox"] == [60, 50, 30, 40]


@pytest.mark.parametrize(
    ("value", "crowd"),
    [(None, 0), (0, 0), ("", 0), ("0", 0), ("false", 0), (1, 1), ("1", 1), (True, 1), ([0], 1)],
)
def test_crowds_are_marked_by_one_and_others_by_zero(value, crowd):
    instances = [instance(1, 1, BOX, iscrowd=value), instance(2, 2, BOX)]
    found = read(instances)
    assert [p["iscrowd"] for p in found.content["annotations"]] == [crowd, 0]
    for content in (found.content, annotations(IMAGES, instances)):
        assert evaluate_coco(content, [])["AP"] == 0


@pytest.mark.parametrize("stated", [0, 3, -1, HUGE, None, "17", [2]])
def test_labeled_keypoints_are_counted_whatever_the_file_says(stated):
    instances = [instance(1, 1, BOX, num_keypoints=stated)]
    assert read(instances).instances[1]["num_keypoints"] == 17
    assert evaluate_coco(annotations(IMAGES, instances), [])["AP"] == 0  # one to find: not undefined


@pytest.mark.parametrize("categories", [None, 5, {}, [], [7, {"id": 3, "keypoints": "nose"}]])
def test_a_list_of_images_may_have_any_categories(categories):
    found = read([], categories=categories, annotations=None)
    assert (found.category, found.labeled, found.content["annotations"]) == (1, False, [])


def test_everybody_is_listed_in_the_order_of_the_validation_list():
    rows = {5: 2, 6: 0, 7: None, 8: [1], 9: 1, 4: HUGE}
    instances = [instance(one, 1, BOX, list_row=row) for one, row in rows.items()]
    instances[1]["keypoints"] = None
    found = read([*instances, instance(9, 1, BOX, list_row=0), instance([5], 1, BOX, list_row=0)])
    assert found.listed == (6, 9, 5, 4, 7, 8)
    assert 6 not in found.instances


flawed = st.builds(
    lambda one, change: one | change,
    st.builds(instance, st.integers(1, 4), st.integers(1, 3), st.just(BOX)),
    some_of({"id": any_value, "iscrowd": any_value, "area": any_value, "num_keypoints": any_value}),
)


@given(st.lists(annotation | flawed, max_size=6), st.sampled_from([None, frozenset({1})]), st.booleans())
@example([instance(1, 1, BOX, area=0), instance(1, 1, [1, 2, 3, 4])], None, False)
@example([instance(1, 1, [500, 12, 20, 30]), instance(1, 2, BOX)], None, True)
@example([instance(1, 1, [500, 12, 20, 30]), instance(1, 2, BOX)], None, False)
def test_the_instances_are_those_of_the_build(instances, image_ids, clean_boxes):
    built = ground_truth(annotations(IMAGES, instances), clean_boxes=clean_boxes, image_ids=image_ids)
    found = read(instances, image_ids, clean_boxes)
    expected = {one.instance_id: (image.image_id, one) for image in built.images for one in image.instances}
    assert found.instances.keys() == expected.keys()
    for number, (image_id, one) in expected.items():
        instance = found.instances[number]
        assert (instance["image_id"], instance["keypoints"]) == (image_id, one.keypoints)
        if not clean_boxes:
            assert (instance["bbox"], instance["area"]) == (one.box, one.area)
    assert found.instances.keys() <= set(found.listed)
    assert all(p in found.content["annotations"] for p in found.instances.values())


@pytest.mark.parametrize(("content", "says"), [(b"{", "not valid JSON"), (b"[" * 10**5, "too deeply")])
def test_an_annotation_file_that_is_no_json_is_named(tmp_path, content, says):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    manifest = SimpleNamespace(
        skeleton=COCO, source={}, options={"annotations_sha256": hashlib.sha256(content).hexdigest()}
    )
    with pytest.raises(RecordsError, match=rf"a\.json: .*{says}"):
        find_ground_truth(manifest, path, given=True)


def test_annotations_from_a_pipe_are_refused_as_such(tmp_path):
    """Their results would have no name, and nobody waits for a pipe that nobody writes into."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RecordsError, match=r"the annotation file .*/pipe is no regular file; --annotations"):
        find_ground_truth(SimpleNamespace(source={}), tmp_path / "pipe", given=True)


def test_annotations_that_were_edited_after_the_build_are_named_and_not_where_others_might_be(tmp_path):
    built_from = tmp_path / "mine.json"
    built_from.write_text(json.dumps(annotations(IMAGES, [])))
    manifest = SimpleNamespace(
        skeleton=COCO,
        dataset="custom",
        split="val",
        source={"annotations": str(built_from)},
        options={"annotations_sha256": hashlib.sha256(built_from.read_bytes()).hexdigest()},
    )
    place = tmp_path / "dataset/annotations/val.json"
    assert find_ground_truth(manifest, place).path == built_from
    built_from.write_text(json.dumps(annotations(IMAGES[:1], [])))
    with pytest.raises(RecordsError, match=r"mine\.json is not the annotation file .* or has changed since"):
        find_ground_truth(manifest, place)
    built_from.unlink()
    with pytest.raises(
        RecordsError, match=r"val\.json does not exist \(the records were built with .*mine\.json\); -"
    ):
        find_ground_truth(manifest, place)
