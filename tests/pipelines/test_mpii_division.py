"""MPII's training part divided by a list: exactly as the list says, or refused."""

import json

import pytest

from pipelines.annotations.mpii import coco_files
from pipelines.annotations.mpii_division import divide, read_list
from pipelines.annotations.mpii_release import Entry, Rect
from pipelines.cli import command
from pipelines.errors import BuildError
from records.manifest import read_manifest
from tests.helpers.builders import write_json
from tests.helpers.releases import convert, mpii_instances, rect, write_mpii, write_release


def made_up(instances_per_image, split="train"):
    entries, instance_id = [], 0
    for index, count in enumerate(instances_per_image):
        rects = [Rect(instance_id + i, i, (), (5.0, 5.0), 1.0, None) for i in range(count)]
        entries.append(Entry(index, f"{index}.jpg", split, tuple(rects)))
        instance_id += count
    return entries


def write_list(folder, content):
    path = folder / "list.json"
    path.write_text(json.dumps(content))
    return path


def test_a_list_of_images_moves_everybody_in_them(tmp_path):
    entries, filtered = divide(made_up([2, 1, 3]), read_list(write_list(tmp_path, ["2.jpg"])), "list.json")
    converted = coco_files(entries, lambda name: (9, 9))
    assert filtered == []
    assert [a["id"] for a in converted["train"]["annotations"]] == [0, 1, 2]
    assert [a["id"] for a in converted["val"]["annotations"]] == [3, 4, 5]
    assert [image["id"] for image in converted["val"]["images"]] == [2]


def test_a_list_of_instances_keeps_its_rows_and_leaves_their_neighbors_out(tmp_path):
    listed = read_list(write_list(tmp_path, [["2.jpg", 2], ["0.jpg", 1], ["2.jpg", 0]]))
    entries, filtered = divide(made_up([2, 1, 3]), listed, "list.json")
    converted = coco_files(entries, lambda name: (9, 9))
    assert [a["id"] for a in converted["train"]["annotations"]] == [2]
    assert {a["id"]: a["list_row"] for a in converted["val"]["annotations"]} == {1: 1, 3: 2, 5: 0}
    assert [rect.instance_id for rect in filtered] == [0, 4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected a JSON list"),
        ([], "expected a JSON list"),
        ([3], "received 3"),
        ([["a.jpg"]], "received"),
        ([["a.jpg", "0"]], "received"),
        ([["a.jpg", True]], "received"),
        ([["a.jpg", None]], "received"),
        (["a.jpg", "a.jpg"], "'a.jpg' twice"),
        ([["a.jpg", 1], ["a.jpg", 1]], "'a.jpg' twice, with instance 1"),
        ([["a.jpg", 1], "a.jpg"], "'a.jpg' twice"),
        (["a.jpg", ["a.jpg", 1]], "'a.jpg' twice"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path, content, message):
    with pytest.raises(BuildError, match=message) as error:
        read_list(write_list(tmp_path, content))
    assert "list.json" in str(error.value)


@pytest.mark.parametrize(
    ("entries", "listed", "message"),
    [
        (
            made_up([1]),
            [("5.jpg", None)],
            "1 of its images are not in the release's training part.*'5.jpg'",
        ),
        (made_up([1], "test"), [("0.jpg", None)], "training part"),
        (made_up([2]), [("0.jpg", 2)], "instance 2 \\(counted from 0\\) of '0.jpg', which has 2 instances"),
    ],
)
def test_a_list_for_another_release_is_refused(entries, listed, message):
    with pytest.raises(BuildError, match=f"mine.json.*{message}"):
        divide(entries, listed, "mine.json")


# ---- as a step of the conversion


RELEASE = "mpii_human_pose_v1_u12_1.mat"


def ensure(folder, validation_list=None, overwrite=False):
    """Converts a dataset's folder; returns who was left out."""
    return convert(folder, validation_list=validation_list and str(validation_list), overwrite=overwrite)


def divided(folder, content):
    write_json(folder / "list.json", content)
    return ensure(folder, folder / "list.json")


def read(path):
    return json.loads(path.read_text())


@pytest.fixture
def mpii_folder(tmp_path):
    write_mpii(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("content", "instances", "rows", "filtered"),
    [
        (["c.jpg", "b.jpg"], [(2, None), (3, None), (4, None)], None, 0),
        ([["c.jpg", 1], ["b.jpg", 0]], None, [(2, 1), (4, 0)], 1),
        (
            [
                {"image": "c.jpg", "center": [100.0, 80.0], "scale": 0.4, "joints": [], "joints_vis": []},
                {"image": "a.jpg", "center": [110.004, 70], "scale": 0.4003},
                {"image": "a.jpg", "center": [60, 60], "scale": 0.4},
            ],
            None,
            [(0, 2), (1, 1), (4, 0)],
            1,
        ),
    ],
)
def test_each_form_of_the_list_divides_the_training_part(mpii_folder, content, instances, rows, filtered):
    counted = divided(mpii_folder, content)
    val = read(mpii_folder / "annotations/val.json")["annotations"]
    assert [(a["id"], a.get("list_row")) for a in val] == (rows or instances)
    listed = {element["image"] if isinstance(element, dict) else element[0] for element in content}
    listed = set(content) if instances else listed
    train = read(mpii_folder / "annotations/train.json")
    assert not listed & {image["file_name"] for image in train["images"]}
    assert len(train["annotations"]) + len(val) + filtered == 5
    assert counted == {"val": {"not_in_validation_list": filtered} if filtered else {}}
    record = read(mpii_folder / "annotations/conversion.json")
    assert record["files"].keys() == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            [["c.jpg", 1], {"image": "c.jpg", "center": [100, 80], "scale": 0.4}],
            "an instance of 'c.jpg' twice",
        ),
        ([{"image": "c.jpg", "center": [1, 80], "scale": 0.4}], "2 instances, none of them like that"),
        ([{"image": "d.jpg", "center": [1, 80], "scale": 0.4}], "1 of its images are not in the release"),
        (["t.jpg"], "not in the release's training part"),
        ([["b.jpg", 7]], r"instance 7 \(counted from 0\) of 'b.jpg'"),
    ],
)
def test_a_list_that_does_not_fit_is_refused_and_nothing_is_written(mpii_folder, content, said):
    with pytest.raises(BuildError, match=said) as error:
        divided(mpii_folder, content)
    assert "list.json" in str(error.value)
    assert not (mpii_folder / "annotations").exists()


def test_a_center_that_two_instances_have_is_refused(tmp_path):
    write_release(tmp_path, [("a.jpg", mpii_instances((60, 60), (60, 60)))], name=RELEASE)
    with pytest.raises(BuildError, match="2 instances, 2 of them like that"):
        divided(tmp_path, [{"image": "a.jpg", "center": [60, 60], "scale": 0.4}])


def test_an_instance_without_center_is_listed_with_minus_ones(tmp_path):
    instances = [*mpii_instances((60, 60)), rect(objpos=None, scale=None)]
    write_release(tmp_path, [("a.jpg", instances)], name=RELEASE)
    divided(tmp_path, [{"image": "a.jpg", "center": [-1.0, -1.0], "scale": -1.0}])
    (annotation,) = read(tmp_path / "annotations/val.json")["annotations"]
    assert annotation["person_index"] == 1


def test_a_list_that_is_missing_is_refused_by_its_name(mpii_folder, capsys):
    arguments = ["--dataset=mpii", f"--dataset_dir={mpii_folder}", "--validation_list=nowhere.json"]
    assert command(arguments) == 1
    assert "nowhere.json does not exist" in capsys.readouterr().err


def test_without_its_list_a_divided_release_is_refused_and_overwrite_removes_the_division(mpii_folder):
    divided(mpii_folder, ["b.jpg"])
    with pytest.raises(BuildError, match="validation_list_sha256"):
        ensure(mpii_folder)
    ensure(mpii_folder, overwrite=True)
    assert {path.name for path in (mpii_folder / "annotations").iterdir()} == {
        "train.json",
        "test.json",
        "conversion.json",
    }
    assert len(read(mpii_folder / "annotations/train.json")["annotations"]) == 5


def test_instances_that_are_not_on_the_list_are_counted_in_the_builds_manifest(mpii_folder, capsys):
    write_json(mpii_folder / "list.json", [["c.jpg", 1], ["b.jpg", 0]])
    arguments = [f"--dataset_dir={mpii_folder}", "--dataset=mpii", "--input_size=64x64"]
    arguments += [f"--validation_list={mpii_folder / 'list.json'}"]
    for _ in range(2):  # the second run takes the counts from the record
        assert command([*arguments, "--overwrite"]) == 0
        train, val = (read_manifest(mpii_folder / "records" / split) for split in ("train", "val"))
        assert (train.records, train.filtered) == (2, {})
        assert (val.records, val.filtered) == (2, {"not_in_validation_list": 1})
    assert "not_in_validation_list" in capsys.readouterr().out
