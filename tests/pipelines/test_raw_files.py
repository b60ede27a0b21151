"""Which raw annotations a conversion is made of: all that are there, wherever a link leads, or an error."""

import pytest
from apache_beam.io.filesystem import FileMetadata, MatchResult

from pipelines.annotations import raw_files
from pipelines.cli import command
from pipelines.errors import BuildError
from records.manifest import read_manifest
from tests.helpers.builders import write_json
from tests.helpers.releases import convert, video, write_mpii, write_posetrack, written


@pytest.fixture
def posetrack_folder(tmp_path):
    write_posetrack(tmp_path / "PoseTrack")
    return tmp_path / "PoseTrack"


def link_away(path, place):
    """Moves a file or folder elsewhere and leaves a link."""
    path.rename(place)
    path.symlink_to(place)


# ---- the list


def test_json_files_are_listed_in_the_order_of_their_names(tmp_path):
    for name in ("b.json", "a.json", "notes.txt"):
        (tmp_path / name).write_text("{}")
    assert raw_files.list_json(str(tmp_path)) == [f"{tmp_path}/a.json", f"{tmp_path}/b.json"]
    assert raw_files.list_json(f"{tmp_path}/nowhere") == []


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "train").write_text("")
    with pytest.raises(BuildError, match=r"train cannot be read: Not a directory; expected a folder"):
        raw_files.list_json(f"{tmp_path}/train")


def test_other_file_systems_are_asked_for_their_match(monkeypatch):
    def match(patterns):
        assert patterns == ["gs://bucket/train/*.json"]
        return [MatchResult(patterns[0], [FileMetadata(f"gs://bucket/train/{n}.json", 1) for n in "ba"])]

    monkeypatch.setattr("pipelines.annotations.raw_files.FileSystems.match", match)
    assert raw_files.list_json("gs://bucket/train") == [
        "gs://bucket/train/a.json",
        "gs://bucket/train/b.json",
    ]


# ---- links


@pytest.mark.parametrize("splits", [("train",), ("val",), ("train", "val")])
def test_linked_split_folders_are_converted_and_watched(posetrack_folder, tmp_path, splits):
    convert(posetrack_folder, "posetrack")
    expected = written(posetrack_folder)
    for path in (posetrack_folder / "annotations").iterdir():
        path.unlink()
    for split in splits:
        link_away(posetrack_folder / "original_annotations" / split, tmp_path / split)
    convert(posetrack_folder, "posetrack")
    assert written(posetrack_folder) == expected
    write_json(tmp_path / splits[0] / "000009_bonn.json", video([], []))
    with pytest.raises(BuildError, match="raw_sha256 was"):
        convert(posetrack_folder, "posetrack")


@pytest.mark.parametrize(
    "name",
    ["original_annotations", "original_annotations/val", "original_annotations/val/000003_bonn_val.json"],
)
def test_a_link_to_nothing_is_named_and_nothing_is_written(posetrack_folder, tmp_path, name):
    link_away(posetrack_folder / name, tmp_path / "place")
    (tmp_path / "place").rename(tmp_path / "elsewhere")
    with pytest.raises(BuildError, match=rf"{name} is a link to .*place, which does not exist"):
        convert(posetrack_folder, "posetrack")
    assert not (posetrack_folder / "annotations").exists()


def test_a_release_that_is_a_link_to_nothing_is_named(tmp_path):
    write_mpii(tmp_path)
    path = tmp_path / "mpii_human_pose_v1_u12_1.mat"
    path.unlink()
    path.symlink_to(tmp_path / "gone.mat")
    with pytest.raises(BuildError, match=r"u12_1\.mat is a link to .*gone\.mat, which does not exist"):
        convert(tmp_path)


def test_a_folder_named_like_a_file_is_an_error_that_names_it(posetrack_folder):
    (posetrack_folder / "original_annotations/val/a.json").mkdir()
    with pytest.raises(BuildError, match=r"val/a\.json cannot be read"):
        convert(posetrack_folder, "posetrack")


# ---- empty splits


@pytest.mark.parametrize("split", [[], ["--split=train"]])
def test_an_empty_split_is_as_good_as_none(posetrack_folder, capsys, split):
    (posetrack_folder / "original_annotations/test").mkdir()
    arguments = ["--dataset=posetrack", f"--dataset_dir={posetrack_folder}", "--input_size=64x64", *split]
    assert command(arguments) == 0
    assert read_manifest(posetrack_folder / "records/train").records == 6
    assert set(written(posetrack_folder)) == {"train2018.json", "val2018.json", "conversion.json"}
    capsys.readouterr()


def test_a_named_split_that_is_empty_is_an_error(posetrack_folder, capsys):
    (posetrack_folder / "original_annotations/val/000003_bonn_val.json").unlink()
    arguments = ["--dataset=posetrack", f"--dataset_dir={posetrack_folder}", "--split=val"]
    assert command(arguments) == 1
    assert "val2018.json does not exist; it is converted from" in capsys.readouterr().err


# ---- what stands for their content


@pytest.mark.parametrize(
    "target", ["train/000003_bonn_val.json", "test/000003_bonn_val.json", "val/000004_bonn_val.json"]
)
def test_moving_or_renaming_a_file_is_noticed(posetrack_folder, target):
    convert(posetrack_folder, "posetrack")
    originals = posetrack_folder / "original_annotations"
    (originals / target).parent.mkdir(exist_ok=True)
    (originals / "val/000003_bonn_val.json").rename(originals / target)
    with pytest.raises(BuildError, match=r"raw_sha256 was .*, now .*--overwrite"):
        convert(posetrack_folder, "posetrack")


def test_the_digest_is_of_paths_below_the_folder_and_content_in_any_order(tmp_path):
    digests = set()
    for name in ("here", "there"):
        write_json(tmp_path / name / "a/x.json", 1)
        write_json(tmp_path / name / "b/x.json", 2)
        paths = [f"{tmp_path}/{name}/{part}/x.json" for part in "ab"]
        digests |= {raw_files.digest(tmp_path / name, paths), raw_files.digest(tmp_path / name, paths[::-1])}
    assert len(digests) == 1
    write_json(tmp_path / "there/b/x.json", 3)
    assert raw_files.digest(tmp_path / "there", paths) not in digests
