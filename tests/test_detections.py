"""A person detector's boxes as people to cut out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.coco import read_json, read_pictures
from pipelines.people import BuildError
from records.geometry import box_to_center_scale
from tests.shared import shared_data
from tests.sources import box_of, check_usable, detected, detection, everyone


@pytest.mark.parametrize(("name", "threshold"), [("det00", 0.0), ("det03", 0.3)])
def test_detected_people_are_the_official_ones(name, threshold):
    golden = np.load(shared_data("golden", "coco_eval", "person_db.npz"))
    pictures = read_pictures(read_json(shared_data("golden", "coco_eval", "gt_annotations.json")), "truth")
    path = shared_data("golden", "coco_eval", "detections.json")
    entries = read_json(path)
    source = detected(entries, pictures, threshold)
    people = sorted(
        (
            (person.person_id, picture.file_name, person)
            for picture in source.pictures
            for person in picture.people
        ),
        key=lambda row: row[0],
    )  # the official list is in the file's order
    assert [file_name for _, file_name, _ in people] == golden[f"{name}_image"].tolist()
    center, scale = box_to_center_scale([person.box for *_, person in people], (192, 256))
    np.testing.assert_allclose(center, golden[f"{name}_center"], atol=1e-4)
    np.testing.assert_allclose(scale / 200, golden[f"{name}_scale"], atol=1e-6)
    np.testing.assert_array_equal([person.score for *_, person in people], golden[f"{name}_score"])
    for position, _, one in people:
        assert one.box == entries[position]["bbox"]
    assert len(people) + sum(source.dropped.values()) == len(entries) == 150
    assert source.rejected == []


def test_a_detection_keeps_its_box_its_score_and_its_place_in_the_file():
    source = detected([box_of(category_id=3), box_of(bbox=[-5, 40, 100.5, 60], score=0.25)])
    (one,) = everyone(source)
    assert (one.person_id, one.box, one.score) == (1, [-5, 40, 100.5, 60], 0.25)
    assert one.area == 100.5 * 60
    assert one.keypoints == [0] * 51
    assert source.dropped == {"not_a_person": 1}


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("not_a_person", {"category_id": 2}),
        ("image_of_another_split", {"image_id": 99}),
        ("image_of_another_split", {"image_id": {}}),
        ("low_score", {"score": 0.29}),
    ],
)
def test_detections_are_left_out_on_purpose_and_counted(reason, change):
    source = detected([box_of(), box_of(**change)], threshold=0.3)
    assert len(everyone(source)) == 1
    assert (source.dropped, source.rejected) == ({reason: 1}, [])


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
    assert (entry["reason"], entry["image_id"], entry["person_id"]) == (reason, 1, 1)


@pytest.mark.parametrize("data", [{}, {"annotations": []}, [1, 2], "text", [[]]])
def test_anything_but_a_list_of_detections_is_fatal_with_the_path(data):
    with pytest.raises(BuildError, match=r"boxes\.json is not a COCO results file"):
        detected(data)


@pytest.mark.parametrize("entries", [[], [box_of(image_id=5), box_of(image_id=6), box_of(category_id=2)]])
def test_detections_of_other_pictures_only_are_fatal_with_the_path(entries):
    with pytest.raises(BuildError, match=r"boxes\.json: none of its \d boxes"):
        detected(entries)


@given(st.lists(detection, max_size=6))
def test_nobody_is_lost_whatever_the_detections_are(detections):
    source = detected([box_of(), *detections])
    taken = len(everyone(source)) + sum(source.dropped.values()) + len(source.rejected)
    assert taken == len(detections) + 1
    check_usable(source)
