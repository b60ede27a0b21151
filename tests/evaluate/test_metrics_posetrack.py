"""What an evaluation says of PoseTrack's videos, and what it refuses before anything is predicted."""

import json
from pathlib import Path

import pytest

from evaluate.metrics.posetrack import sequences_of
from evaluate.options import EvaluateOptions
from evaluate.run import evaluate_run
from hrpose.command import CommandError
from records.skeletons import POSETRACK
from tests.helpers import posetrack_videos
from tests.helpers.builders import annotations
from tests.helpers.metric_inputs import check, chosen, measure, metric_input


@pytest.fixture
def posetrack(tmp_path):
    """A function that makes `MetricInput` of two videos; its arguments are those of `metric_input`."""
    videos = {name: posetrack_videos.video(first=first) for name, first in (("a", 10), ("b", 20))}
    for video in videos.values():  # nobody moves, so that tracking is as easy as can be
        still = {one["track_id"]: one["keypoints"] for one in video["annotations"][:2]}
        video["annotations"] = [one | {"keypoints": still[one["track_id"]]} for one in video["annotations"]]
    sequences = tmp_path / "original_annotations/val"
    sequences.mkdir(parents=True)
    sequences.with_name("test").symlink_to(sequences)
    for name, video in videos.items():
        (sequences / f"{name}.json").write_text(json.dumps(video))
    instances = [one for video in videos.values() for one in video["annotations"]]
    instances = [one | {"id": number, "bbox": [0, 0, 500, 500]} for number, one in enumerate(instances)]
    data = annotations([entry for video in videos.values() for entry in video["images"]], instances)
    data["categories"] = videos["a"]["categories"]
    changes = {"dataset_dir": tmp_path, "name": tmp_path / "run"}
    return lambda **more: metric_input(data, POSETRACK, instances, "posetrack", **(changes | more))


def test_perfect_predictions_of_videos_score_100(posetrack, tmp_path):
    metric_result = measure(posetrack())
    assert metric_result.content["AP"]["total"] == pytest.approx(100)
    assert metric_result.headline == "AP 100.0"
    assert [path.name for path in metric_result.files] == ["a.json", "b.json"]
    assert measure(posetrack(), tracking=True).content["MOTA"]["total"] == pytest.approx(100)
    moved = posetrack()
    moved.results[0]["keypoints"] = [5000.0] * 51
    assert measure(moved).content["AP"]["total"] < 100


def test_the_test_split_of_posetrack_only_writes_the_submission(posetrack):
    metric_result = measure(posetrack(split="test"))
    assert (metric_result.content, metric_result.headline, len(metric_result.files)) == (
        {},
        "not measured",
        2,
    )
    assert "not public" in metric_result.table


@pytest.mark.parametrize("split", ["val", "test"])
def test_posetrack_wants_whole_videos(posetrack, split):
    made = posetrack(image_ids=frozenset({10, 11}), split=split)
    with pytest.raises(CommandError, match=r"--image_ids, from 2 images; PoseTrack's metric needs whole"):
        check(made)


def test_videos_other_than_the_records_are_refused(posetrack):
    made = posetrack()
    (sequences_of(made.split) / "c.json").write_text(json.dumps(posetrack_videos.video(first=30)))
    with pytest.raises(CommandError, match=r"has 6 images, the videos in .*/val have 9, and 3 are in one"):
        check(made)
    (sequences_of(made.split) / "c.json").unlink()
    (sequences_of(made.split) / "b.json").unlink()
    with pytest.raises(CommandError, match=r"have 3, and 3 are .* for example 20\. Put the files there"):
        check(made)


@pytest.mark.parametrize("tracking", [False, True])
def test_an_evaluation_begins_with_that_check(posetrack, monkeypatch, tracking):
    made = posetrack()
    monkeypatch.setattr("evaluate.run.read_config", lambda folder: None)
    monkeypatch.setattr("evaluate.run.find_evaluation_split", lambda paths, config: made.split)
    monkeypatch.setattr("evaluate.run.load_network", lambda *_: pytest.fail("that takes a while"))
    options = EvaluateOptions(made.split.paths, chosen(made, tracking=tracking), gpus=0)
    video = sequences_of(made.split) / "b.json"
    content = json.loads(video.read_text())
    del content["annotations"][0]["track_id"]
    video.write_text(json.dumps(content))
    if tracking:
        with pytest.raises(CommandError, match="has no track_id"):
            evaluate_run(options)
    video.unlink()
    with pytest.raises(CommandError, match=r"have 3, and 3 are"):
        evaluate_run(options)


def test_what_could_not_be_measured_is_refused_before_anything_is_predicted(posetrack, tmp_path):
    check(posetrack(), tracking=True)
    check(posetrack(split="test"))
    with pytest.raises(CommandError, match=r"^truth\.json: .* needs whole videos\. Build them without"):
        check(posetrack(image_ids=frozenset({10, 11})))
    with pytest.raises(CommandError, match="no annotations in elsewhere"):
        check(posetrack(dataset_dir=Path("elsewhere")))
    video = sequences_of(posetrack().split) / "b.json"
    content = json.loads(video.read_text())
    del content["annotations"][0]["track_id"]
    video.write_text(json.dumps(content))
    check(posetrack())
    with pytest.raises(
        CommandError, match=r"b\.json: an instance in image 20 has no track_id; without tracks"
    ):
        check(posetrack(), tracking=True)
    del content["annotations"][0]["bbox_head"]
    video.write_text(json.dumps(content))
    with pytest.raises(CommandError, match=r"b\.json: annotation 0.*bbox_head"):
        check(posetrack())
    check(posetrack(split="test"))  # whose annotations nobody reads
    video.unlink()
    with pytest.raises(CommandError, match=r"have 3, and 3 are .* for example 20"):
        check(posetrack())


def test_a_video_nested_too_deeply_is_named(posetrack):
    made = posetrack()
    (sequences_of(made.split) / "b.json").write_text("[" * 100_000)
    with pytest.raises(CommandError, match=r"^truth\.json: .*b\.json: .* nested too deeply$"):
        check(made)


def test_videos_that_are_not_there_are_named(posetrack):
    with pytest.raises(CommandError, match="no annotations in elsewhere"):
        measure(posetrack(dataset_dir=Path("elsewhere")))
