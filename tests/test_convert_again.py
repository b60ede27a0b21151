"""A conversion into annotations that are there: equal files stay untouched, others' are kept or refused."""

import json

import pytest

from pipelines.cli import command
from pipelines.people import BuildError
from tests.builders import write_json
from tests.releases import convert, write_mpii, write_posetrack, written


@pytest.fixture
def mpii_folder(tmp_path):
    write_mpii(tmp_path / "MPII")
    return tmp_path / "MPII"


@pytest.fixture
def posetrack_folder(tmp_path):
    write_posetrack(tmp_path / "PoseTrack")
    return tmp_path / "PoseTrack"


def identities(folder):
    """What changes if a file of annotations/ is written again or replaced: {name: (inode, time)}."""
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (folder / "annotations").iterdir()}


def touched(folder, before):
    after = identities(folder)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


# ---- equal files


@pytest.mark.parametrize(
    ("dataset", "write", "picture"),
    [
        ("mpii", write_mpii, "images/b.jpg"),
        ("posetrack", write_posetrack, "images/val/000003_bonn_val/000001.jpg"),
    ],
)
def test_while_a_picture_is_missing_nothing_is_written_again(tmp_path, dataset, write, picture):
    write(tmp_path)
    (tmp_path / picture).unlink()
    first = convert(tmp_path, dataset)
    before, said = identities(tmp_path), []
    assert convert(tmp_path, dataset, said=said) == first
    assert convert(tmp_path, dataset, said=said, overwrite=True) == first
    assert touched(tmp_path, before) == set()
    assert sum("already converted" in line for line in said) == 2
    assert sum("pictures are missing or unreadable" in line for line in said) == 2


def test_a_picture_that_has_come_changes_its_size_and_nothing_else(mpii_folder, tmp_path):
    (mpii_folder / "images/b.jpg").rename(tmp_path / "b.jpg")
    convert(mpii_folder)
    before, contents = identities(mpii_folder), written(mpii_folder)
    (tmp_path / "b.jpg").rename(mpii_folder / "images/b.jpg")
    convert(mpii_folder)
    assert touched(mpii_folder, before) == {"train.json", "conversion.json"}
    earlier, now = json.loads(contents["train.json"]), json.loads(written(mpii_folder)["train.json"])
    assert earlier != now
    for image in earlier["images"]:
        if image["file_name"] == "b.jpg":
            assert (image["width"], image["height"]) == (0, 0)
            image |= {"width": 160, "height": 120}
    assert earlier == now


def test_a_picture_that_its_video_has_stood_in_for_changes_the_record_only(posetrack_folder, tmp_path):
    picture = posetrack_folder / "images/val/000003_bonn_val/000001.jpg"
    picture.rename(tmp_path / "a.jpg")
    convert(posetrack_folder, "posetrack")
    before = identities(posetrack_folder)
    (tmp_path / "a.jpg").rename(picture)
    convert(posetrack_folder, "posetrack")
    assert touched(posetrack_folder, before) == {"conversion.json"}


# ---- files of somebody else


@pytest.mark.parametrize("converted_before", [False, True])
def test_a_foreign_validation_file_beside_an_undivided_mpii_is_refused(mpii_folder, converted_before):
    if converted_before:
        convert(mpii_folder)
    write_json(mpii_folder / "annotations/val.json", {"precious": 1})
    before = identities(mpii_folder)
    with pytest.raises(BuildError, match=r"val\.json is there.*people in common.*--validation_list, move"):
        convert(mpii_folder)
    assert touched(mpii_folder, before) == set()
    said = []
    convert(mpii_folder, said=said, overwrite=True)
    assert set(written(mpii_folder)) == {"train.json", "test.json", "conversion.json"}
    assert f"{mpii_folder}/annotations/val.json: removed" in said
    convert(mpii_folder)


def test_a_foreign_validation_file_goes_only_when_the_conversion_has_succeeded(mpii_folder):
    write_json(mpii_folder / "annotations/val.json", {"precious": 1})
    (mpii_folder / "mpii_human_pose_v1_u12_1.mat").write_text("no matrix")
    with pytest.raises(BuildError, match="cannot be read as a MATLAB file"):
        convert(mpii_folder, overwrite=True)
    assert set(written(mpii_folder)) == {"val.json"}


def test_with_a_list_a_foreign_validation_file_is_refused_and_overwrite_replaces_it(mpii_folder, tmp_path):
    write_json(tmp_path / "list.json", ["b.jpg"])
    write_json(mpii_folder / "annotations/val.json", {"precious": 1})
    division = {"validation_list": str(tmp_path / "list.json")}
    with pytest.raises(BuildError, match=r"val\.json is there.*--overwrite replaces it by a conversion"):
        convert(mpii_folder, **division)
    convert(mpii_folder, **division, overwrite=True)
    (image,) = json.loads(written(mpii_folder)["val.json"])["images"]
    assert image["file_name"] == "b.jpg"


def test_the_build_says_why_it_refuses_a_foreign_validation_file(mpii_folder, capsys):
    write_json(mpii_folder / "annotations/val.json", {"precious": 1})
    assert command(["--dataset=mpii", f"--dataset_dir={mpii_folder}", "--input_size=64x64"]) == 1
    assert "without --validation_list" in capsys.readouterr().err
    assert not (mpii_folder / "records").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_posetracks_splits_without_raw_annotations_are_used_as_they_are(posetrack_folder, overwrite):
    (posetrack_folder / "original_annotations/val/000003_bonn_val.json").unlink()
    for name in ("val2018.json", "test2018.json"):
        write_json(posetrack_folder / "annotations" / name, {"precious": 1})
    before = identities(posetrack_folder)
    for _ in range(2):
        convert(posetrack_folder, "posetrack", overwrite=overwrite)
        assert touched(posetrack_folder, before) == {"train2018.json", "conversion.json"}


def test_a_list_may_be_moved_without_another_conversion(mpii_folder, tmp_path):
    write_json(tmp_path / "list.json", ["b.jpg"])
    convert(mpii_folder, validation_list=str(tmp_path / "list.json"))
    before = identities(mpii_folder)
    (tmp_path / "list.json").rename(tmp_path / "moved.json")
    convert(mpii_folder, validation_list=str(tmp_path / "moved.json"))
    assert touched(mpii_folder, before) == set()
