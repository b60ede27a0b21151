"""Boxes of a user's own images: which image and category are meant, and what is no box."""

import json
import os
import threading
from pathlib import Path

import pytest

from evaluate.prediction.boxes import read_boxes
from hrpose.command import CommandError

IMAGES = [Path("photos") / name for name in ("000000000139.jpg", "b.jpg", "b.png", "zoë.jpg")]
BOX = [1, 2, 30, 40]


def read(folder, content, images=IMAGES, category=None):
    """{name: scores} of what is found, and the notes."""
    path = folder / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    found, notes = read_boxes(path, images, category)
    for boxes, scores in found.values():
        assert boxes.shape == (len(scores), 4)
        assert (boxes == BOX).all()
    return {image.name: scores.tolist() for image, (_, scores) in found.items()}, notes


def test_boxes_find_their_images_by_name_and_by_number(tmp_path):
    entries = [
        {"image": "b.png", "bbox": BOX},
        {"image_id": 139, "bbox": BOX, "score": 0.25},
        {"image_id": 139, "bbox": BOX, "score": 0.5, "category_id": 1},
    ]
    expected = {"b.png": [1.0], "000000000139.jpg": [0.25, 0.5]}
    assert read(tmp_path, entries, category=1) == (expected, [])
    other = [{"image_id": 139, "bbox": BOX, "category_id": 3}, {"image": "elsewhere.jpg", "bbox": BOX}]
    found, notes = read(tmp_path, [*entries, *other], category=1)
    assert found == expected
    assert [note.split(", ")[0] for note in notes] == [
        "1 boxes are of other categories than 1",
        "1 boxes are of images that are not there",
    ]
    assert '"elsewhere.jpg" (text)' in notes[1]


@pytest.mark.parametrize(
    "name", ["000000000139", "139", 139.0, "photos/000000000139.jpg", "C:\\\\data\\\\000000000139.jpg"]
)
@pytest.mark.parametrize("key", ["image", "image_id"])
def test_ids_in_other_words_are_matched_and_that_is_said(tmp_path, key, name):
    found, (note,) = read(tmp_path, [{key: name, "bbox": BOX}, {"image": "zoë.jpg", "bbox": BOX}])
    assert found == {"000000000139.jpg": [1.0], "zoë.jpg": [1.0]}
    assert note.startswith("1 boxes name their image in other words: ")
    assert note.endswith(", taken for 000000000139.jpg")


def test_the_only_category_is_taken_and_of_several_one_has_to_be_named(tmp_path):
    sevens = [{"image_id": 139, "bbox": BOX, "category_id": 7}]
    assert read(tmp_path, sevens) == (
        {"000000000139.jpg": [1.0]},
        ["the boxes are of category 7, the only one there"],
    )
    assert read(tmp_path, [{"image_id": 139, "bbox": BOX, "category_id": "7"}], category=7)[1] == []
    with pytest.raises(
        CommandError, match=r"1 entries is of category 1; they are of 7 \(1\)\. --detection_category"
    ):
        read(tmp_path, sevens, category=1)
    eights = [{"image": "b.png", "bbox": BOX, "category_id": 8}] * 2
    with pytest.raises(
        CommandError, match=r"of the categories 8 \(2\), 7 \(1\); --detection_category says which"
    ):
        read(tmp_path, sevens + eights)
    assert read(tmp_path, sevens + eights, category=8) == (
        {"b.png": [1.0, 1.0]},
        ["1 boxes are of other categories than 8, which is taken"],
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read: .* nested too deeply"),
        ("[]", r"none of its 0 entries is an instance's box in one of 4 images, for example 0+139\.jpg$"),
        ([{"image_id": True, "bbox": BOX}], r"none of its 1 entries .* such as true \(true or false\)"),
        ({"image": "b.png"}, "expected a list"),
        (["b.png"], "entry 0 names no image"),
        ([{"image": "c.png", "bbox": BOX}], r'none of its 1 entries .* 4 images.* "c\.png" \(text\)'),
        ([{"image": ["b.png"], "bbox": BOX}], "none of its 1 entries"),
        ([{"image_id": 2**64, "bbox": BOX}], "none of its 1 entries"),
        ([{"image": "b.png"}], "entry 0: bbox is None"),
        ([{"image": "b.png", "bbox": [0, 0, 0, 9]}], r"bbox is \[0, 0, 0, 9\]"),
        ('[{"image": "b.png", "bbox": [0, 0, NaN, 9]}]', "bbox is"),
        ('[{"image": "b.png", "bbox": [0, 0, 1e300, 9]}]', "bbox is"),
        ([{"image": "b.png", "bbox": BOX, "score": "high"}], "score is 'high'"),
        (
            [{"image": "b.png", "bbox": [0.25, 0.5, 0.5, 0.5]}],
            r"fractions of the image, such as \[0\.25, 0\.5",
        ),
    ],
)
def test_what_can_be_wrong_with_boxes_is_named(tmp_path, content, message):
    with pytest.raises(CommandError, match=message):
        read(tmp_path, content)


def test_one_bad_box_does_not_end_the_others(tmp_path):
    found, notes = read(tmp_path, [{"image": "b.png"}, {"image": "b.jpg", "bbox": BOX}, "b.jpg"])
    assert found == {"b.jpg": [1.0]}
    assert len(notes) == 1
    assert notes[0].startswith("2 boxes are rejected, the first because of --detections=")
    assert "entry 0: bbox is None" in notes[0]


def test_a_name_that_two_images_have_is_no_name(tmp_path):
    images = [tmp_path / name for name in ("001.jpg", "1.jpg", "2.jpg", "2.png")]
    box = {"bbox": BOX}
    found, _ = read(tmp_path, [box | {"image": "1.jpg"}, box | {"image": "2.png"}], images)
    assert list(found) == ["1.jpg", "2.png"]
    with pytest.raises(
        CommandError, match=r"entry 1 is for image_id 1, which 001\.jpg and 1\.jpg could be; name"
    ):
        read(tmp_path, [box | {"image": "2.png"}, box | {"image_id": 1}], images)
    with pytest.raises(CommandError, match=r"entry 0 is for image_id 2, which 2\.jpg and 2\.png could be"):
        read(tmp_path, [box | {"image_id": "2"}], images)


def test_boxes_come_from_a_pipe_too_but_not_from_a_device(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    content = json.dumps([{"image": "b.png", "bbox": BOX}])
    writer = threading.Thread(target=path.write_text, args=(content,))
    writer.start()
    found, _ = read_boxes(path, IMAGES)
    writer.join()
    assert list(found) == [IMAGES[2]]
    with pytest.raises(
        CommandError, match="--detections=/dev/zero is a device; expected a JSON file, or a pipe"
    ):
        read_boxes("/dev/zero", IMAGES)
