"""Lists of images: what they may look like, and that builds and metrics keep to them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.ground_truth import find_ground_truth
from evaluate.metrics.coco import evaluate_coco
from pipelines.build import build_records
from pipelines.cli import command
from records.annotations.image_ids import read_image_ids
from records.errors import RecordsError
from records.manifest import read_manifest
from tests.helpers.builders import annotations, image, instance, make_build, write_json, write_split

INSTANCES = {1: 1, 2: 2, 3: 3}  # image: instances in it
NOWHERE = Path("nowhere")


@pytest.fixture
def folder(tmp_path):
    """A val split of three images of one, two and three instances, with a detection of each of them."""
    instances = [
        instance(10 * image_id + n, image_id, [10 + 30 * n, 10, 40, 60])
        for image_id, count in INSTANCES.items()
        for n in range(count)
    ]
    write_split(tmp_path, "val", annotations([image(n, 160, 120) for n in INSTANCES], instances))
    boxes = [
        {"image_id": p["image_id"], "category_id": 1, "bbox": p["bbox"], "score": 0.9} for p in instances
    ]
    write_json(tmp_path / "dets/human_detection.json", boxes)
    return tmp_path


def listed(folder, text="[3, 1]"):
    (folder / "ids").write_text(text)
    return str(folder / "ids")


# ---- the list


@pytest.mark.parametrize(
    "text", ["[3, 1]", " [1,3,3]\n", "1\n3\n", "3 1", "1\r\n3", "+1\n 3", '["0001", 3.0]']
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_list_is_json_or_one_a_line_in_any_of_jsons_encodings(tmp_path, text, encoding):
    (tmp_path / "ids").write_bytes(text.encode(encoding))
    assert read_image_ids(tmp_path / "ids") == {1, 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "received none"),
        ("[]", "received none"),
        ("{}", r'received "{}" \(text\)'),
        ("[1, ", "is not a list of image ids"),
        ("{", r'received "{" \(text\)'),
        ("1\n000002.jpg", r'received "000002.jpg" \(text\)'),
        ("1.5", r'received "1.5" \(text\)'),
        ("[1.5]", r"received 1.5 \(a number\)"),
        ('[1, "b"]', r'whole numbers .* received "b" \(text\)'),
        ("[true]", r"received true \(true or false\)"),
        ("[null]", r"received null \(no value\)"),
        ("[[1]]", r"received \[1\] \(a list\)"),
        ("[" * 100_000, "is not a list of image ids"),
        ("9" * 5000, r"received \"999"),
        ("[9223372036854775808]", "received 9223372036854775808"),
        ("\ufeff\0", r"received \"\\u0000"),
        ("<!DOCTYPE html>", "an HTML page"),
    ],
)
def test_anything_else_is_refused_with_the_path(tmp_path, text, said):
    with pytest.raises(RecordsError, match=said) as error:
        read_image_ids(listed(tmp_path, text))
    assert str(tmp_path / "ids") in str(error.value)


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_list_that_cannot_be_read_is_refused_with_the_path(tmp_path, name):
    with pytest.raises(RecordsError, match=r"the list of image ids .* cannot be read"):
        read_image_ids(tmp_path / name)


@given(st.binary(max_size=30))
def test_any_bytes_are_a_list_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "ids"
    path.write_bytes(content)
    try:
        ids = read_image_ids(path)
    except RecordsError as error:
        assert str(path) in str(error)  # noqa: PT017
        return
    assert ids
    assert {type(value) for value in ids} == {int}


# ---- builds


@pytest.mark.parametrize("text", ["[3, 1]", "1\n3"])
@pytest.mark.parametrize("boxes", ["ground_truth", "detections"])
def test_records_are_made_of_the_listed_images_only(folder, text, boxes):
    build = make_build(folder, folder / "out", "val", boxes, image_ids=listed(folder, text))
    manifest = build_records(build)
    assert (manifest.records, manifest.images) == (4, 2)
    assert manifest.filtered == {"image_not_listed": 2}
    assert manifest.source["image_ids"] == str(folder / "ids")


def test_another_list_is_refused_by_name(folder):
    build_records(make_build(folder, folder / "out", "val", image_ids=listed(folder)))
    with pytest.raises(Exception, match=r"image_ids_sha256 was .*, now"):
        build_records(make_build(folder, folder / "out", "val", image_ids=listed(folder, "[1]")))
    with pytest.raises(Exception, match=r"image_ids_sha256 was .*, now None"):
        build_records(make_build(folder, folder / "out", "val"))


@pytest.mark.parametrize("text", ["[7]", "[]", "x"])
def test_a_list_of_no_use_fails_in_one_line(folder, capsys, text):
    arguments = [f"--dataset_dir={folder}", "--split=val", f"--image_ids={listed(folder, text)}"]
    assert command([*arguments, "--boxes=ground_truth"]) == 1
    *warned, error = capsys.readouterr().err.splitlines()
    assert len(warned) == (text == "[7]")  # of ids that are no images
    assert "6 image_not_listed" in error if text == "[7]" else str(folder / "ids") in error


# ---- the metric


def perfect_results(folder, image_ids):
    data = json.loads((folder / "annotations/person_keypoints_val2017.json").read_text())
    return [
        {name: p[name] for name in ("image_id", "category_id", "keypoints")} | {"score": 0.9}
        for p in data["annotations"]
        if p["image_id"] in image_ids
    ]


def test_the_metric_looks_at_the_listed_images_only(folder):
    build_records(make_build(folder, folder / "out", "val", image_ids=listed(folder)))
    ground_truth = find_ground_truth(read_manifest(folder / "out"), NOWHERE)
    assert ground_truth.image_ids == {1, 3}
    results = perfect_results(folder, {1, 3})
    assert evaluate_coco(ground_truth.content, results, image_ids=ground_truth.image_ids)[
        "AP"
    ] == pytest.approx(1)
    assert evaluate_coco(ground_truth.content, results)["AP"] < 0.8  # two of six instances are missing then


def test_without_a_list_the_metric_looks_at_everything(folder):
    build_records(make_build(folder, folder / "out", "val"))
    assert find_ground_truth(read_manifest(folder / "out"), NOWHERE).image_ids is None


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_a_list_that_is_gone_or_changed_is_refused_by_name(folder, change):
    build_records(make_build(folder, folder / "out", "val", image_ids=listed(folder)))
    if change == "gone":
        (folder / "ids").unlink()
    else:
        listed(folder, "[1]")
    with pytest.raises(RecordsError, match=r"--image_ids=.*ids, which is missing or has changed since"):
        find_ground_truth(read_manifest(folder / "out"), NOWHERE)
