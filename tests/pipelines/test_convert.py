"""The step that brings MPII's and PoseTrack's own annotations to COCO format before a build."""

import contextlib
import json

import pytest

from pipelines.annotations import mpii, posetrack
from pipelines.annotations.mpii_release import read_release
from pipelines.cli import command
from pipelines.errors import BuildError
from pipelines.storage import write_whole
from records.manifest import read_manifest
from tests.helpers.builders import write_json
from tests.helpers.releases import (
    convert,
    mpii_instances,
    read_videos,
    write_image,
    write_mpii,
    write_posetrack,
    write_release,
    written,
)

RELEASE = "mpii_human_pose_v1_u12_1.mat"


def read(path):
    return json.loads(path.read_text())


@pytest.fixture
def mpii_folder(tmp_path):
    write_mpii(tmp_path / "MPII")
    return tmp_path / "MPII"


@pytest.fixture
def posetrack_folder(tmp_path):
    write_posetrack(tmp_path / "PoseTrack")
    return tmp_path / "PoseTrack"


# ---- what is written


@pytest.mark.parametrize("boxes", mpii.MPII_BOXES)
def test_mpii_is_written_as_the_converter_says(mpii_folder, boxes):
    said = []
    filtered = convert(mpii_folder, mpii_boxes=boxes, said=said)
    expected = mpii.coco_files(read_release(mpii_folder / RELEASE), lambda name: (160, 120), boxes)
    assert {split: read(mpii_folder / f"annotations/{split}.json") for split in ("train", "test")} == expected
    assert set(written(mpii_folder)) == {"train.json", "test.json", "conversion.json"}
    assert filtered == ({"test": {"test_part": 1}} if boxes == "keypoints" else {})
    assert any("5 instances in 3 images" in line for line in said)
    assert "all of MPII's training part is in train" in said[-1]


def test_posetrack_is_written_as_the_converter_says_per_split(posetrack_folder):
    path = posetrack_folder / "original_annotations/val/000003_bonn_val.json"
    data = read(path)
    data["images"][1]["is_labeled"] = False
    write_json(path, data)
    filtered = convert(posetrack_folder, "posetrack")
    for split in ("train", "val"):
        files = read_videos(posetrack_folder / "original_annotations" / split)
        expected, _ = posetrack.join_videos(files, lambda name: (160, 120), split)
        assert read(posetrack_folder / f"annotations/{split}2018.json") == expected
    assert set(written(posetrack_folder)) == {"train2018.json", "val2018.json", "conversion.json"}
    assert filtered == {"train": {}, "val": {"unlabeled_frame": 1}}


@pytest.mark.parametrize(("dataset", "write"), [("mpii", write_mpii), ("posetrack", write_posetrack)])
def test_the_same_release_gives_the_same_bytes_anywhere_and_whenever_it_is_written(
    tmp_path, monkeypatch, dataset, write
):
    for name in ("here", "there"):
        monkeypatch.setattr("time.asctime", lambda name=name: f"on the day we were {name}")
        write(tmp_path / name)
        convert(tmp_path / name, dataset)
    assert written(tmp_path / "here") == written(tmp_path / "there")


@pytest.mark.parametrize(("dataset", "write"), [("mpii", write_mpii), ("posetrack", write_posetrack)])
def test_a_second_run_writes_nothing_and_says_so(tmp_path, dataset, write):
    write(tmp_path)
    first = convert(tmp_path, dataset)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "annotations").iterdir()}
    said = []
    assert convert(tmp_path, dataset, said=said) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "annotations").iterdir()} == before
    assert len(said) == 1
    assert "already converted" in said[0]


def test_the_record_says_what_the_files_were_made_of(mpii_folder):
    convert(mpii_folder)
    record = read(mpii_folder / "annotations/conversion.json")
    assert record["files"].keys() == {"train", "test"}
    assert record["unreadable_images"] == 0
    assert record["origin"]["mpii_boxes"] == "objpos"
    assert record["origin"]["validation_list_sha256"] is None
    assert len(record["origin"]["raw_sha256"]) == 64
    assert str(mpii_folder) not in json.dumps(record)


def test_a_folder_without_raw_annotations_is_left_alone(tmp_path):
    for dataset in ("mpii", "posetrack"):
        assert convert(tmp_path, dataset) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["a file is gone", "the record is gone with the files", "all is gone"])
def test_what_was_removed_is_made_again(mpii_folder, damage):
    convert(mpii_folder)
    before = written(mpii_folder)
    for name in ["test.json"] if damage == "a file is gone" else before:
        (mpii_folder / "annotations" / name).unlink()
    if damage == "all is gone":
        (mpii_folder / "annotations").rmdir()
    convert(mpii_folder)
    assert written(mpii_folder) == before


# ---- images that are missing


@pytest.mark.parametrize("content", [None, b"", b"<html>"])
def test_an_image_that_was_missing_gets_its_size_when_it_has_come(mpii_folder, content):
    path, said = mpii_folder / "images/b.jpg", []
    whole = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    convert(mpii_folder, said=said)
    assert "warning: 1 of 4 images are missing or unreadable" in said
    images = read(mpii_folder / "annotations/train.json")["images"]
    sizes = {image["file_name"]: (image["width"], image["height"]) for image in images}
    assert sizes == {"a.jpg": (160, 120), "b.jpg": (0, 0), "c.jpg": (160, 120)}
    path.write_bytes(whole)
    said.clear()
    convert(mpii_folder, said=said)
    assert not any("warning" in line for line in said)
    images = read(mpii_folder / "annotations/train.json")["images"]
    assert {(image["width"], image["height"]) for image in images} == {(160, 120)}
    convert(mpii_folder, said=said)
    assert "already converted" in said[-1]


def test_instances_of_a_missing_image_are_rejected_by_the_build_and_nobody_is_lost(mpii_folder, capsys):
    (mpii_folder / "images/b.jpg").unlink()
    arguments = [f"--dataset_dir={mpii_folder}", "--dataset=mpii", "--input_size=64x64"]
    assert command([*arguments, "--max_bad_fraction=0.3"]) == 0
    manifest = read_manifest(mpii_folder / "records/train")
    assert (manifest.records, manifest.rejected, manifest.filtered) == (4, {"missing_image": 1}, {})
    capsys.readouterr()


def test_an_image_of_another_size_than_the_raw_file_says_gets_its_own(posetrack_folder):
    write_image(posetrack_folder / "images/val/000003_bonn_val/000001.jpg", (96, 64))
    convert(posetrack_folder, "posetrack")
    images = read(posetrack_folder / "annotations/val2018.json")["images"]
    assert [(image["width"], image["height"]) for image in images] == [(160, 120), (96, 64), (160, 120)]


# ---- an interruption


@pytest.mark.parametrize("before", ["nothing", "another division", "a missing image"])
@pytest.mark.parametrize("writes", [0, 1, 2, 3])
def test_an_interrupted_conversion_is_done_by_the_next_run(tmp_path, monkeypatch, before, writes):
    folder, options = tmp_path / "MPII", {"overwrite": before == "another division"}
    for path in (folder, tmp_path / "whole"):
        write_mpii(path)
    convert(tmp_path / "whole")
    if before == "another division":
        write_json(tmp_path / "list.json", ["b.jpg"])
        convert(folder, validation_list=str(tmp_path / "list.json"))
    elif before == "a missing image":
        (folder / "images/b.jpg").rename(tmp_path / "b.jpg")
        convert(folder)
        (tmp_path / "b.jpg").rename(folder / "images/b.jpg")
    done = []

    def failing(path, content):
        if len(done) == writes:
            raise KeyboardInterrupt
        done.append(path)
        write_whole(path, content)

    monkeypatch.setattr("pipelines.annotations.conversion.write_whole", failing)
    # The test part is the same as before, and what is the same is not written.
    needed = 3 if before == "nothing" else 2
    with pytest.raises(KeyboardInterrupt) if writes < needed else contextlib.nullcontext():
        convert(folder, **options)
    monkeypatch.undo()
    convert(folder, **options)
    assert written(folder) == written(tmp_path / "whole")


# ---- what stands there already


def test_files_of_somebody_else_are_refused_with_what_to_do_and_overwrite_replaces_them(mpii_folder):
    write_json(mpii_folder / "annotations/train.json", {"precious": 1})
    with pytest.raises(BuildError, match=r"train\.json is there.*--annotations with --split.*--overwrite"):
        convert(mpii_folder)
    assert set(written(mpii_folder)) == {"train.json"}
    assert read(mpii_folder / "annotations/train.json") == {"precious": 1}
    convert(mpii_folder, overwrite=True)
    assert len(read(mpii_folder / "annotations/train.json")["annotations"]) == 5


@pytest.mark.parametrize("record", ["", "{", "[]", '{"origin": 3}', pytest.param("[" * 10**5, id="deep")])
def test_without_a_record_that_can_be_read_files_are_somebody_elses(mpii_folder, record):
    convert(mpii_folder)
    (mpii_folder / "annotations/conversion.json").write_text(record)
    with pytest.raises(BuildError, match=r"train\.json is there"):
        convert(mpii_folder)
    convert(mpii_folder, overwrite=True)
    assert read(mpii_folder / "annotations/conversion.json")["files"].keys() == {"train", "test"}


@pytest.mark.parametrize(
    "change", [{"files": []}, {"files": None}, {"origin": "x"}, {"filtered": 1}, {"unreadable_images": "x"}]
)
def test_a_record_of_another_form_is_no_record(mpii_folder, change):
    convert(mpii_folder)
    path = mpii_folder / "annotations/conversion.json"
    write_json(path, read(path) | change)
    with pytest.raises(BuildError, match=r"train\.json is there"):
        convert(mpii_folder)


def test_files_that_somebody_changed_are_somebody_elses(mpii_folder):
    convert(mpii_folder)
    path = mpii_folder / "annotations/train.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(BuildError, match=r"train\.json is there, but this command has not written it"):
        convert(mpii_folder)


def test_other_options_are_refused_by_name_and_overwrite_converts_again(mpii_folder):
    convert(mpii_folder)
    before = written(mpii_folder)
    with pytest.raises(BuildError, match=r"mpii_boxes was objpos, now keypoints.*--overwrite"):
        convert(mpii_folder, mpii_boxes="keypoints")
    write_json(mpii_folder / "list.json", ["b.jpg"])
    with pytest.raises(BuildError, match="validation_list_sha256 was None, now"):
        convert(mpii_folder, validation_list=str(mpii_folder / "list.json"))
    assert written(mpii_folder) == before
    convert(mpii_folder, mpii_boxes="keypoints", overwrite=True)
    assert read(mpii_folder / "annotations/train.json")["images"][0]["file_name"] == "images/a.jpg"


def test_a_changed_release_is_refused_by_name(mpii_folder):
    convert(mpii_folder)
    write_release(mpii_folder, [("a.jpg", mpii_instances((40, 40)))], name=RELEASE)
    with pytest.raises(BuildError, match=r"raw_sha256 was .*, now .*--overwrite"):
        convert(mpii_folder)


@pytest.mark.parametrize("change", ["another file", "a changed file"])
def test_a_changed_posetrack_is_refused_by_name(posetrack_folder, change):
    convert(posetrack_folder, "posetrack")
    train = posetrack_folder / "original_annotations/train"
    if change == "another file":
        write_json(train / "000009_bonn_train.json", {"images": [], "annotations": []})
    else:
        path = train / "000001_bonn_train.json"
        path.write_text(path.read_text() + " ")
    with pytest.raises(BuildError, match="raw_sha256 was"):
        convert(posetrack_folder, "posetrack")


@pytest.mark.parametrize("name", ["MP*", "MP[II]", "MP?"])
def test_a_folder_that_could_be_a_pattern_is_refused(tmp_path, name):
    write_mpii(tmp_path / name)
    with pytest.raises(BuildError, match=r"must not hold the signs \* \? \["):
        convert(tmp_path / name)


@pytest.mark.parametrize(
    ("dataset", "path", "content", "said"),
    [
        ("mpii", RELEASE, "no matrix", "cannot be read as a MATLAB file"),
        ("posetrack", "original_annotations/train/a.json", "{", "a.json is not JSON"),
        ("posetrack", "original_annotations/train/a.json", "[]", "a.json is not in PoseTrack's format"),
        ("posetrack", "original_annotations/val/a.json", '{"images": [3], "annotations": []}', "entry 0"),
    ],
)
def test_raw_files_that_are_something_else_fail_in_one_line_and_nothing_is_written(
    tmp_path, capsys, dataset, path, content, said
):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(content)
    assert command([f"--dataset={dataset}", f"--dataset_dir={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "annotations").exists()
