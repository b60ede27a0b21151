"""The report: what the page says, that nothing in it is taken for markup, and how a browser shows it."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from evaluate.ground_truth import read_ground_truth
from evaluate.metrics import choose_metrics, measure
from evaluate.metrics.metric import MetricInput, MetricResult
from evaluate.predictions import Predictions
from evaluate.report.analysis import Pair
from evaluate.report.examples import best_and_worst, describe_pair, read_instances
from evaluate.report.published import TABLE, published_for
from evaluate.report.report import write_report
from evaluate.rescoring import as_results, rescore_and_nms
from evaluate.run import Timing
from model.run_config import RunConfig
from pipelines.build import build_records
from records.manifest import read_manifest
from records.reader import read_records
from records.skeletons import COCO
from tests.helpers.builders import make_build, random_annotations, write_split
from tests.helpers.evaluation_splits import make_split
from tests.helpers.shared import ROOT

HOSTILE = "\"'><script>alert(1)<&>.jpg"
TIMING = {"records": 0.5, "predict": 2.0, "metric": 1.5}
RUN = RunConfig("coco", "", {}, "w32", (192, 256), "msra", 2.0, {})


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """(folder of records, their manifest, parsed annotations): some 30 instances in 14 images."""
    folder = tmp_path_factory.mktemp("report")
    data = random_annotations(1, images=14)
    for entry in data["images"]:
        entry["file_name"] = f"{entry['id']}{HOSTILE}"
    write_split(folder, "val", data)
    build_records(make_build(folder, folder / "val", "val", instances_per_shard=8, max_bad_fraction=1.0))
    return folder / "val", read_manifest(folder / "val"), data


def metric_input(scene, noise=4.0, data=None, **changes):
    """`MetricInput` for predictions that are the ground truth and some noise."""
    folder, manifest, annotations = scene
    (batch,) = read_records(folder, manifest.records)
    batch = {name: tensor.numpy() for name, tensor in batch.items()}
    rng = np.random.default_rng(0)
    keypoints = batch["keypoints"].astype(float)
    keypoints[..., :2] += rng.normal(0, noise, keypoints[..., :2].shape)
    keypoints[..., 2] = rng.uniform(0.3, 1, keypoints.shape[:2])
    areas = batch["scale"].astype(float).prod(axis=1)
    predictions = Predictions(keypoints, areas, np.ones(len(areas)), batch["image_id"], batch["instance_id"])
    skeleton = manifest.skeleton
    kept, scores = rescore_and_nms(
        keypoints, areas, np.ones(len(areas)), batch["image_id"], 0.9, 0.2, False, skeleton.sigmas
    )
    results = as_results(keypoints, batch["image_id"], kept, scores)
    ground_truth = read_ground_truth(Path("val <b>.json"), annotations if data is None else data, skeleton)
    split = make_split(manifest, skeleton, ground_truth, records=folder)
    made = MetricInput(split, predictions, kept, results, Path("none"))
    return replace(made, **changes)


def ap(made):
    """COCO's metric of it: {name: `MetricResult`}."""
    return measure(choose_metrics(["coco"]), made)


def write(path, made, metric_result=None, run=RUN, **changes):
    settings = {"epoch": 210, "flip_test": True} | changes
    return write_report(path, made, metric_result or ap(made), run, TIMING, **settings)


class Reader(HTMLParser):
    """The page as a browser takes it: its text, elements and everything it might fetch."""

    def __init__(self, page):
        super().__init__()
        self.words, self.tags, self.links, self.handlers = [], [], [], []
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "srcset", "action")]
        self.handlers += [name for name, _ in attributes if name.startswith("on")]

    def handle_data(self, data):
        self.words.append(data)


def read(path):
    return Reader(path.read_text(encoding="utf-8"))


def test_the_page_has_every_section_and_needs_nothing_else(scene, tmp_path):
    path = write(tmp_path / "report.html", metric_input(scene))
    page = read(path)
    for words in ("AP .75", "Precision-recall curves", "AP by size", "AP by number of labeled keypoints"):
        assert words in page.text
    for words in ("left wrist", "Best by OKS", "Worst by OKS", "Timing", "instances per second"):
        assert words in page.text
    assert "Predicted keypoints with a score up to 0.2 are not drawn." in page.text
    assert "not the one above" not in page.text
    assert page.tags.count("polyline") == 3
    assert page.tags.count("img") == 2 * 18
    assert all(link.startswith("data:") for link in page.links)
    assert 50_000 < path.stat().st_size < 5_000_000


def test_nothing_from_outside_is_taken_for_markup(scene, tmp_path):
    made = metric_input(scene)
    skeleton = made.split.skeleton
    skeleton = replace(skeleton, keypoints=tuple(f'<i>{k}"&' for k in skeleton.keypoints))
    made = replace(made, split=replace(made.split, skeleton=skeleton))
    page = read(write(tmp_path / "report.html", made))
    assert {"script", "i", "b"}.isdisjoint(page.tags)
    assert page.handlers == []
    assert HOSTILE in page.text
    assert "val <b>.json" in page.text
    assert '<i>left wrist"&' in page.text


def test_published_numbers_stand_beside_those_of_the_same_recipe_only(scene, tmp_path):
    made = metric_input(scene)
    page = read(write(tmp_path / "a.html", made, flip_test=False))
    assert "0.744" in page.text
    assert "CVPR 2019" in page.text
    assert "Not the same setting: this run has annotated boxes, no flip test." in page.text
    for changes in ({"model": "w30"}, {"input_size": (128, 192)}, {"dataset": "custom"}):
        page = read(write(tmp_path / "b.html", made, run=replace(RUN, **changes)))
        assert "There is no published number for this recipe" in page.text
        assert "CVPR" not in page.text
        assert "difference" not in page.text
    ours = ap(made)["coco"].values["AP"]
    assert f"AP {ours:.3f} 0.744 {ours - 0.744:+.3f}" in read(tmp_path / "a.html").text


def test_the_published_table_is_that_of_the_paper():
    """Table 1 of the HRNet paper (CVPR 2019), AP AP50 AP75 APM APL AR, and the official README's MPII."""
    names = ("AP", "AP .5", "AP .75", "AP (M)", "AP (L)", "AR")
    for model, size, row in (
        ("w32", (192, 256), (74.4, 90.5, 81.9, 70.8, 81.0, 79.8)),
        ("w48", (192, 256), (75.1, 90.6, 82.2, 71.5, 81.8, 80.4)),
        ("w48", (288, 384), (76.3, 90.8, 82.9, 72.3, 83.4, 81.2)),
    ):
        metrics = published_for("coco", "coco", "val", model, size).values
        assert tuple(round(100 * metrics[name], 1) for name in names) == row
        assert len(metrics) == 10
    assert published_for("pckh", "mpii", "val", "w32", (256, 256)).values["Mean"] == 90.3
    assert published_for("coco", "coco", "train", "w32", (192, 256)) is None
    assert published_for("pck", "coco", "val", "w32", (192, 256)) is None
    assert len(TABLE) == 5


def test_without_annotations_it_says_so_and_shows_instances_by_score(scene, tmp_path):
    bare = {name: part for name, part in scene[2].items() if name != "annotations"}
    made = metric_input(scene, data=bare, name=tmp_path / "none")
    page = read(write(tmp_path / "report.html", made))
    assert "has no annotations to measure against" in page.text
    assert "need annotated keypoints" in page.text
    assert "Highest scores" in page.text
    assert page.tags.count("img") == 18


def test_without_results_it_says_so(scene, tmp_path):
    made = metric_input(scene, kept=np.zeros(0, np.int64), results=[])
    page = read(write(tmp_path / "report.html", made))
    assert "No poses were kept" in page.text
    assert "No pose comes near an annotated instance" in page.text
    assert "img" not in page.tags


def test_predictions_far_from_everybody_are_shown_by_score(scene, tmp_path):
    page = read(write(tmp_path / "report.html", metric_input(scene, noise=1e5)))
    assert "No pose comes near an annotated instance" in page.text
    assert "Lowest scores" in page.text


def test_what_a_metric_says_of_its_numbers_decides_how_they_are_shown(scene, tmp_path):
    made = metric_input(scene)
    values = {"Head": 95.0, "Mean": 91.5, "Mean@0.1": 38.0, "share": 0.25, "none": None, "never": -1.0}
    result = MetricResult("PCKh@0.5 91.5", "", values, shares=frozenset({"share"}), undefined=-1.0)
    mpii = replace(RUN, dataset="mpii", input_size=(256, 256))
    page = read(write(tmp_path / "a.html", made, {"pckh": result}, mpii))
    assert "Mean 91.5 90.3 +1.2" in page.text
    assert "Mean@0.1 38.0 37.7 +0.3" in page.text
    assert "share 0.250 – – none – – – never – – –" in page.text
    assert "This is COCO's metric, not the one above" in page.text
    other = replace(result, unlike_published=frozenset({"Mean@0.1"}))
    assert "Mean@0.1 38.0 – –" in read(write(tmp_path / "a.html", made, {"pckh": other}, mpii)).text
    assert "91.5 90.3" not in read(write(tmp_path / "a.html", made, {"pck": result}, mpii)).text


def test_keypoints_have_a_table_of_their_own_and_each_metric_a_section(scene, tmp_path):
    made = metric_input(scene)
    keypoints = {"nose": 80.0, "left_knee": None, "total": 75.5}
    details = {"sequences": {"one": {"AP": keypoints}}}
    remarks = ("In percent.",)
    result = MetricResult(
        "AP 75.5", "", {}, {"AP": keypoints, "MOTA": keypoints}, details=details, remarks=remarks
    )
    posetrack = replace(RUN, dataset="posetrack")
    page = read(write(tmp_path / "b.html", made, {"posetrack": result, **ap(made)}, posetrack))
    assert "Metric keypoint AP MOTA nose 80.0 80.0 left knee – – total 75.5 75.5" in page.text
    assert "In percent." in page.text
    assert "sequences" not in page.text
    assert "Metric: coco metric this run AP 0." in page.text


def test_the_best_and_the_worst_are_different_instances():
    assert best_and_worst([3, 1, 2], float, 2) == ([3, 2], [1])
    assert best_and_worst(range(9), float, 2) == ([8, 7], [0, 1])
    assert best_and_worst([], float, 2) == ([], [])


def test_a_caption_names_few_keypoints_and_counts_many():
    errors = np.array([4] * 6 + [3, 2] + [0] * 7 + [-1] * 2)
    pair = Pair(0, 1, 2, np.zeros((17, 3)), 0.314, errors, np.zeros(17))
    assert describe_pair(pair, COCO) == (
        ", OKS 0.31. Inversion: left elbow. Swap: right shoulder. Miss: 6 of 15 labeled keypoints."
    )
    pair = replace(pair, errors=np.array([4, 4] + [0] * 15))
    assert describe_pair(pair, COCO) == ", OKS 0.31. Miss: nose, left eye."


def test_instances_are_found_in_any_shard(scene):
    folder, manifest, data = scene
    assert len(manifest.shards) > 2
    (batch,) = read_records(folder, manifest.records)
    ids = batch["instance_id"].numpy()[[0, 7, -1]].tolist()
    instances = read_instances(folder, manifest, ids)
    assert sorted(instances) == sorted(ids)
    images = {instance["id"]: instance["image_id"] for instance in data["annotations"]}
    assert all(record["image_id"] == images[instance] for instance, record in instances.items())
    assert read_instances(folder, manifest, []) == {}


def browse(page, width, scheme="light"):
    """What a headless Chromium finds in a page."""
    if importlib.util.find_spec("PySide6") is None:
        pytest.skip("needs a browser: pip install -r requirements-browser.txt -c constraints.txt")
    run = subprocess.run(
        [sys.executable, str(ROOT / "tests/helpers/browser.py"), str(page), str(width), scheme],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if run.returncode == 1 and "cannot open shared object file" in run.stderr:
        pytest.skip(f"QtWebEngine needs a system library: {run.stderr.strip().splitlines()[-1]}")
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1200, "dark")])
def test_a_browser_shows_all_of_it_without_a_request(scene, tmp_path, width, scheme):
    path = write(tmp_path / "report.html", metric_input(scene))
    seen = browse(path, width, scheme)
    assert seen["console"] == []
    assert [request for request in seen["requests"] if not request.startswith("data:")] == [path.as_uri()]
    assert seen["innerWidth"] == width
    assert seen["scrollWidth"] <= width
    assert len(seen["images"]) == 36
    assert all(complete and min(size) > 100 for complete, *size in seen["images"])
    assert len(seen["charts"]) == 3 + 18
    assert all(w > 60 and h > 10 and shown == "visible" for w, h, shown, *_ in seen["charts"])
    assert all(left >= 0 and right <= width for *_, left, right in seen["charts"][:3])
    assert len(seen["tables"]) == 3
    assert all(w > 100 and h > 50 for w, h in seen["tables"])
    assert HOSTILE in seen["text"]
    light, dark = "rgb(255, 255, 255)", "rgb(23, 24, 26)"
    assert seen["paper"] == (dark if scheme == "dark" else light)


@pytest.mark.slow
def test_the_browser_would_see_a_request_a_message_and_a_page_too_wide(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        '<meta name="viewport" content="width=device-width"><title>bad</title>'
        '<img src="missing.png"><div style="width: 900px">wide</div><script>console.error("no")</script>'
    )
    seen = browse(page, 390)
    assert any(request.endswith("missing.png") for request in seen["requests"])
    assert any("no" in message for message in seen["console"])
    assert seen["scrollWidth"] > 390
    assert seen["images"][0][1] == 0


def test_phases_are_timed_in_their_order():
    timing = Timing()
    for phase in ("load", "predict"):
        with timing.phase(phase):
            pass
    assert list(timing.seconds) == ["load", "predict"]
    assert all(seconds >= 0 for seconds in timing.seconds.values())
