"""A conversion into annotations that are there: equal files stay untouched, others' are kept or refused."""

import errno
import itertools
import json
import os
import shutil

import pytest
from apache_beam.io.filesystems import FileSystems

from pipelines.cli import command
from pipelines.errors import BuildError
from records.annotations import mat_files
from tests.helpers.builders import shard_bytes, write_json
from tests.helpers.releases import convert, write_mpii, write_posetrack, written


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
    ("dataset", "write", "image"),
    [
        ("mpii", write_mpii, "images/b.jpg"),
        ("posetrack", write_posetrack, "images/val/000003_bonn_val/000001.jpg"),
    ],
)
def test_while_an_image_is_missing_nothing_is_written_again(tmp_path, dataset, write, image):
    write(tmp_path)
    (tmp_path / image).unlink()
    first = convert(tmp_path, dataset)
    before, said = identities(tmp_path), []
    assert convert(tmp_path, dataset, said=said) == first
    assert convert(tmp_path, dataset, said=said, overwrite=True) == first
    assert touched(tmp_path, before) == set()
    assert sum("already converted" in line for line in said) == 2
    assert sum("images are missing or unreadable" in line for line in said) == 2


def test_what_the_first_version_has_converted_is_not_converted_again(mpii_folder):
    first, path = convert(mpii_folder), mpii_folder / "annotations/conversion.json"
    text = path.read_text()
    earlier = text.replace('"filtered"', '"left_out"').replace('"unreadable_images"', '"unreadable_pictures"')
    assert earlier != text
    path.write_text(earlier)
    before, said = identities(mpii_folder), []
    assert convert(mpii_folder, said=said) == first
    assert touched(mpii_folder, before) == set()
    assert "already converted" in said[0]


def test_an_image_that_has_come_changes_its_size_and_nothing_else(mpii_folder, tmp_path):
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


def test_an_image_that_its_video_has_stood_in_for_changes_the_record_only(posetrack_folder, tmp_path):
    image = posetrack_folder / "images/val/000003_bonn_val/000001.jpg"
    image.rename(tmp_path / "a.jpg")
    convert(posetrack_folder, "posetrack")
    before = identities(posetrack_folder)
    (tmp_path / "a.jpg").rename(image)
    convert(posetrack_folder, "posetrack")
    assert touched(posetrack_folder, before) == {"conversion.json"}


# ---- files of somebody else


@pytest.mark.parametrize("converted_before", [False, True])
def test_a_foreign_validation_file_beside_an_undivided_mpii_is_refused(mpii_folder, converted_before):
    if converted_before:
        convert(mpii_folder)
    write_json(mpii_folder / "annotations/val.json", {"precious": 1})
    before = identities(mpii_folder)
    with pytest.raises(BuildError, match=r"val\.json is there.*instances in common.*--validation_list, move"):
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


# ---- a conversion that fails, or is killed


def test_a_full_disk_leaves_a_file_that_overwrite_was_to_replace(mpii_folder, monkeypatch):
    write_json(mpii_folder / "annotations/train.json", {"precious": 1})
    before = identities(mpii_folder)

    def full(path, content):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr("pipelines.annotations.conversion.write_whole", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*train\.json'"):
        convert(mpii_folder, overwrite=True)
    assert touched(mpii_folder, before) == set()


def files(folder):
    """{name: content} of the annotation files, whatever else is there."""
    return {path.name: path.read_bytes() for path in (folder / "annotations").glob("*.json")}


class Killed(BaseException):
    pass


def dying(function, done, last):
    """A function of which, and of others with the same list, so many calls are done and no more."""

    def call(*arguments, **options):
        if len(done) == last:
            raise Killed
        done.append(function)
        return function(*arguments, **options)

    return call


@pytest.mark.parametrize("foreign", [False, True])
def test_a_conversion_killed_at_any_step_is_completed_by_the_same_command(foreign, tmp_path, monkeypatch):
    def read_here(content, names):  # a process of its own takes its time
        return mat_files._read(content, names)["variables"]

    monkeypatch.setattr("pipelines.annotations.mpii_release.read_mat", read_here)
    whole, old = tmp_path / "whole", tmp_path / "old"
    write_mpii(whole)
    shutil.copytree(whole, old)
    convert(whole)
    write_json(tmp_path / "list.json", ["b.jpg"])
    if foreign:
        write_json(old / "annotations/train.json", {"precious": 1})
        write_json(old / "annotations/val.json", {"precious": 1})
    else:
        convert(old, validation_list=str(tmp_path / "list.json"))
    states = written(old), written(whole)
    for step in itertools.count():
        folder, steps, ended = tmp_path / str(step), [], False
        shutil.copytree(old, folder)
        with monkeypatch.context() as patch:
            for name in ("create", "rename", "delete"):
                patch.setattr(FileSystems, name, dying(getattr(FileSystems, name), steps, step))
            try:
                convert(folder, overwrite=True)
                ended = True
            except Killed:
                pass
        for name in ("train.json", "val.json"):  # each is what it was or what it is to be
            assert files(folder).get(name) in [state.get(name) for state in states]
        convert(folder, overwrite=True)
        assert written(folder) == states[1]
        if ended:
            break
    assert len(steps) > 6


def test_replaced_files_of_others_are_named(mpii_folder):
    write_json(mpii_folder / "annotations/train.json", {"precious": 1})
    said = []
    convert(mpii_folder, said=said, overwrite=True)
    assert f"{mpii_folder}/annotations/train.json: replaced, which this command had not written" in said


# ---- a dataset that cannot be written


@pytest.mark.parametrize(("dataset", "write"), [("mpii", write_mpii), ("posetrack", write_posetrack)])
def test_the_annotations_of_a_dataset_that_is_read_only_go_elsewhere(dataset, write, tmp_path, capsys):
    for name in ("here", "there"):
        write(tmp_path / name)
    flags = [f"--dataset={dataset}", "--input_size=64x64", "--max_bad_fraction=1"]
    assert command([*flags, f"--dataset_dir={tmp_path}/here"]) == 0
    elsewhere = [f"--annotations_dir={tmp_path}/mine", f"--records_dir={tmp_path}/records"]
    assert command([*flags, f"--dataset_dir={tmp_path}/there", *elsewhere]) == 0
    assert not (tmp_path / "there/annotations").exists()
    assert {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()} == written(
        tmp_path / "here"
    )
    for path in (tmp_path / "here/records").iterdir():
        assert shard_bytes(tmp_path / "records" / path.name) == shard_bytes(path)
    capsys.readouterr()
    assert command([*flags, f"--dataset_dir={tmp_path}/there", *elsewhere]) == 0
    said = "".join(capsys.readouterr())
    assert "already converted" in said
    assert "→" not in said


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_an_annotations_folder_that_cannot_be_written_is_named_with_what_to_do(
    number, mpii_folder, monkeypatch
):
    def refuse(path, content):
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr("pipelines.annotations.conversion.write_whole", refuse)
    with pytest.raises(
        BuildError, match=r"MPII/annotations cannot be written \(.*\); --annotations_dir says"
    ):
        convert(mpii_folder)


def test_an_annotations_folder_for_a_dataset_that_is_not_converted_is_wrong_usage(tmp_path, capsys):
    assert command([f"--dataset_dir={tmp_path}", "--annotations_dir=a"]) == 2
    assert "--annotations_dir is for datasets that are converted" in capsys.readouterr().err
