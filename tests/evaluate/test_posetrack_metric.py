"""PoseTrack's AP and MOTA on videos made here, where the answer is known, and on poseval's results."""

import json

import numpy as np
import pytest

from evaluate.metrics.mot import EVENTS, count_events
from evaluate.metrics.posetrack import evaluate_posetrack, format_table, group_means
from evaluate.metrics.posetrack_files import KEYPOINTS
from tests.helpers.posetrack_videos import NOSE, evaluate, move, perfect, remove, video
from tests.helpers.shared import shared_data

TRACKED = ["MOTA", "MOTP", "MOT precision", "MOT recall"]


def test_perfect_predictions_score_a_hundred(tmp_path):
    ground_truth = video()
    metrics = evaluate(tmp_path, [(ground_truth, perfect(ground_truth))])
    assert list(metrics) == ["AP", "precision", "recall", *TRACKED, "sequences"]
    for name in ("AP", "precision", "recall", *TRACKED):
        assert list(metrics[name]) == [*KEYPOINTS, "total"]
        assert set(metrics[name].values()) == {100.0}
        assert metrics["sequences"]["a"][name] == metrics[name]
    assert list(evaluate(tmp_path, [(ground_truth, perfect(ground_truth))], tracking=False)) == [
        *("AP", "precision", "recall", "sequences")
    ]


def test_frames_without_instances_do_not_count(tmp_path):
    """Neither those nobody has annotated, nor those marked as not labeled whose instances have boxes
    alone.
    """
    ground_truth = video(frames=4)
    predictions = perfect(ground_truth)
    ground_truth["annotations"] = [
        instance for instance in ground_truth["annotations"] if instance["image_id"] != 11
    ]
    ground_truth["images"][2]["is_labeled"] = False
    for instance in ground_truth["annotations"]:
        if instance["image_id"] == 12:
            del instance["keypoints"], instance["bbox_head"]
    for instance in predictions["annotations"]:
        if instance["image_id"] in (11, 12):
            move(instance, 3000)
    metrics = evaluate(tmp_path, [(ground_truth, predictions)])
    assert (metrics["AP"]["total"], metrics["MOTA"]["total"]) == (100, 100)


@pytest.mark.filterwarnings("error")
def test_what_is_not_defined_is_none(tmp_path):
    ground_truth = video()
    predictions = perfect(ground_truth)
    for instance in ground_truth["annotations"]:
        remove(instance, NOSE)
    metrics = evaluate(tmp_path, [(ground_truth, predictions)])
    assert [metrics[name]["nose"] for name in ("AP", "recall", "MOTA", "MOT recall")] == [None] * 4
    assert (metrics["precision"]["nose"], metrics["MOT precision"]["nose"]) == (0, 0)
    assert (metrics["AP"]["total"], metrics["MOTA"]["total"]) == (100, 100)
    json.dumps(metrics, allow_nan=False)
    assert np.isnan(group_means(metrics["AP"])["Head"])
    # Nobody predicted: poseval calls the AP 0, whether or not there is something to find.
    assert set(evaluate(tmp_path, [(ground_truth, predictions | {"annotations": []})])["AP"].values()) == {0}


def test_a_swapped_identity_costs_tracking_and_not_ap(tmp_path):
    ground_truth = video(frames=5)
    predictions = perfect(ground_truth)
    for instance in predictions["annotations"]:
        if instance["image_id"] >= 12:
            instance["track_id"] = 1 - instance["track_id"]
    metrics = evaluate(tmp_path, [(ground_truth, predictions)])
    assert metrics["AP"]["total"] == 100
    # Two switches among the 8 keypoints of the first four frames; the last frame is left out.
    assert set(metrics["MOTA"].values()) == {75}


def test_a_frame_without_predictions_counts_one_miss_and_one_false_alarm_as_in_poseval(tmp_path):
    ground_truth = video(frames=3)
    predictions = perfect(ground_truth)
    predictions["annotations"] = [p for p in predictions["annotations"] if p["image_id"] != 11]
    metrics = evaluate(tmp_path, [(ground_truth, predictions)])
    # Two keypoints found, then one missed and one false alarm where two are missing: 1 - 2 / 3.
    assert metrics["MOTA"]["nose"] == pytest.approx(100 / 3)
    assert metrics["recall"]["nose"] == pytest.approx(100 * 4 / 6)


def test_identities_of_different_videos_have_nothing_to_do_with_each_other(tmp_path):
    ground_truth, other = video(), video(first=50)
    predictions = perfect(other)
    for instance in predictions["annotations"]:
        instance["track_id"] = 1 - instance["track_id"]
    metrics = evaluate(tmp_path, [(ground_truth, perfect(ground_truth)), (other, predictions)])
    assert metrics["MOTA"]["total"] == 100
    assert list(metrics["sequences"]) == ["a", "b"]


def test_videos_of_one_frame_have_ap_and_no_mota(tmp_path):
    ground_truth = video(frames=1)
    metrics = evaluate(tmp_path, [(ground_truth, perfect(ground_truth))])
    assert metrics["AP"]["total"] == 100
    assert set(metrics["MOTA"].values()) == {None}


def test_frames_are_found_by_their_id(tmp_path):
    ground_truth = video()
    predictions = perfect(ground_truth)
    predictions["images"].reverse()
    assert evaluate(tmp_path, [(ground_truth, predictions)])["MOTA"]["total"] == 100


def test_track_ids_are_needed_for_tracking_only(tmp_path):
    ground_truth = video()
    predictions = perfect(ground_truth)
    predictions["annotations"][3]["track_id"] = 0
    with pytest.raises(ValueError, match=r"predictions/a\.json: image 11 has a track_id twice"):
        evaluate(tmp_path, [(ground_truth, predictions)])
    del predictions["annotations"][3]["track_id"]
    with pytest.raises(ValueError, match=r"predictions/a\.json: an instance in image 11 has no track_id"):
        evaluate(tmp_path, [(ground_truth, predictions)])
    assert evaluate(tmp_path, [(ground_truth, predictions)], tracking=False)["AP"]["total"] == 100


def test_missing_files_and_frames_are_named(tmp_path):
    ground_truth = video()
    with pytest.raises(FileNotFoundError, match=r"no annotations in .*one \.json per video"):
        evaluate_posetrack(tmp_path, tmp_path)
    evaluate(tmp_path, [(ground_truth, perfect(ground_truth))])
    (tmp_path / "predictions" / "a.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"predictions/a\.json does not exist"):
        evaluate_posetrack(tmp_path / "truth", tmp_path / "predictions")
    predictions = perfect(video(frames=2))
    with pytest.raises(ValueError, match=r"a\.json has 2 frames, 1 of the 3 in .*a\.json are missing and 0"):
        evaluate(tmp_path, [(ground_truth, predictions)])


def test_events_are_counted_as_motmetrics_counts_them():
    frames = [
        ([1, 2], [5, 6], [[0.1, np.nan], [0.2, 0.3]]),
        ([], [5], np.zeros((0, 1))),
        ([1, 2], [6, 5], [[0.1, np.nan], [np.nan, np.nan]]),
    ]
    counts = dict(zip(EVENTS, count_events(frames).tolist(), strict=True))
    # Candidates 0.1 + 0.2 + 0.3 + 0.1, matches 0.1 + 0.3 + 0.1, and hypothesis 6 going over to object 1: 0.1.
    assert counts.pop("distance") == pytest.approx(1.3)
    assert counts == {
        "num_misses": 1,
        "num_switches": 1,
        "num_false_positives": 2,
        "num_objects": 4,
        "num_detections": 3,
    }
    assert count_events([]).tolist() == [0] * 6


@pytest.mark.parametrize("case", ["frames", "sequences"])
def test_poseval(case):
    folder = shared_data("golden", "posetrack", "poseval")
    expected = json.loads((folder / "expected.json").read_text())[case]
    tracking = "total_MOT_metrics" in expected
    metrics = evaluate_posetrack(folder / f"{case}_gt", folder / f"{case}_pred", tracking)
    names = {"AP": {"ap": "AP", "pre": "precision", "rec": "recall"}}
    names["MOT"] = {"mota": "MOTA", "motp": "MOTP", "pre": "MOT precision", "rec": "MOT recall"}
    compared = 0
    for sequence, found in [("total", metrics), *metrics["sequences"].items()]:
        for kind in names if tracking else ["AP"]:
            numbers = expected[f"{sequence}_{kind}_metrics"]
            assert [numbers["names"][str(place)] for place in range(15)] == list(KEYPOINTS)
            for theirs, ours in names[kind].items():
                for value, wanted in zip(found[ours].values(), numbers[theirs], strict=True):
                    assert (value is None) == (wanted is None)
                    assert wanted is None or value == pytest.approx(wanted, abs=1e-6)
                    compared += 1
    assert compared == 4 * 16 * (7 if tracking else 3)
    assert format_table(metrics).splitlines() == expected["table"]
