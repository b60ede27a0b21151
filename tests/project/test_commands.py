"""The three commands from nothing to an AP table, by subprocess; what else they do, in this process."""

import functools
import json
import re
import shutil

import cv2
import numpy as np
import pytest

from tests.helpers import commands
from tests.helpers.commands import COMMANDS, call_here
from tests.helpers.shared import shared_data

fails = functools.partial(commands.fails, call=call_here)
succeeds = functools.partial(commands.succeeds, call=call_here)

METRICS = ["AP", "AP .5", "AP .75", "AP (M)", "AP (L)", "AR", "AR .5", "AR .75", "AR (M)", "AR (L)"]
SYNTHETIC = ("--dataset=synthetic", "--dataset_dir=data")
TINY_DATA = ("--train_images=12", "--val_images=5", "--input_size=64x96", "--instances_per_shard=8")
TINY_RUN = ("--gpus=0", "--model=w24_tiny", "--batch_size=8")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with records of a few synthetic people and a run of one epoch on them."""
    folder = tmp_path_factory.mktemp("tiny")
    built = commands.succeeds(folder, "pipelines/build_records.py", *SYNTHETIC, *TINY_DATA, "--workers=2")
    trained = commands.succeeds(folder, "train/main.py", *SYNTHETIC, *TINY_RUN, "--epochs=1")
    return folder, built, trained


@pytest.mark.smoke
@pytest.mark.slow
def test_from_nothing_to_a_table_on_synthetic_instances(tiny):
    folder, built, trained = tiny
    assert "records" in built.stdout
    assert re.search(r"filtered +0\n  rejected +0\n", built.stdout)
    assert "epoch 1: loss" in trained.stdout + trained.stderr
    assert list((folder / "output/log").glob("events.*"))
    evaluation = commands.succeeds(
        folder, "evaluate/main.py", "--epoch=1", "--dataset_dir=data", "--num_images=8"
    )
    assert len(re.findall(r"^Average (?:Precision|Recall)", evaluation.stdout, re.MULTILINE)) == 10
    sheet = re.search(r"^image: (.*)$", evaluation.stdout, re.MULTILINE)[1]
    assert cv2.imread(str(folder / sheet)) is not None
    report = (folder / re.search(r"^report: (.*)$", evaluation.stdout, re.MULTILINE)[1]).read_text()
    assert "AP by size" in report
    assert "There is no published number for this recipe" in report
    name = "person_keypoints_val_w24_tiny_epoch-0001_detections"
    summary = json.loads((folder / f"output/result/{name}_metrics.json").read_text())
    assert list(summary["metrics"]) == METRICS
    results = json.loads((folder / f"output/result/{name}_results.json").read_text())
    ground_truth = json.loads((folder / "data/annotations/person_keypoints_val.json").read_text())
    assert {result["image_id"] for result in results} <= {image["id"] for image in ground_truth["images"]}
    assert all(np.isfinite(result["keypoints"]).all() for result in results)


@pytest.mark.smoke
@pytest.mark.slow
def test_annotated_boxes_can_be_evaluated_instead(tiny):
    folder, *_ = tiny
    evaluation = succeeds(
        folder, "evaluate/main.py", "--dataset_dir=data", "--boxes=ground_truth", "--noflip_test"
    )
    assert "annotated boxes" in evaluation.stderr
    assert "flip test off" in evaluation.stderr


@pytest.mark.smoke
@pytest.mark.slow
def test_continue_goes_on_after_the_last_epoch_and_ends_where_it_should(tiny):
    folder, *_ = tiny
    train = (folder, "train/main.py", *SYNTHETIC, *TINY_RUN, "--epochs=2")
    fails(1, "already holds a run .*--continue", *train)
    went_on = succeeds(*train, "--continue")
    assert "epoch 2 to 2, continued" in went_on.stderr
    assert {path.name for path in (folder / "output/model_dump").glob("epoch-*")} == {
        "epoch-0001",
        "epoch-0002",
    }
    assert "all 2 epochs are done" in succeeds(*train, "--continue").stderr
    fails(1, r"other settings \(sigma: 2.0 → 3.0\)", *train, "--continue", "--sigma=3")


@pytest.mark.slow
def test_what_a_user_can_get_wrong_with_a_run_ends_in_one_line(tiny):
    folder, *_ = tiny
    evaluate = (folder, "evaluate/main.py", "--dataset_dir=data")
    fails(1, r"epoch 7 was never saved .*saved epochs: 1", *evaluate, "--epoch=7")
    fails(1, r"no run in .*model_dump.*train/main.py", *evaluate, "--run_dir=elsewhere")
    fails(1, r"no records in .*build_records.py", *evaluate, "--split=train", "--boxes=detections")
    other = (folder, "train/main.py", *SYNTHETIC, *TINY_RUN, "--run_dir=other")
    fails(1, r"records were built for inputs of 64x96 .*--input_size=96x96", *other, "--input_size=96x96")
    fails(1, r"fewer than one batch of 512", *other, "--batch_size=512")
    # Annotations that changed since the build would be measured against the wrong instances.
    path = folder / "data/annotations/person_keypoints_val.json"
    before = path.read_bytes()
    path.write_bytes(before + b" ")
    fails(1, "is not the annotation file the records were built with", *evaluate)
    path.write_bytes(before)


@pytest.mark.slow
def test_a_damaged_shard_ends_in_one_line(tiny, tmp_path):
    folder, *_ = tiny
    shutil.copytree(folder / "data/records", tmp_path / "records")
    where = ("--records_dir", tmp_path / "records", "--dataset_dir=data")
    for part in ("train", "val_detections"):
        shard = next((tmp_path / "records" / part).glob("*.tfrecord-00000-*"))
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    message = r"are damaged \(\S*tfrecord-00000\S*: record \d+ at byte .*records/check.py .*--overwrite"
    train = ("train/main.py", "--dataset=synthetic", *where, *TINY_RUN, "--run_dir", tmp_path / "run")
    fails(1, message, folder, *train, "--epochs=1")
    fails(1, message, folder, "evaluate/main.py", *where)


def test_wrong_usage_exits_with_2(tmp_path):
    fails(2, "dataset", tmp_path, "train/main.py", "--dataset=cocoa")
    fails(2, "gpus", tmp_path, "train/main.py", "--gpus=many")
    fails(2, r"--gpus=4: TensorFlow finds none here; --gpus=0", tmp_path, "train/main.py", "--gpus=4")
    fails(2, "every option is a --flag", tmp_path, "evaluate/main.py", "210")
    fails(2, "input_size=192", tmp_path, "train/main.py", "--input_size=192")
    fails(2, "multiples of 32", tmp_path, "train/main.py", "--input_size=150x200")
    fails(2, "learning_rate=nan: expected a finite", tmp_path, "train/main.py", "--learning_rate=nan")
    build = (tmp_path, "pipelines/build_records.py", "--dataset=synthetic", "--dataset_dir=data")
    fails(2, "unexpected argument 'foo' after --", *build, "--", "foo")
    fails(2, "multiples of 32", *build, "--input_size=150x200")
    assert not (tmp_path / "data").exists()  # nothing is drawn before the flags are known to be right


def test_no_records_yet_says_what_to_run(tmp_path):
    fails(1, r"no records in dataset/COCO/records/train.*build_records.py",
          tmp_path, "train/main.py", "--gpus=0")  # fmt: skip
    fails(1, "no run in output/model_dump", tmp_path, "evaluate/main.py", "--epoch=210")
    assert not (tmp_path / "output").exists()


@pytest.mark.smoke
@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_there_from_any_folder(tmp_path, command):
    result = commands.succeeds(tmp_path, command, "--help")
    assert result.stdout.startswith(f"usage: python {command}")
    assert result.stderr == ""


@pytest.mark.slow
def test_the_same_commands_on_real_coco(tmp_path):
    data = tmp_path / "COCO"
    data.mkdir()
    for part in ("annotations", "dets", "images"):
        (data / part).symlink_to(shared_data("dataset", "COCO", part))
    where = ("--dataset_dir", data)
    built = succeeds(tmp_path, "pipelines/build_records.py", *where, "--input_size=96x128").stdout
    assert re.findall(r"instances +([\d,]+)  of 17", built) == ["86", "68", "200"]
    for reason in ("81  no_keypoints", "5  crowd", "4  other_category"):
        assert reason in built
    succeeds(tmp_path, "train/main.py", *where, *TINY_RUN, "--epochs=2", "--batch_size=16")
    for boxes, kept in (("detections", 200), ("ground_truth", 68)):
        evaluation = succeeds(tmp_path, "evaluate/main.py", *where, "--epoch=2", f"--boxes={boxes}")
        assert len(re.findall(r"^Average", evaluation.stdout, re.MULTILINE)) == 10
        count = int(re.search(r"(\d+) instances kept of \d+ boxes", evaluation.stderr)[1])
        assert 0 < count <= kept
