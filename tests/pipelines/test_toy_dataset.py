"""A dataset unknown to the project, added from one file: in COCO's format, and in one of its own."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from hrpose.options import Option
from pipelines.annotations import CONVERSIONS
from pipelines.annotations.conversion import Conversion, Converted
from pipelines.cli import command
from records.datasets import DATASETS, Dataset, Layout
from records.manifest import read_manifest
from records.schema import from_example
from records.skeletons import Skeleton
from tests.helpers.builders import image, instance, write_json
from tests.helpers.releases import write_image

FISH = Skeleton(
    name="fish",
    keypoints=("mouth", "left_fin", "right_fin", "tail"),
    flip_pairs=((1, 2),),
    limbs=((0, 3), (1, 2)),
    upper_body=(),
    sigmas=(0.05, 0.07, 0.07, 0.09),
)

#: A dataset in COCO's format. Its files are where nobody else's are.
POND = Dataset(
    name="pond",
    skeleton=FISH,
    layout=Layout(
        folder="Pond",
        annotations={"train": "labels/fish_train.json", "val": "labels/fish_val.json"},
        images="photos/{split}",
        detections="labels/found.json",
    ),
    metrics=("coco",),
    input_size=(64, 48),
)

#: One in a format of its own: a table per split, a line per fish, counted from 1 or from 0.
TANK = Dataset(
    name="tank",
    skeleton=FISH,
    layout=Layout(
        folder="Tank",
        annotations={"train": "coco/train.json", "val": "coco/val.json"},
        images="photos/{split}",
        raw="{train,val}.csv",
    ),
    metrics=("coco",),
    input_size=(64, 48),
    options=(Option("tank_origin", 0, "what the tables count pixels from.", least=0, most=1),),
)

#: {split: keypoints (N, 4, 2) in image pixels}, one fish to an image.
POINTS = {
    "train": [[[20, 30], [40, 20], [40, 50], [80, 35]], [[70, 60], [50, 45], [50, 80], [25, 55]]],
    "val": [[[30, 30], [55, 25], [50, 70], [110, 55]]],
}

#: {split: (width, height) of its images}.
SIZES = {"train": (160, 120), "val": (150, 110)}


def find(folder, options):
    tables = {split: Path(folder) / f"{split}.csv" for split in ("train", "val")}
    return {split: [str(path)] for split, path in tables.items() if path.exists()}


def convert(raw, measure, options):
    files = {}
    for split, (path,) in raw.items():
        with Path(path).open() as file:
            rows = list(csv.reader(file))
        sizes = measure([name for name, *_ in rows], split=split)
        images, fishes = [], []
        for number, (name, *numbers) in enumerate(rows, start=1):
            points = np.array(numbers, float).reshape(-1, 2) - options["tank_origin"]
            images.append(image(number, *sizes[name], name))
            fishes.append(fish(number, points))
        category = {"id": 1, "name": "fish", "keypoints": list(FISH.keypoints)}
        files[split] = {"images": images, "annotations": fishes, "categories": [category]}
    return Converted(files, filtered={})


def fish(number, points):
    """An annotation of one fish in the image of its own number."""
    points = np.asarray(points, float)
    box = [*points.min(axis=0), *np.ptp(points, axis=0)]
    keypoints = np.hstack([points, np.full((4, 1), 2)]).ravel().tolist()
    return instance(number, number, box, keypoints)


def write_photos(folder):
    for split, fishes in POINTS.items():
        for number in range(1, len(fishes) + 1):
            write_image(folder / "photos" / split / f"{number}.jpg", SIZES[split], seed=number)


@pytest.fixture
def pond(tmp_path, monkeypatch):
    """The folder of a dataset in COCO's format."""
    monkeypatch.setitem(DATASETS, "pond", POND)
    write_photos(tmp_path)
    category = {"id": 1, "name": "fish", "keypoints": list(FISH.keypoints)}
    for split, fishes in POINTS.items():
        images = [image(number, *SIZES[split], f"{number}.jpg") for number in range(1, len(fishes) + 1)]
        annotated = [fish(number, points) for number, points in enumerate(fishes, start=1)]
        content = {"images": images, "annotations": annotated, "categories": [category]}
        write_json(tmp_path / f"labels/fish_{split}.json", content)
    return tmp_path


@pytest.fixture
def tank(tmp_path, monkeypatch):
    """The folder of a dataset in a format of its own, whose tables count from 1."""
    monkeypatch.setitem(DATASETS, "tank", TANK)
    monkeypatch.setitem(CONVERSIONS, "tank", Conversion(find, convert).prepare)
    write_photos(tmp_path)
    for split, fishes in POINTS.items():
        lines = [[f"{n}.jpg", *np.add(points, 1).ravel()] for n, points in enumerate(fishes, start=1)]
        (tmp_path / f"{split}.csv").write_text("\n".join(",".join(map(str, line)) for line in lines))
    return tmp_path


def built_keypoints(records_dir, dataset):
    """{folder of records: keypoints (N, 4, 2) in image pixels} of records that are the dataset's."""
    found = defaultdict(list)
    for folder in sorted(records_dir.iterdir()):
        manifest = read_manifest(folder)
        assert (manifest.dataset, manifest.skeleton) == (dataset, FISH)
        for shard in manifest.shards:
            for serialized in tf.data.TFRecordDataset(str(folder / shard.name)).as_numpy_iterator():
                record = from_example(serialized, FISH.num_keypoints)
                found[folder.name].append((record["image_id"], np.array(record["keypoints"])[:, :2].tolist()))
    return {name: [points for _, points in sorted(records)] for name, records in found.items()}


def build(dataset, folder, *arguments):
    return command([f"--dataset={dataset}", f"--dataset_dir={folder}", *arguments])


def test_a_dataset_in_coco_format_is_built_from_its_entry_alone(pond):
    assert build("pond", pond) == 0
    assert built_keypoints(pond / "records", "pond") == POINTS
    assert read_manifest(pond / "records/train").options["input_size"] == [64, 48]


def test_its_detections_are_found_where_its_layout_has_them(pond):
    box = {"image_id": 1, "category_id": 1, "bbox": [25, 20, 90, 55], "score": 0.5}
    write_json(pond / "labels/found.json", [box])
    assert build("pond", pond) == 0
    assert {path.name for path in (pond / "records").iterdir()} == {"train", "val", "val_detections"}


def test_a_split_that_it_does_not_have_is_a_usage_error(pond, capsys):
    assert build("pond", pond, "--split=test") == 2
    assert "--split=test: pond has train, val" in capsys.readouterr().err


def test_what_is_missing_is_named_as_its_layout_has_it(pond, capsys):
    (pond / "photos/val").rename(pond / "elsewhere")
    assert build("pond", pond, "--split=val") == 1
    assert f"{pond}/photos/val does not exist" in capsys.readouterr().err


def test_a_dataset_in_a_format_of_its_own_is_converted_and_built(tank, capsys):
    assert build("tank", tank, "--tank_origin=1") == 0
    assert built_keypoints(tank / "records", "tank") == POINTS
    assert {path.name for path in (tank / "coco").iterdir()} == {"train.json", "val.json", "conversion.json"}
    capsys.readouterr()
    assert build("tank", tank, "--tank_origin=1") == 0
    assert "annotations already converted (train, val)" in capsys.readouterr().err


def test_annotations_converted_with_another_option_are_not_replaced_unasked(tank, capsys):
    assert build("tank", tank, "--tank_origin=1") == 0
    assert build("tank", tank) == 1
    assert "converted otherwise (tank_origin was 1, now 0); --overwrite" in capsys.readouterr().err
    assert build("tank", tank, "--overwrite") == 0
    shifted = {split: np.add(points, 1).tolist() for split, points in POINTS.items()}
    assert built_keypoints(tank / "records", "tank") == shifted


def test_its_option_is_explained_under_its_name_and_refused_for_others(tank, capsys):
    assert command(["--help"]) == 0
    assert "tank: what the tables count pixels from." in capsys.readouterr().out
    assert build("coco", tank, "--tank_origin=1") == 2
    assert "--tank_origin is for --dataset=tank, here it is coco" in capsys.readouterr().err


def test_a_folder_without_its_raw_annotations_says_what_was_expected(tank, capsys):
    for split in POINTS:
        (tank / f"{split}.csv").unlink()
    assert build("tank", tank) == 1
    assert "holds no annotations; expected {train,val}.csv there" in capsys.readouterr().err
