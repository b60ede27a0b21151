"""Whom the contact sheet shows, and the OKS in its captions."""

import cv2
import numpy as np
import pytest
from pycocotools import coco
from pycocotools.cocoeval import COCOeval

from evaluate.ground_truth import read_ground_truth
from evaluate.predictions import Predictions
from evaluate.report import contact_sheet
from evaluate.report.contact_sheet import best_of_each, best_oks
from pipelines.build import build_records
from records.manifest import read_manifest
from records.reader import read_records
from records.skeletons import COCO
from tests.helpers.builders import annotations, image, instance, make_build, write_split
from tests.helpers.evaluation_splits import make_split


def annotation(keypoints, instance_id=1, image_id=3, area=4000.0):
    return {
        "id": instance_id,
        "image_id": image_id,
        "category_id": 1,
        "keypoints": np.asarray(keypoints, float).ravel().tolist(),
        "num_keypoints": int((np.asarray(keypoints)[:, 2] > 0).sum()),
        "bbox": [0, 0, 100, 100],
        "area": area,
        "iscrowd": 0,
    }


@pytest.fixture
def pose():
    rng = np.random.default_rng(1)
    return np.concatenate([rng.uniform(0, 100, (17, 2)), rng.integers(0, 3, (17, 1))], axis=1)


def test_equals_pycocotools(pose):
    rng = np.random.default_rng(2)
    predicted = pose + rng.normal(0, 4, pose.shape)
    ground_truth, results = coco.COCO(), coco.COCO()
    images, categories = [{"id": 3, "width": 100, "height": 100}], [{"id": 1}]
    ground_truth.dataset = {"images": images, "annotations": [annotation(pose)], "categories": categories}
    results.dataset = {
        "images": images,
        "annotations": [annotation(predicted) | {"score": 1.0}],
        "categories": categories,
    }
    ground_truth.createIndex()
    results.createIndex()
    evaluation = COCOeval(ground_truth, results, "keypoints")
    evaluation._prepare()
    expected = evaluation.computeOks(3, 1)[0, 0]
    assert best_oks(predicted, [annotation(pose)], 3, COCO.sigmas) == pytest.approx(expected, abs=1e-12)


def test_takes_the_instance_that_fits_best(pose):
    far = pose + np.array([50, 0, 0])
    instances = [annotation(far, 1), annotation(pose, 2)]
    assert best_oks(pose, instances, 3, COCO.sigmas) == pytest.approx(1.0)
    assert best_oks(pose, instances[:1], 3, COCO.sigmas) < 0.9


def test_is_none_where_nobody_is_labeled(pose):
    unlabeled = pose * [[1, 1, 0]]
    assert best_oks(pose, [annotation(unlabeled)], 3, COCO.sigmas) is None
    assert best_oks(pose, [annotation(pose, image_id=4)], 3, COCO.sigmas) is None


def test_the_sheet_shows_the_best_of_each_image_in_the_order_of_the_records():
    groups, scores = np.array([7, 3, 7, 5, 3]), np.array([0.2, 0.9, 0.4, 0.1, 0.8])
    assert best_of_each(groups, scores) == [2, 1, 3]


def test_every_tile_shows_the_instance_its_caption_names(tmp_path, monkeypatch):
    """Images of one color each, so that a tile gives away whose it is."""
    entries = [image(number, 96, 96) for number in range(1, 7)]
    data = annotations(entries, [instance(number, number, [20, 10, 40, 70]) for number in range(1, 7)])
    write_split(tmp_path, "train", data)
    for number, path in enumerate(sorted((tmp_path / "images/train2017").iterdir()), start=1):
        cv2.imwrite(str(path), np.full((96, 96, 3), 40 * number, np.uint8))
    build_records(make_build(tmp_path, tmp_path / "out"))
    (batch,) = read_records(tmp_path / "out", 6)
    order = batch["image_id"].numpy()
    keypoints = batch["keypoints"].numpy().astype(float)
    keypoints[:, :, 2] = 0.1  # too low to be drawn
    predictions = Predictions(keypoints, np.ones(6), np.ones(6), order, order)
    shown = []
    monkeypatch.setattr(
        contact_sheet, "contact_sheet", lambda tiles, captions, *rest: shown.append((tiles, captions))
    )
    ground_truth = read_ground_truth(tmp_path / "a.json", data, COCO)
    split = make_split(read_manifest(tmp_path / "out"), COCO, ground_truth, records=tmp_path / "out")
    contact_sheet.draw_instances(split, (48, 64), predictions, 4, "title")
    ((tiles, captions),) = shown
    assert len(tiles) == 4
    for tile, caption, number in zip(tiles, captions, order[:4].tolist(), strict=True):
        assert caption == f"{number}: OKS 1.00, score 0.10"
        assert abs(int(tile[64, 48].mean()) - 40 * number) <= 2
