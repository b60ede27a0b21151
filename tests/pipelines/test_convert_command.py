"""The command on MPII and PoseTrack as they are downloaded: converted and built in one go."""

import json

import numpy as np
import pytest

from pipelines.cli import command
from records.manifest import read_manifest
from tests.helpers.releases import write_mpii, write_posetrack
from tests.helpers.shared import shared_data

RELEASE = "mpii_human_pose_v1_u12_1.mat"


def read(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("dataset", "write", "counts"),
    [("mpii", write_mpii, {"train": 5}), ("posetrack", write_posetrack, {"train": 6, "val": 3})],
)
def test_linked_folders_are_built(tmp_path, capsys, dataset, write, counts):
    write(tmp_path / "disk")
    (tmp_path / "data").mkdir()
    for path in (tmp_path / "disk").iterdir():
        (tmp_path / "data" / path.name).symlink_to(path)
    assert command([f"--dataset={dataset}", f"--dataset_dir={tmp_path / 'data'}", "--input_size=64x64"]) == 0
    built = {path.name: read_manifest(path).records for path in (tmp_path / "data/records").iterdir()}
    assert built == counts
    assert not (tmp_path / "disk/annotations").exists()
    capsys.readouterr()


def test_images_may_lie_elsewhere(tmp_path, capsys):
    mpii_folder = tmp_path / "MPII"
    write_mpii(mpii_folder)
    (mpii_folder / "images").rename(tmp_path / "photos")
    arguments = ["--dataset=mpii", f"--dataset_dir={mpii_folder}", "--split=train", "--input_size=64x64"]
    assert command([*arguments, f"--images={tmp_path / 'photos'}"]) == 0
    assert read_manifest(mpii_folder / "records/train").records == 5
    assert "warning" not in "".join(capsys.readouterr())


def test_the_older_converters_files_are_written_and_built(tmp_path, capsys):
    golden = shared_data("golden", "mpii")
    (tmp_path / RELEASE).symlink_to(golden / RELEASE)
    (tmp_path / "images").symlink_to(shared_data("dataset", "MPII", "images"))
    arguments = ["--dataset=mpii", f"--dataset_dir={tmp_path}", "--mpii_boxes=keypoints"]
    assert command([*arguments, "--max_bad_fraction=0.2"]) == 0
    for split in ("train", "test"):
        received, expected = (
            read(path) for path in (tmp_path / f"annotations/{split}.json", golden / f"expected_{split}.json")
        )
        for one, other in zip(received["annotations"], expected["annotations"], strict=True):
            for name in ("bbox", "area"):
                np.testing.assert_allclose(one.pop(name), other.pop(name), rtol=0, atol=1e-6)
        assert received == expected
    manifest = read_manifest(tmp_path / "records/train")
    assert manifest.filtered == {"no_extent": 8}
    # One of the made-up instances stands outside of the image.
    assert manifest.rejected == {"box_outside": 1}
    assert manifest.records == len(expected_instances(golden)) - 1
    assert "missing" not in "".join(capsys.readouterr())


def expected_instances(golden):
    return read(golden / "expected_train.json")["annotations"]
