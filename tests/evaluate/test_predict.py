"""Prediction on a user's own images: the same path as evaluation, boxes, bad images, the command."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from evaluate.inference import predict
from evaluate.network import load_network
from evaluate.prediction.cli import command
from evaluate.prediction.files import passed_over, result_names, write_results
from evaluate.prediction.predict import cut_inputs, predict_instances
from hrpose.command import CommandError
from model.image_files import ImageError, read_image
from model.run_config import RunConfig, write_config
from model.run_folder import RunError, save_checkpoint
from pipelines.build import build_records
from records.reader import read_records
from records.skeletons import COCO
from tests.helpers.builders import generate_image, make_build, make_dataset
from tests.helpers.full_disk import full_disk_at
from tests.helpers.networks import network
from tests.helpers.shared import ROOT, shared_data

INPUT = (96, 128)
CONFIG = RunConfig("coco", "", COCO.to_json(), "w24_tiny", INPUT, "msra", 2.0, {})


def centroids(images):
    """Stands for a network: 17 points that depend smoothly on the pixels, (N, 17, 3) in heatmap pixels."""
    colors = tf.nn.avg_pool2d(tf.cast(images, tf.float32) / 255, 4, 4, "VALID")
    weights = tf.stack([colors[..., k % 3] ** (1 + k // 3) + 1e-3 for k in range(17)], axis=-1)
    weights /= tf.reduce_sum(weights, axis=(1, 2), keepdims=True)
    y, x = (tf.range(size, dtype=tf.float32) for size in colors.shape[1:3])
    points = [tf.einsum("nhwk,w->nk", weights, x), tf.einsum("nhwk,h->nk", weights, y)]
    return tf.stack([*points, tf.ones_like(points[0])], axis=-1)


def largest_difference(records, images, image_of, config=CONFIG):
    """Input pixels between the evaluator's keypoints and those predicted on the images, per box record."""
    codec = config.make_codec()
    (batch,) = read_records(records, 1000, input_size=INPUT, unbiased=codec.unbiased)
    (expected,) = predict([centroids], [batch], config.heatmap_size, codec)
    differences = []
    for row, image_id in enumerate(expected.image_ids.tolist()):
        pixels = read_image(images / image_of[image_id], exif_orientation=False)
        box = batch["box"].numpy()[row : row + 1].astype(float)
        (instance,) = predict_instances(centroids, pixels, (box, np.ones(1)), config, COCO, 32)
        distance = np.abs(instance["keypoints"] - expected.keypoints[row])[:, :2].max()
        differences.append(distance * INPUT[0] / batch["scale"].numpy()[row, 0])
    assert len(differences) > 10
    return max(differences)


@pytest.mark.parametrize("codec", ["msra", "udp"])
def test_the_keypoints_are_those_of_the_evaluator_for_the_same_box(tmp_path, codec):
    data = make_dataset(tmp_path)
    crop = {"quality": 100, "scale_factor": None, "input_size": INPUT}
    build_records(make_build(tmp_path, tmp_path / "out", crop=crop, max_bad_fraction=1.0))
    names = {entry["id"]: entry["file_name"] for entry in data["images"]}
    config = replace(CONFIG, codec=codec)
    assert largest_difference(tmp_path / "out", tmp_path / "images/train2017", names, config) < 0.1


# Not of instances stored sharper for the sake of their halves: these are sampled from more pixels than
# `predict` keeps.
@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [({"quality": 100, "scale_factor": None}, 0.15), ({"quality": 80, "sharp_halves": False}, 0.6)],
)
def test_on_coco_they_differ_by_the_jpegs_noise_only(tmp_path, changes, tolerance):
    coco = shared_data("dataset", "COCO")
    build_records(make_build(coco, tmp_path / "out", "val", crop=changes | {"input_size": INPUT}))
    content = json.loads((coco / "annotations/person_keypoints_val2017.json").read_text())
    names = {entry["id"]: entry["file_name"] for entry in content["images"]}
    assert largest_difference(tmp_path / "out", coco / "images/val2017", names) < tolerance


def test_the_input_is_black_outside_of_the_image():
    pixels = np.full((50, 40, 3), 200, np.uint8)
    (seen,) = cut_inputs(pixels, np.array([[0.0, 25.0]]), np.array([[40.0, 50.0]]), (80, 100))
    assert (seen[:, :38] == 0).all()
    assert (seen[1:-2, 42:] == 200).all()


def test_doubled_boxes_give_one_instance_and_none_give_nobody():
    pixels = generate_image(np.random.default_rng(0), 120, 160)
    boxes = np.array([[10, 10, 60, 90], [10, 10, 60, 90], [11, 10, 60, 90]], float)
    instances = predict_instances(centroids, pixels, (boxes, np.array([0.3, 0.9, 0.5])), CONFIG, COCO, 2)
    assert [instance["score"] for instance in instances] == [pytest.approx(0.9)]
    assert predict_instances(centroids, pixels, (np.zeros((0, 4)), np.zeros(0)), CONFIG, COCO, 2) == []


def test_a_network_that_says_nan_is_reported():
    with pytest.raises(CommandError, match="not finite"):
        predict_instances(
            lambda images: tf.fill((1, 17, 3), np.float32(np.nan)),
            np.zeros((50, 50, 3), np.uint8),
            (np.array([[0, 0, 50, 50.0]]), np.ones(1)),
            CONFIG,
            COCO,
            2,
        )


@pytest.fixture
def images(tmp_path):
    """A folder with 000000000139.jpg, b.png and b.jpg, 120x90."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, name in enumerate(("000000000139.jpg", "b.png", "b.jpg")):
        cv2.imwrite(str(folder / name), generate_image(np.random.default_rng(seed), 120, 90))
    (folder / "notes.txt").write_text("no image")
    return folder


def boxes_file(folder, content):
    path = folder / "boxes.json"
    path.write_text(json.dumps(content))
    return path


def test_a_full_disk_leaves_no_half_of_a_result(tmp_path, monkeypatch):
    full_disk_at("a.json", monkeypatch)
    pixels, instance = np.zeros((9, 9, 3), np.uint8), {"score": 1.0, "keypoints": np.ones((17, 3))}
    with pytest.raises(CommandError, match=r"a\.json could not be written: No space left on device"):
        write_results(tmp_path, "a", pixels, [instance], COCO, 0.2, {})
    assert [path.name for path in tmp_path.iterdir()] == ["a_pose.jpg"]


@pytest.mark.parametrize(
    ("images", "names"),
    [
        (["a.jpg", "b.png"], ["a", "b"]),
        (["a.jpg", "a.png", "b.png"], ["a.jpg", "a.png", "b"]),
        (["a.jpg", "a.jpg.jpg", "a.png", "b.png"], ["a.jpg", "a.jpg.jpg", "a.png", "b.png"]),
        (["A.jpg", "a.png"], ["A.jpg", "a.png"]),
    ],
)
def test_no_two_images_have_results_of_one_name(images, names):
    assert result_names([*map(Path, images)]) == names


def test_exif_orientation_is_respected_unless_told_otherwise(tmp_path):
    _, jpeg = cv2.imencode(".jpg", np.full((40, 80, 3), 90, np.uint8))
    # An APP1 segment with one entry: orientation (0x0112) 6, turn a quarter clockwise.
    tiff = b"MM\0*\0\0\0\x08" + b"\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0" + b"\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    path = tmp_path / "turned.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg.tobytes()[2:])
    assert read_image(path, True).shape == (80, 40, 3)
    assert read_image(path, False).shape == (40, 80, 3)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder with an untrained network after "epoch 3"."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "model_dump").mkdir()
    write_config(folder / "model_dump", CONFIG)
    model = network("w24_tiny", INPUT)
    optimizer = type("Empty", (), {"variables": []})()
    save_checkpoint(folder / "model_dump", 3, 0, model, optimizer)
    return folder


def test_a_run_is_loaded_by_its_last_epoch(run, tmp_path):
    assert load_network(run).epoch == 3
    with pytest.raises(RunError, match="epoch 4 was never saved"):
        load_network(run, 4)
    with pytest.raises(RunError, match="no run in"):
        load_network(tmp_path)


def test_a_folder_gives_an_image_and_a_json_file_each(run, images, tmp_path, capsys):
    (images / "cut.jpg").write_bytes((images / "b.jpg").read_bytes()[:200])
    (images / "empty.png").write_bytes(b"")
    out = tmp_path / "out"
    arguments = ["--image", str(images), "--run_dir", str(run), "--output_dir", str(out), "--noflip_test"]
    assert command(arguments) == 0
    said = capsys.readouterr()
    assert "the whole image is taken for the box of one instance" in said.err
    assert "w24_tiny after epoch 3, 5 images, flip test off" in said.err
    assert len(re.findall(r"warning: rejected: .*(cut.jpg|empty.png)", said.err)) == 2
    assert {path.name for path in out.iterdir()} == {
        f"{name}{end}" for name in ("000000000139", "b.jpg", "b.png") for end in (".json", "_pose.jpg")
    }
    for path in out.glob("*.json"):
        content = json.loads(path.read_text())
        assert (content["width"], content["height"], content["boxes"]) == (120, 90, "whole image")
        (instance,) = content["instances"]
        assert instance["box"] == [0, 0, 120, 90]
        assert list(instance["keypoints"]) == list(COCO.keypoints)
        assert np.isfinite(list(instance["keypoints"].values())).all()
        assert cv2.imread(str(path.with_name(f"{path.stem}_pose.jpg"))).shape == (90, 120, 3)


def test_one_bad_item_does_not_end_the_others(run, images, tmp_path, capsys):
    """A pipe would be waited for, a device read for ever; the other two ended the command."""
    os.mkfifo(images / "pipe.jpg")
    (images / "device.jpg").symlink_to("/dev/zero")
    (images / "circle.jpg").symlink_to("circle.jpg")
    (images / "folder.jpg").mkdir()
    shutil.copy(images / "b.jpg", images / f"{'n' * 247}.jpg")
    bytes_name = os.fsdecode(b"\xff.jpg")
    shutil.copy(images / "b.jpg", images / bytes_name)
    out = tmp_path / "out"
    arguments = ["--image", str(images), "--run_dir", str(run), "--output_dir", str(out), "--noflip_test"]
    assert command(arguments) == 0
    said = capsys.readouterr()
    for line in (
        "pipe.jpg is no regular file",
        "device.jpg is no regular file",
        "folder.jpg is no regular file",
        "circle.jpg cannot be read: Too many levels of symbolic links",
        "_pose.jpg could not be written: File name too long; the file system does not take this name",
    ):
        assert line in said.err
    assert "5 of 9 could not be used" in said.err
    assert "4 instances in 4 images" in said.out
    assert {path.stem for path in out.glob("*.json")} == {"000000000139", "b.jpg", "b.png", bytes_name[:1]}
    assert json.loads((out / f"{bytes_name[:1]}.json").read_text())["image"] == "\\xff.jpg"
    assert not list(out.glob("*.partial"))


def test_a_disk_that_is_full_ends_the_command(run, images, tmp_path, monkeypatch, capsys):
    full_disk_at("b.png.json", monkeypatch)
    arguments = ["--image", str(images), "--run_dir", str(run), "--output_dir", str(tmp_path / "out")]
    assert command([*arguments, "--noflip_test"]) == 1
    assert "b.png.json could not be written: No space left on device" in capsys.readouterr().err


def test_what_is_passed_over_in_a_folder_is_named_by_its_ending(run, images, tmp_path, capsys):
    for name in ("a.HEIC", "b.heic", "clip.mp4", "README", ".hidden.gif"):
        (images / name).touch()
    (images / "more").mkdir()
    shutil.copy(images / "b.jpg", images / "c.jfif")
    assert passed_over(images) == "2 .heic, 1 .mp4, 1 .txt, 1 folder, 1 without ending"
    assert passed_over(images / "b.jpg") == ""
    arguments = ["--image", str(images), "--run_dir", str(run), "--output_dir", str(tmp_path / "out")]
    assert command([*arguments, "--noflip_test"]) == 0
    assert "note: passed over 2 .heic, 1 .mp4" in capsys.readouterr().err
    assert (tmp_path / "out/c.json").is_file()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.heic").touch()
    assert command(["--image", str(tmp_path / "other"), "--run_dir", str(run)]) == 1
    assert "no images in this folder (1 .heic); expected .jpg" in capsys.readouterr().err


def test_an_image_too_wide_for_a_jpeg_is_left_out(tmp_path):
    with pytest.raises(ImageError, match="could not encode an image of shape"):
        write_results(tmp_path, "a", np.zeros((1, 70_000, 3), np.uint8), [], COCO, 0.2, {})


def test_the_category_is_coco_s_for_named_datasets_and_the_file_s_for_users_own(
    run, images, tmp_path, capsys
):
    boxes = boxes_file(tmp_path, [{"image": "b.png", "bbox": [5, 5, 50, 60], "category_id": 7}])
    arguments = ["--image", str(images / "b.png"), "--detections", str(boxes), "--output_dir", str(tmp_path)]
    assert command([*arguments, "--run_dir", str(run)]) == 1
    assert "is of category 1; they are of 7 (1). --detection_category says which" in capsys.readouterr().err
    assert command([*arguments, "--run_dir", str(run), "--detection_category=7"]) == 0
    assert len(json.loads((tmp_path / "b.json").read_text())["instances"]) == 1
    shutil.copytree(run, tmp_path / "custom")
    write_config(tmp_path / "custom/model_dump", replace(CONFIG, dataset="custom"))
    assert command([*arguments, "--run_dir", str(tmp_path / "custom")]) == 0
    assert "note: the boxes are of category 7, the only one there" in capsys.readouterr().err


def test_the_flip_test_is_on_unless_told_otherwise(run, images, tmp_path):
    arguments = ["--image", str(images / "b.png"), "--run_dir", str(run), "--output_dir"]
    assert command([*arguments, str(tmp_path / "both")]) == 0
    assert command([*arguments, str(tmp_path / "one"), "--noflip_test"]) == 0
    (both, one) = (json.loads((tmp_path / name / "b.json").read_text()) for name in ("both", "one"))
    assert both["instances"] != one["instances"]
    assert not both["averaged"]


def test_images_without_boxes_and_boxes_outside_of_the_image(run, images, tmp_path, capsys):
    boxes = boxes_file(
        tmp_path,
        [
            {"image": "b.png", "bbox": [5, 5, 50, 60], "score": 0.5},
            {"image": "b.jpg", "bbox": [500, 5, 50, 60]},
        ],
    )
    out = tmp_path / "out"
    arguments = ["--image", str(images), "--detections", str(boxes), "--run_dir", str(run)]
    assert command([*arguments, "--output_dir", str(out)]) == 0
    said = capsys.readouterr()
    assert "b.jpg: the box [500.0, 5.0, 50.0, 60.0] lies outside of the image" in said.err
    assert "1 images have no boxes" in said.err
    assert json.loads((out / "000000000139.json").read_text())["instances"] == []
    (instance,) = json.loads((out / "b.png.json").read_text())["instances"]
    assert instance["box"] == [5, 5, 50, 60]


def test_nobody_below_min_score_is_rendered_but_everybody_is_in_the_file(run, images, tmp_path, capsys):
    arguments = ["--image", str(images / "b.png"), "--run_dir", str(run), "--output_dir", str(tmp_path)]
    assert command([*arguments, "--min_score=1e9"]) == 0
    assert "1 instances in 1 image, 0 rendered" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "b.json").read_text())["instances"]) == 1
    rendered, image = cv2.imread(str(tmp_path / "b_pose.jpg")), cv2.imread(str(images / "b.png"))
    assert np.abs(rendered.astype(int) - image).mean() < 5


def test_what_a_user_can_get_wrong(run, images, tmp_path, capsys):
    def fails(code, message, *arguments):
        assert command(["--run_dir", str(run), *map(str, arguments)]) == code
        assert re.search(message, capsys.readouterr().err)

    fails(2, "--image is missing")
    fails(2, r"--output_dir=gs://b: expected a folder on this host", "--image=x", "--output_dir=gs://b")
    fails(1, "nowhere.jpg does not exist", "--image", "nowhere.jpg")
    (tmp_path / "empty").mkdir()
    fails(1, "no images in this folder", "--image", tmp_path / "empty")
    fails(2, "holds the images themselves", "--image", images, "--output_dir", images)
    fails(1, "no run in", "--image", images, "--run_dir", tmp_path)
    # Nothing that could be used.
    fails(1, "1 of 1 could not be used", "--image", images / "notes.txt", "--output_dir", tmp_path / "out")


@pytest.mark.smoke
@pytest.mark.slow
def test_the_command_from_another_folder(run, images, tmp_path):
    where = tmp_path / "elsewhere"
    where.mkdir()
    called = [sys.executable, str(ROOT / "evaluate/predict.py")]
    helped = subprocess.run(
        [*called, "--help"], cwd=where, capture_output=True, text=True, timeout=120, check=False
    )
    assert helped.stdout.startswith("usage: python evaluate/predict.py")
    assert "EXIF" in helped.stdout
    result = subprocess.run(
        [*called, "--image=../photos/b.jpg", f"--run_dir={run}"],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert {path.name for path in (run / "predictions").iterdir()} == {"b.json", "b_pose.jpg"}
    assert list(where.iterdir()) == []
