"""The command that builds records, called as users call it, from a folder of their own."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli import command
from records.checking.cli import command as check_command
from records.manifest import read_manifest
from tests.helpers.builders import (
    annotations,
    image,
    instance,
    make_dataset,
    write_detections,
    write_json,
    write_split,
)
from tests.helpers.shared import ROOT


def call(tmp_path, *arguments):
    """Runs the command in a process of its own, with `tmp_path` as the working directory."""
    return subprocess.run(
        [sys.executable, str(ROOT / "pipelines/build_records.py"), *map(str, arguments)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


def instances_inside(folder, split, images, first_id):
    """Writes a split in which nobody will be rejected; returns its annotations."""
    entries = [image(n, 160, 120) for n in range(first_id, first_id + images)]
    instances = [
        instance(10 * n + k, n, [30 * k + 5, 10, 50, 80])
        for n in range(first_id, first_id + images)
        for k in (0, 1)
    ]
    data = annotations(entries, instances)
    write_split(folder, split, data)
    return data


def test_help_shows_every_flag_and_leaves_with_0(tmp_path):
    result = call(tmp_path, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("usage: python pipelines/build_records.py")
    for flag in (
        "--dataset=coco|",
        "--split=",
        "--boxes=",
        "--input_size=...",
        "--[no]overwrite",
        "--workers=",
    ):
        assert f"  {flag}" in result.stdout
    assert "(default: 1024)" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 120
    assert "Traceback" not in result.stderr


def test_a_dataset_nobody_knows_is_a_usage_error_in_a_process_of_its_own(tmp_path):
    result = call(tmp_path, "--dataset=cocoa")
    assert result.returncode == 2
    assert "cocoa" in result.stderr
    assert "coco" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_coco_folder_is_built_with_nothing_but_its_name(tmp_path):
    """train, val, and val once more from the detections, into the dataset's own folder."""
    coco = tmp_path / "dataset/COCO"
    instances_inside(coco, "train", images=3, first_id=1)
    write_detections(coco, instances_inside(coco, "val", images=2, first_id=100))
    result = call(tmp_path, "--dataset", "coco")
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    folders = {path.name: read_manifest(path) for path in (coco / "records").iterdir()}
    assert {name: (m.records, m.boxes, m.split) for name, m in folders.items()} == {
        "train": (6, "ground_truth", "train"),
        "val": (4, "ground_truth", "val"),
        "val_detections": (4, "detections", "val"),
    }
    assert folders["train"].input_size == (192, 256)
    assert folders["train"].options["scale_factor"] == 0.35
    assert folders["val_detections"].options["scale_factor"] is None
    for name in folders:
        assert f"records/{name}" in result.stdout
    assert re.search(r"instances +6  of 17 keypoints", result.stdout)
    assert re.search(r"filtered +0\n  rejected +0\n", result.stdout)


# ---- the rest needs no process of its own


def called(capsys, *arguments):
    """(exit code, standard output, standard error) of the command in this process."""
    code = command(list(map(str, arguments)))
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--dataset=cocoa"], "cocoa"),
        (["--color=red"], "color"),
        (["coco"], "'coco'"),
        (["--workers=0"], "workers"),
        (["--workers=many"], "workers"),
        (["--crop_quality=101"], "crop_quality"),
        (["--max_bad_fraction=2"], "max_bad_fraction"),
        (["--scale_factor=-1"], "scale_factor"),
        (["--split=everything"], "split"),
    ],
)
def test_wrong_flags_are_usage_errors_that_name_the_flag(capsys, arguments, named):
    code, out, err = called(capsys, *arguments)
    assert code == 2
    assert named in err
    assert "--help" in err or "--flag" in err
    assert out == ""


@pytest.mark.parametrize("size", ["192", "192x256x3", "0x256", "-1x2", "axb", "", "16416x64"])
def test_an_input_size_that_is_none_is_a_usage_error(capsys, tmp_path, size):
    make_dataset(tmp_path, images=1)
    code, _, err = called(capsys, f"--dataset_dir={tmp_path}", f"--input_size={size}")
    assert code == 2
    assert f"--input_size={size}: expected" in err


@pytest.mark.parametrize("flag", ["--dataset_dir=gs:/bucket/COCO", "--records_dir=s3:/bucket"])
def test_a_store_s_path_with_one_slash_is_a_usage_error(capsys, flag):
    assert command([flag]) == 2
    assert f"{flag}: a store's path begins with gs://" in capsys.readouterr().err


def test_paths_of_one_split_need_that_split(capsys, tmp_path):
    make_dataset(tmp_path, images=1)
    code, _, err = called(capsys, f"--dataset_dir={tmp_path}", "--annotations=a.json")
    assert code == 2
    assert "--split" in err


def test_workers_and_a_runner_exclude_each_other(capsys, tmp_path):
    make_dataset(tmp_path, images=1)
    code, _, err = called(capsys, f"--dataset_dir={tmp_path}", "--workers=2", "--", "--runner=DataflowRunner")
    assert code == 2
    assert "--runner" in err


def test_a_dataset_folder_that_is_not_there_fails_in_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = called(capsys)
    assert code == 1
    assert out == ""
    assert err.count("\n") == 1
    assert "dataset/COCO does not exist" in err
    assert "--dataset_dir" in err


def empty_folder(folder):
    return [f"--dataset_dir={folder}"]


def no_such_split(folder):
    make_dataset(folder, images=1)
    return [f"--dataset_dir={folder}", "--split=val"]


def no_images(folder):
    write_json(folder / "annotations/person_keypoints_train2017.json", annotations([], []))
    return [f"--dataset_dir={folder}"]


def no_detections(folder):
    make_dataset(folder, images=1)
    return [f"--dataset_dir={folder}", "--split=train", "--boxes=detections"]


def not_json(folder):
    make_dataset(folder, images=1)
    (folder / "annotations/person_keypoints_train2017.json").write_text("{")
    return [f"--dataset_dir={folder}"]


def annotations_are_a_folder(folder):
    make_dataset(folder, images=1)
    return [f"--dataset_dir={folder}", "--split=train", f"--annotations={folder}"]


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (empty_folder, "holds no annotations"),
        (no_such_split, "person_keypoints_val2017.json does not exist"),
        (no_images, "images/train2017 does not exist"),
        (no_detections, "human_detection.json does not exist"),
        (not_json, "person_keypoints_train2017.json is not JSON"),
        (annotations_are_a_folder, "cannot be read: Is a directory"),
    ],
)
def test_what_the_user_can_mend_fails_in_one_line_that_names_it(capsys, tmp_path, prepare, said):
    code, _, err = called(capsys, *prepare(tmp_path))
    assert code == 1
    assert said in err
    assert err.count("\n") == 1


def test_too_many_bad_images_fail_in_one_line(capsys, tmp_path):
    instances_inside(tmp_path, "train", images=3, first_id=1)
    (tmp_path / "images/train2017/000000000002.jpg").unlink()
    code, _, err = called(capsys, f"--dataset_dir={tmp_path}", "--split=train")
    assert code == 1
    assert "2 of 6 instances were rejected (2 missing_image)" in err
    code, out, _ = called(capsys, f"--dataset_dir={tmp_path}", "--split=train", "--max_bad_fraction=0.5")
    assert code == 0
    assert re.search(r"instances +4 ", out)
    assert re.search(r"rejected +2\n +2  missing_image", out)


def test_flags_reach_the_build(capsys, tmp_path):
    instances_inside(tmp_path, "train", images=4, first_id=1)
    flags = ["--input_size=96x128", "--crop_quality=70", "--max_crop_scale=1.5", "--instances_per_shard=4"]
    flags += ["--scale_factor=0.2", f"--records_dir={tmp_path / 'elsewhere'}", "--split=train"]
    code, _, _ = called(capsys, f"--dataset_dir={tmp_path}", *flags)
    assert code == 0
    manifest = read_manifest(tmp_path / "elsewhere/train")
    expected = {"input_size": [96, 128], "quality": 70, "max_crop_scale": 1.5, "instances_per_shard": 4}
    assert expected.items() <= manifest.options.items()
    assert manifest.options["scale_factor"] == 0.2
    assert len(manifest.shards) == 2
    assert not (tmp_path / "records").exists()

    again, _, err = called(capsys, f"--dataset_dir={tmp_path}", *flags)
    assert again == 0
    assert "already built, 8 instances in 2 shards" in err
    code, _, err = called(capsys, f"--dataset_dir={tmp_path}", *flags, "--crop_quality=71")
    assert code == 1
    assert "quality was 70, now 71" in err
    code, _, _ = called(capsys, f"--dataset_dir={tmp_path}", *flags, "--crop_quality=71", "--overwrite")
    assert code == 0
    assert read_manifest(tmp_path / "elsewhere/train").options["quality"] == 71


def test_annotations_images_and_detections_may_lie_anywhere(capsys, tmp_path):
    data = instances_inside(tmp_path / "a", "val", images=2, first_id=1)
    write_detections(tmp_path / "a", data)
    for source, target in (
        ("annotations/person_keypoints_val2017.json", "labels.json"),
        ("images/val2017", "photos"),
        ("dets/human_detection.json", "found.json"),
    ):
        (tmp_path / "a" / source).rename(tmp_path / target)
    flags = ["--annotations", "labels.json", "--images", "photos", "--detections", "found.json"]
    paths = [value if value.startswith("--") else str(tmp_path / value) for value in flags]
    (tmp_path / "empty").mkdir()
    for boxes, name in (("ground_truth", "val"), ("detections", "val_detections")):
        code, _, err = called(
            capsys, f"--dataset_dir={tmp_path / 'empty'}", "--split=val", f"--boxes={boxes}", *paths
        )
        assert code == 0, err
        assert read_manifest(tmp_path / "empty/records" / name).records == 4
    assert Path(tmp_path / "empty/records/val").is_dir()


def test_beams_own_options_may_stand_apart_from_their_values(tmp_path):
    instances_inside(tmp_path, "val", 2, 1)
    arguments = ["--dataset_dir", str(tmp_path), "--split=val", "--input_size=96x128"]
    assert command([*arguments, "--", "--job_name", "mine"]) == 0
    assert read_manifest(tmp_path / "records/val").records == 4


@pytest.mark.timeout(60)
@pytest.mark.parametrize("flag", ["annotations", "detections", "image_ids"])
def test_what_comes_through_a_pipe_is_refused_because_it_is_read_twice(capsys, tmp_path, flag):
    instances_inside(tmp_path, "val", 2, 1)
    os.mkfifo(tmp_path / "pipe")
    flags = ["--split=val", f"--boxes={'detections' if flag == 'detections' else 'ground_truth'}"]
    code, _, err = called(capsys, f"--dataset_dir={tmp_path}", *flags, f"--{flag}={tmp_path}/pipe")
    assert code == 1
    assert f"{tmp_path}/pipe is a pipe; expected a file" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_paths_that_cannot_be_shown_do_not_stop_a_build(tmp_path, monkeypatch, encoding):
    """Their bytes are no UTF-8, or the terminal is of another encoding."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe9"))
    data = instances_inside(tmp_path / "plain", "train", 2, 1)
    (tmp_path / "plain").rename(folder)  # OpenCV's own imwrite ends the process at such a path
    for entry in data["images"]:
        path = folder / "images/train2017" / entry["file_name"]
        entry["file_name"] = f"\udce9{entry['file_name']}"
        path.rename(path.with_name(entry["file_name"]))
    data["images"].append(image(9, file_name="\ud83d.jpg"))
    data["annotations"].append(instance(9, 9, [5, 5, 30, 30]))
    path = folder / "annotations/person_keypoints_train2017.json"
    path.write_text(json.dumps(data))
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding, errors="strict"))
    flags = [f"--dataset_dir={folder}", "--split=train", "--boxes=ground_truth", "--max_bad_fraction=0.5"]
    assert command(flags) == 0
    sys.stdout.flush()
    assert b"\\udcff\\udce9" in written.getvalue()
    manifest = read_manifest(folder / "records/train")
    assert (manifest.records, manifest.rejected) == (4, {"missing_image": 1})
    assert check_command([str(folder / "records/train")]) == 0  # which looks for UTF-8
