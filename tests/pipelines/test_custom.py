"""Users' own keypoints, five and twenty-three of them, by the three commands; and files with faults."""

import functools
import json
import re

import numpy as np
import pytest

from pipelines.cli import command
from records.manifest import read_manifest
from tests.helpers import commands
from tests.helpers.builders import instance, write_json
from tests.helpers.commands import call_here
from tests.helpers.custom_data import FIVE, INPUT, TWENTY_THREE, write_dataset

fails = functools.partial(commands.fails, call=call_here)
succeeds = functools.partial(commands.succeeds, call=call_here)

RUN = ("--dataset=custom", "--gpus=0", "--model=w24_tiny", "--batch_size=4")


def build(folder, annotations, *arguments):
    where = ("--dataset=custom", f"--annotations={annotations.name}", "--images=photos", INPUT)
    return succeeds(folder, "pipelines/build_records.py", *where, *arguments)


def records_of(folder):
    """What the results' names say of the records."""
    return f"records-{read_manifest(folder).fingerprint[:8]}"


@pytest.fixture(scope="module")
def trained_on(tmp_path_factory):
    """A function of a category: the folder of a run of one epoch on it, and what the commands said."""
    runs = {}

    def run(category):
        if category["id"] not in runs:
            folder = tmp_path_factory.mktemp(category["name"])
            train, val = (write_dataset(folder, category, *which) for which in ((4, 1), (2, 101)))
            said = build(folder, train), build(folder, val, "--split=val")
            runs[category["id"]] = folder, *said, succeeds(folder, "train/main.py", *RUN, "--epochs=1")
        return runs[category["id"]]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("category", [FIVE, TWENTY_THREE], ids=["K5", "K23"])
def test_any_keypoints_are_built_trained_and_evaluated(trained_on, category):
    folder, built, _, trained = trained_on(category)
    count = len(category["keypoints"])
    assert f"instances           8  of {count} keypoints" in built.stdout
    # A warning for what was guessed, once; none where the file says everything.
    assert built.stderr.count("warning:") == ("sigmas" not in category)
    assert ('no "sigmas"' in built.stderr) == ("sigmas" not in category)
    manifest = read_manifest(folder / "dataset/Custom/records/train")
    assert (manifest.records, manifest.filtered, manifest.rejected) == (8, {}, {})
    assert list(manifest.skeleton.keypoints) == category["keypoints"]
    assert len(manifest.skeleton.flip_pairs) == count // 2
    assert manifest.skeleton.upper_body == ()
    assert "epoch 1: loss" in trained.stdout + trained.stderr
    assert "Warning" not in built.stderr + trained.stderr

    evaluation = succeeds(folder, "evaluate/main.py", "--boxes=ground_truth", "--num_images=2")
    assert len(re.findall(r"^Average", evaluation.stdout, re.MULTILINE)) == 10
    result = folder / "output/result"
    name = (
        f"labels_101_val_w24_tiny_epoch-0001_ground_truth_{records_of(folder / 'dataset/Custom/records/val')}"
    )
    summary = json.loads((result / f"{name}_metrics.json").read_text())
    assert 0 <= summary["metrics"]["AP"] <= 1
    check_results(result / f"{name}_results.json", category, {101, 102})
    assert (result / f"{name}.png").is_file()


@pytest.mark.slow
def test_a_detectors_boxes_of_another_tools_category_are_evaluated(trained_on):
    folder, *_ = trained_on(FIVE)
    boxes = [
        {"image_id": 101, "category_id": 3, "bbox": [10, 15, 60, 90], "score": 0.9},
        {"image_id": 102, "category_id": 3, "bbox": [85, 15, 60, 90], "score": 0.8},
        {"image_id": 102, "category_id": 4, "bbox": [85, 15, 60, 90], "score": 0.8},
    ]
    write_json(folder / "found.json", boxes)
    detected = ("--split=val", "--boxes=detections", "--detections=found.json", "--detection_category=3")
    build(folder, folder / "labels_101.json", *detected)
    evaluation = succeeds(folder, "evaluate/main.py", "--epoch=1", "--num_images=2")
    assert "2 detected boxes of custom val" in evaluation.stderr
    digits = records_of(folder / "dataset/Custom/records/val_detections")
    name = f"labels_101_val_w24_tiny_epoch-0001_detections_{digits}"
    check_results(folder / f"output/result/{name}_results.json", FIVE, {101, 102})


@pytest.mark.slow
def test_a_list_of_images_without_instances_gives_results_only(trained_on):
    """As COCO's image_info files of the test images; the metric is for whoever has the annotations."""
    folder, *_ = trained_on(FIVE)
    data = json.loads((folder / "labels_101.json").read_text())
    write_json(folder / "info.json", {"images": data["images"], "categories": data["categories"]})
    write_json(
        folder / "more.json", [{"image_id": 102, "category_id": 7, "bbox": [10, 15, 60, 90], "score": 0.9}]
    )
    elsewhere = ("--boxes=detections", "--records_dir=info")
    build(folder, folder / "info.json", *elsewhere, "--split=val", "--detections=more.json")
    evaluation = succeeds(folder, "evaluate/main.py", *elsewhere, "--annotations=info.json")
    assert "info.json has no annotations to measure against" in evaluation.stdout
    name = f"info_val_w24_tiny_epoch-0001_detections_{records_of(folder / 'info/val_detections')}"
    check_results(folder / f"output/result/{name}_results.json", FIVE, {102})
    assert not (folder / f"output/result/{name}_metrics.json").exists()


@pytest.mark.slow
def test_records_of_other_keypoints_than_the_runs_are_refused(trained_on):
    folder, *_ = trained_on(FIVE)
    renamed = [name.replace("inner", "middle") for name in FIVE["keypoints"]]
    other = write_dataset(folder, FIVE | {"keypoints": renamed}, 2, 50)
    build(folder, other, "--split=val", "--records_dir=other")
    refusal = "predicts the 5 keypoints of custom, the records in .* have the 5"
    fails(1, refusal, folder, "evaluate/main.py", "--records_dir=other")


def check_results(path, category, image_ids):
    results = json.loads(path.read_text())
    assert {one["image_id"] for one in results} == image_ids
    for one in results:
        assert one["category_id"] == category["id"]
        assert np.isfinite(one["keypoints"]).all()
        assert len(one["keypoints"]) == 3 * len(category["keypoints"])


# ---- files that cannot be understood


@pytest.fixture
def five(tmp_path):
    return write_dataset(tmp_path, FIVE, 1, 1)


def refused(capsys, path, *arguments):
    """What the command says of a file, in one line."""
    where = (f"--annotations={path}", f"--images={path.parent / 'photos'}")
    assert command(["--dataset=custom", f"--dataset_dir={path.parent}", *where, *arguments]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(path) in error
    return error


def change(path, **changes):
    write_json(path, json.loads(path.read_text()) | changes)


def test_a_file_without_keypoints_is_refused_in_one_line(five, capsys):
    data = json.loads(five.read_text())
    instances = [one | {"keypoints": []} for one in data["annotations"]]
    for categories in ([], [{"id": 7, "name": "paw"}], [{"id": 7, "keypoints": []}], None, "paw"):
        change(five, categories=categories, annotations=instances)
        assert 'has no category with "keypoints"' in refused(capsys, five)


def test_a_file_with_instances_of_two_kinds_of_keypoints_is_refused_until_one_is_chosen(five, capsys):
    data = json.loads(five.read_text())
    other = instance(9, 1, [10, 15, 60, 90], [20, 30, 2] * 23, category_id=1)
    categories = [FIVE, TWENTY_THREE, {"id": 3, "name": "car"}]
    change(five, categories=categories, annotations=[*data["annotations"], other])
    said = refused(capsys, five)
    for part in ("paw (id 7): 5 keypoints, 2 ann", "ladder (id 1): 23 keypoints, 1 ann", "--category"):
        assert part in said
    assert "has none of that name or id; it has paw (id 7), ladder" in refused(capsys, five, "--category=cat")
    for category, count in (("paw", 5), ("1", 23)):
        assert built_by(five, f"--category={category}", f"--records_dir={five.parent / category}") == 0
        manifest = read_manifest(five.parent / category / "train")
        assert manifest.skeleton.num_keypoints == count
        assert manifest.options["category"] == category
    # The two are different records: one does not pass for the other.
    capsys.readouterr()
    assert built_by(five, "--category=ladder", f"--records_dir={five.parent / 'paw'}") == 1
    assert "category" in capsys.readouterr().err


def built_by(path, *arguments):
    where = (f"--annotations={path}", f"--images={path.parent / 'photos'}", f"--dataset_dir={path.parent}")
    return command(["--dataset=custom", *where, INPUT, *arguments])


def test_a_category_can_be_chosen_for_custom_data_only(capsys):
    assert command(["--dataset=coco", "--category=1"]) == 2
    assert "--category is for --dataset=custom" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("field", "value"),
    [("skeleton", 5), ("sigmas", [1]), ("flip_pairs", [["pad", "x"]]), ("id", "x")],
)
def test_a_field_that_cannot_be_understood_is_refused_by_its_name(five, capsys, field, value):
    change(five, categories=[FIVE | {field: value}])
    assert field in refused(capsys, five)


def test_a_line_to_a_keypoint_that_does_not_exist_is_left_out_and_the_rest_is_built(five, capsys):
    change(five, categories=[FIVE | {"skeleton": [[1, 2], [1, 9]]}])
    where = (f"--annotations={five}", f"--images={five.parent / 'photos'}", INPUT)
    assert command(["--dataset=custom", f"--dataset_dir={five.parent}", *where]) == 0
    said = "".join(capsys.readouterr())
    assert said.count("warning:") == 1
    assert '1 of the 2 lines in "skeleton" are left out, for example [1, 9]' in said
    assert read_manifest(five.parent / "records/train").skeleton.limbs == ((0, 1),)


def test_instances_with_another_number_of_keypoints_are_rejected_with_the_reason(five, capsys):
    data = json.loads(five.read_text())
    data["annotations"][0]["keypoints"] = [1, 1, 2] * 17
    write_json(five, data)
    assert "1 of 2 instances were rejected (1 bad_keypoints)" in refused_build(capsys, five)
    (line,) = (five.parent / "records/train/rejected.jsonl").read_text().splitlines()
    assert "expected 15 numbers, received 51" in line


def refused_build(capsys, path):
    where = (f"--annotations={path}", f"--images={path.parent / 'photos'}", INPUT)
    assert command(["--dataset=custom", f"--dataset_dir={path.parent}", *where]) == 1
    return capsys.readouterr().err


def test_a_dataset_folder_of_ones_own_needs_no_paths(tmp_path, capsys):
    for split, first in (("train", 1), ("val", 11)):
        write_dataset(tmp_path, FIVE, 2, first).rename(tmp_path / f"{split}.json")
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / f"{split}.json").rename(tmp_path / f"annotations/{split}.json")
    (tmp_path / "photos").rename(tmp_path / "images")
    assert command(["--dataset=custom", f"--dataset_dir={tmp_path}", INPUT]) == 0
    built = {path.name: read_manifest(path).records for path in (tmp_path / "records").iterdir()}
    assert built == {"train": 4, "val": 4}
    capsys.readouterr()


def test_coco_files_need_cocos_keypoints_and_say_what_takes_others(five, capsys):
    where = (f"--annotations={five}", f"--images={five.parent / 'photos'}", "--split=val")
    assert command(["--dataset=coco", f"--dataset_dir={five.parent}", *where]) == 1
    assert "--dataset custom takes any" in capsys.readouterr().err
