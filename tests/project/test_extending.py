"""docs/extending.md is right: its files, added to the lists as it says, build, train and evaluate."""

import importlib
import json
import sys

import numpy as np
import pytest

import evaluate.cli
import pipelines.cli
import train.cli
from evaluate.metrics import METRICS
from model.codecs import CODECS
from model.networks import NETWORKS
from pipelines.annotations import CONVERSIONS
from records.datasets import DATASETS
from records.manifest import read_manifest
from tests.helpers.builders import write_json
from tests.helpers.documents import files_of, read
from tests.helpers.releases import write_image

#: {split: keypoints (N, 4, 2) in image pixels}, one fish to an image.
POINTS = {
    "train": [[[20, 30], [40, 20], [40, 50], [80, 35]], [[70, 60], [50, 45], [50, 80], [25, 55]]],
    "val": [[[30, 30], [55, 25], [50, 70], [110, 55]]],
}


@pytest.fixture
def added(tmp_path, monkeypatch):
    """The page's modules, each in its package, and their objects in the lists."""
    files = files_of(read("docs/extending.md"))
    for path, code in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(code)
    packages = {path.rpartition("/")[0].replace("/", ".") for path in files}
    for name in packages:
        package = importlib.import_module(name)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / name.replace(".", "/"))])
    names = [path.removesuffix(".py").replace("/", ".") for path in files]
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    modules = {name: importlib.import_module(name) for name in names}
    monkeypatch.setitem(DATASETS, "pond", modules["records.datasets.pond"].DATASET)
    monkeypatch.setitem(DATASETS, "tank", modules["records.datasets.tank"].DATASET)
    monkeypatch.setitem(CONVERSIONS, "tank", modules["pipelines.annotations.tank"].CONVERSION.prepare)
    monkeypatch.setitem(METRICS, "confident", modules["evaluate.metrics.confident"].METRIC)
    monkeypatch.setitem(CODECS, "cells", modules["model.codecs.cells"].cells)
    monkeypatch.setitem(NETWORKS, "strided", modules["model.strided"].STRIDED)
    yield modules
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def folder(tmp_path):
    """Images of fish, annotated in COCO's format and in tables that count from 1."""
    folder = tmp_path / "fish"
    for split, fishes in POINTS.items():
        images, annotations, lines = [], [], []
        for number, points in enumerate(np.array(fishes, float), start=1):
            write_image(folder / "photos" / split / f"{number}.jpg", seed=number)
            box = [*points.min(axis=0), *np.ptp(points, axis=0)]
            images.append({"id": number, "file_name": f"{number}.jpg", "width": 160, "height": 120})
            annotations.append(
                {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "bbox": box}
                | {"area": box[2] * box[3], "num_keypoints": 4}
                | {"keypoints": np.hstack([points, np.full((4, 1), 2)]).ravel().tolist()}
            )
            lines.append(",".join([f"{number}.jpg", *map(str, (points + 1).ravel())]))
        categories = [{"id": 1, "name": "fish", "keypoints": ["mouth", "left_fin", "right_fin", "tail"]}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        write_json(folder / f"labels/fish_{split}.json", content)
        (folder / f"{split}.csv").write_text("\n".join(lines))
    return folder


def done(command, *arguments):
    assert command([str(argument) for argument in arguments]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "own"), [("pond", ()), ("tank", ("--tank_origin=1",))])
def test_the_page_s_files_build_train_and_evaluate(added, folder, tmp_path, capsys, dataset, own):
    data, run = (f"--dataset_dir={folder}", f"--run_dir={tmp_path / 'run'}")
    done(pipelines.cli.command, f"--dataset={dataset}", data, *own)
    assert read_manifest(folder / "records/train").records == 2
    recipe = ("--model=strided", "--codec=cells", "--epochs=2", "--batch_size=2", "--eval_every=1")
    done(train.cli.command, f"--dataset={dataset}", data, run, "--gpus=0", *recipe)
    config = json.loads((tmp_path / "run/model_dump/config.json").read_text())
    assert (config["model"], config["codec"]) == ("strided", "cells")
    capsys.readouterr()
    done(evaluate.cli.command, data, run, "--gpus=0", "--metric=coco,confident", "--sure_from=-1")
    table = capsys.readouterr().out
    assert "AP" in table
    assert "sure of 100.0 % of the keypoints" in table
    (results,) = (tmp_path / "run/result").glob("*_results.json")
    assert len(json.loads(results.read_text())[0]["keypoints"]) == 12


def test_each_list_is_named_by_the_page():
    page = read("docs/extending.md")
    assert len(files_of(page)) == 6
    for name in ("DATASETS", "CONVERSIONS", "METRICS", "CODECS", "NETWORKS"):
        assert f"`{name}`" in page
