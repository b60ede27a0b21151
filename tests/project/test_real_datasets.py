"""The real datasets' small samples through the command: who becomes a record, who does not and why."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipelines.annotations.mpii_release import read_release
from records.checking.cli import command as check
from records.manifest import read_manifest
from records.schema import parse_examples
from tests.helpers.commands import succeeds
from tests.helpers.shared import shared_data

pytestmark = pytest.mark.slow

PARTS = {
    "COCO": ("annotations", "dets", "images"),
    "MPII": ("mpii_human_pose_v1_u12_1.mat", "images"),
    "PoseTrack": ("original_annotations", "dets", "images"),
}


def linked(folder, dataset):
    """A dataset's folder whose parts are links to the sample, which nothing may be written to."""
    (folder / "data").mkdir()
    for part in PARTS[dataset]:
        (folder / "data" / part).symlink_to(shared_data("dataset", dataset, part))
    return folder / "data"


def build(folder, dataset, capsys, *arguments):
    """Builds a sample from another directory; returns {folder of records: manifest} and the output."""
    (folder / "elsewhere").mkdir(exist_ok=True)
    name = dataset.lower()
    result = succeeds(
        folder / "elsewhere", "pipelines/build_records.py", f"--dataset={name}", "--dataset_dir=../data",
        *arguments,
    )  # fmt: skip
    records = folder / "data/records"
    manifests = {path.name: read_manifest(path) for path in records.iterdir()}
    for path in records.iterdir():
        assert check([str(path), "--num_images=4"]) == 0
        checked = capsys.readouterr().out
        assert f"checked {manifests[path.name].records} instances in 1 shards" in checked
        assert "all is well" in checked
        assert (path / "contact_sheet.png").is_file()
    return manifests, result.stdout + result.stderr


def counts(manifests):
    return {name: (m.records, m.filtered, m.rejected) for name, m in manifests.items()}


def parse(folder, manifest):
    paths = [str(Path(folder) / shard.name) for shard in manifest.shards]
    parsed = parse_examples(list(tf.data.TFRecordDataset(paths)), manifest.skeleton.num_keypoints)
    return {name: tensor.numpy() for name, tensor in parsed.items()}


def filtered_by_coco(path):
    """Counted from the file itself: crowds, and instances without a labeled keypoint."""
    instances = json.loads(path.read_text())["annotations"]
    crowd = sum(instance["iscrowd"] for instance in instances)
    nothing = sum(instance["num_keypoints"] == 0 and not instance["iscrowd"] for instance in instances)
    return len(instances) - crowd - nothing, {"no_keypoints": nothing, "crowd": crowd}


def test_coco(tmp_path, capsys):
    data = linked(tmp_path, "COCO")
    manifests, output = build(tmp_path, "COCO", capsys, "--input_size=96x128")
    assert counts(manifests) == {
        "train": (86, {"no_keypoints": 81, "crowd": 5}, {}),
        "val": (68, {"no_keypoints": 49, "crowd": 1}, {}),
        "val_detections": (200, {"other_category": 4}, {}),
    }
    for split in ("train", "val"):
        path = data / f"annotations/person_keypoints_{split}2017.json"
        assert (manifests[split].records, manifests[split].filtered) == filtered_by_coco(path)
    boxes = json.loads((data / "dets/human_detection.json").read_text())
    categories = Counter(box["category_id"] for box in boxes)
    assert categories[1] == 200
    assert sum(categories.values()) == 204
    assert "81  no_keypoints" in output


def test_mpii(tmp_path, capsys):
    """16 instances of the training part; 4 of them have no keypoints: a real one and three made-up ones."""
    data = linked(tmp_path, "MPII")
    manifests, output = build(tmp_path, "MPII", capsys, "--input_size=256x256")
    assert counts(manifests) == {"train": (12, {"no_keypoints": 4}, {})}
    assert "16 instances in 7 images" in output
    entries = read_release(data / "mpii_human_pose_v1_u12_1.mat")
    instances = {r.instance_id: r for entry in entries if entry.split == "train" for r in entry.instances}
    assert sorted(instances_id for instances_id, r in instances.items() if not r.keypoints) == [1, 6, 16, 17]
    assert len(instances) == 16

    # The official loader: the center 15 scale lower and counted from 0, the scale 1.25 times as large.
    records = parse(data / "records/train", manifests["train"])
    assert sorted(records["instance_id"].tolist()) == sorted(n for n, r in instances.items() if r.keypoints)
    for instance_id, center, scale in zip(
        *(records[n] for n in ("instance_id", "center", "scale")), strict=True
    ):
        one = instances[instance_id]
        np.testing.assert_allclose(center, [one.objpos[0] - 1, one.objpos[1] + 15 * one.scale - 1], atol=1e-3)
        np.testing.assert_allclose(scale, 1.25 * 200 * one.scale, rtol=1e-6)

    # The images of the test part, for those who want to predict: three instances in two images.
    manifests, output = build(tmp_path, "MPII", capsys, "--input_size=256x256", "--split=test")
    assert "already converted" in output
    assert counts(manifests)["test"] == (3, {}, {})
    assert manifests["test"].images == 2


def test_posetrack(tmp_path, capsys):
    data = linked(tmp_path, "PoseTrack")
    manifests, _ = build(tmp_path, "PoseTrack", capsys, "--input_size=96x128")
    assert counts(manifests) == {"val": (14, {}, {}), "val_detections": (278, {}, {})}
    originals = [json.loads(p.read_text()) for p in (data / "original_annotations/val").iterdir()]
    assert sum(len(original["annotations"]) for original in originals) == 14
    assert len(json.loads((data / "dets/human_detection.json").read_text())) == 278
    records = parse(data / "records/val", manifests["val"])
    ears = [name.endswith("ear") for name in manifests["val"].skeleton.keypoints]
    assert not records["keypoints"][:, ears].any()
    assert (records["keypoints"][..., 2].sum(axis=1) > 0).all()
