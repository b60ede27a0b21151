"""PoseTrack's files: what is written can be read, has every frame, and bad ones are named."""

import copy
import json

import numpy as np
import pytest

from evaluate.metrics.posetrack import evaluate_posetrack
from evaluate.metrics.posetrack_files import KEYPOINTS, NO_SCORE, frame_ids, read_sequence, write_predictions
from evaluate.metrics.tracking import track_results
from records.skeletons import POSETRACK
from tests.helpers.shared import shared_data

EARS = [POSETRACK.keypoints.index(name) for name in ("left_ear", "right_ear")]


def ground_truth_file():
    """Two instances in frame 10, nobody in 11, one instance in 12."""
    rng = np.random.default_rng(0)
    instances = [
        {
            "image_id": image_id,
            "track_id": track_id,
            "keypoints": np.concatenate([rng.uniform(1, 500, (17, 2)), np.ones((17, 1))], 1).ravel().tolist(),
            "bbox_head": [10, 20, 30, 40],
            "scores": [],
        }
        for image_id, track_id in ((10, 0), (10, 1), (12, 1))
    ]
    region = {"ignore_regions_x": [[700, 900, 900]], "ignore_regions_y": [[700, 700, 900]]}
    return {
        "images": [
            {"id": i, "file_name": f"images/val/000001_mpii_test/{i:06d}.jpg", "vid_id": "1"} | region
            for i in (10, 11, 12)
        ],
        "annotations": instances,
        "categories": [{"id": 1, "name": "person", "keypoints": list(POSETRACK.keypoints)}],
    }


def write(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def results_of(ground_truth):
    """COCO results that repeat the ground truth, with keypoint scores 0.01 to 0.17."""
    results = []
    for instance in ground_truth["annotations"]:
        keypoints = np.reshape(instance["keypoints"], (17, 3))
        keypoints[:, 2] = np.arange(1, 18) / 100
        results.append(
            {
                "image_id": instance["image_id"],
                "category_id": 1,
                "keypoints": keypoints.ravel().tolist(),
                "score": 0.5,
            }
        )
    return results


def test_a_video_is_read_frame_by_frame_in_posevals_order(tmp_path):
    ground_truth = ground_truth_file()
    first = ground_truth["annotations"][0]
    first["keypoints"][:3] = [0, 0, 0]
    first["keypoints"][3:6] = [0, 0, 1]
    frames = read_sequence(write(tmp_path / "a.json", ground_truth), True)
    assert [frame.image_id for frame in frames] == [10, 11, 12]
    assert [len(frame.points) for frame in frames] == [2, 0, 1]
    frame = frames[0]
    assert (frame.points.shape, frame.present.shape, frame.scores.shape) == ((2, 15, 2), (2, 15), (2, 15))
    ankle = POSETRACK.keypoints.index("right_ankle")
    assert frame.points[0, KEYPOINTS.index("right_ankle")].tolist() == first["keypoints"][3 * ankle :][:2]
    # Three zeros are no nose; the neck, head_bottom in the file, is at the origin.
    assert frame.present[0, [KEYPOINTS.index("nose"), KEYPOINTS.index("neck")]].tolist() == [False, True]
    assert frame.head_diagonals.tolist() == [50, 50]
    assert frame.track_ids.tolist() == [0, 1]
    assert set(frame.scores.ravel()) == {NO_SCORE}
    assert [region.tolist() for region in frame.ignore_regions] == [[[700, 700], [900, 700], [900, 900]]]


def test_keypoints_are_found_by_name(tmp_path):
    ground_truth = ground_truth_file()
    expected = read_sequence(write(tmp_path / "a.json", ground_truth), True)[0]
    order = [i for i in np.random.default_rng(0).permutation(17).tolist() if i not in EARS]
    ground_truth["categories"][0]["keypoints"] = [POSETRACK.keypoints[i] for i in order]
    for instance in ground_truth["annotations"]:
        instance["keypoints"] = np.reshape(instance["keypoints"], (17, 3))[order].ravel().tolist()
    assert (
        read_sequence(write(tmp_path / "a.json", ground_truth), True)[0].points.tolist()
        == expected.points.tolist()
    )


def test_what_is_written_has_every_frame_and_is_scored_in_full(tmp_path):
    ground_truth = ground_truth_file()
    write(tmp_path / "truth" / "a.json", ground_truth)
    empty = ground_truth_file() | {"annotations": []}
    for image in empty["images"]:
        image["id"] += 100
    write(tmp_path / "truth" / "b.json", empty)
    assert frame_ids(tmp_path / "truth") == {"a": [10, 11, 12], "b": [110, 111, 112]}
    results = track_results(results_of(ground_truth), [1e4] * 3, frame_ids(tmp_path / "truth"))
    before = copy.deepcopy(results)
    paths = write_predictions(results, tmp_path / "truth", tmp_path / "new" / "predictions")
    assert results == before
    assert [path.name for path in paths] == ["a.json", "b.json"]
    written = json.loads(paths[0].read_text())
    assert [image["id"] for image in written["images"]] == [10, 11, 12]
    assert written["images"][0] == {
        k: v for k, v in ground_truth["images"][0].items() if not k.startswith("ignore_regions")
    }
    assert len(json.loads(paths[1].read_text())["images"]) == 3
    instance = written["annotations"][0]
    assert instance.keys() == {"image_id", "category_id", "track_id", "keypoints", "scores", "score"}
    assert instance["scores"] == (np.arange(1, 18) / 100).tolist()
    assert instance["keypoints"] == ground_truth["annotations"][0]["keypoints"]
    metrics = evaluate_posetrack(tmp_path / "truth", paths[0].parent)
    assert {metrics[name]["total"] for name in ("AP", "recall", "MOTA")} == {100}


def test_without_tracks_instances_are_counted_in_each_frame(tmp_path):
    ground_truth = ground_truth_file()
    write(tmp_path / "truth" / "a.json", ground_truth)
    (path,) = write_predictions(results_of(ground_truth)[::-1], tmp_path / "truth", tmp_path / "out")
    instances = json.loads(path.read_text())["annotations"]
    assert [(instance["image_id"], instance["track_id"]) for instance in instances] == [
        (10, 0),
        (10, 1),
        (12, 0),
    ]


def test_keypoints_with_low_scores_can_be_left_out(tmp_path):
    ground_truth = ground_truth_file()
    write(tmp_path / "truth" / "a.json", ground_truth)
    (path,) = write_predictions(
        results_of(ground_truth), tmp_path / "truth", tmp_path / "out", min_keypoint_score=0.03
    )
    instance = json.loads(path.read_text())["annotations"][0]
    assert instance["keypoints"][:6] == [0] * 6
    assert instance["keypoints"][6:] == ground_truth["annotations"][0]["keypoints"][6:]
    present = read_sequence(path, False)[0].present[0]
    assert [name for name, there in zip(KEYPOINTS, present, strict=True) if not there] == ["neck", "nose"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"image_id": 9},
            r"^results: number 0 is on image 9, which no file in .*truth has; use the annotations",
        ),
        ({"keypoints": [1.0] * 50}, r"^results: number 0: keypoints is \[.*; expected 51 finite numbers"),
        ({"keypoints": [float("nan")] * 51}, r"^results: number 0: keypoints"),
        ({"score": float("inf")}, r"^results: number 0: score is \[inf\]"),
        ({"track_id": -1}, r"^results: number 0: track_id is -1; poseval takes integers from 0 to 9999"),
        ({"track_id": 10_000}, r"track_id is 10000"),
        ({"track_id": 1.0}, r"track_id is 1\.0"),
    ],
)
def test_results_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, change, says):
    ground_truth = ground_truth_file()
    write(tmp_path / "truth" / "a.json", ground_truth)
    with pytest.raises(ValueError, match=says):
        write_predictions([results_of(ground_truth)[0] | change], tmp_path / "truth", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_image_in_two_files_is_refused(tmp_path):
    write(tmp_path / "truth" / "a.json", ground_truth_file())
    write(tmp_path / "truth" / "b.json", ground_truth_file())
    with pytest.raises(ValueError, match=r"truth: an image id occurs in more than one file"):
        write_predictions([], tmp_path / "truth", tmp_path / "out")


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("images",), None, r"not a file in PoseTrack18 form; .* images is missing"),
        (("annotations",), {}, r"annotations is missing"),
        (("categories",), [], r"categories\[0\]\.keypoints misses any; expected PoseTrack's keypoints"),
        (("categories", 0, "keypoints", 1), "neck", r"categories\[0\]\.keypoints misses head_bottom;"),
        (("images", 1, "id"), 10, r"image 1 needs an integer id of its own"),
        (("images", 1, "id"), "11", r"image 1 needs an integer id of its own"),
        (("images", 0), 5, r"image 0 needs an integer id"),
        (
            ("images", 0, "ignore_regions_x"),
            [[1, 2, 3], [4]],
            r"image 10: ignore_regions_x and ignore_regions_y",
        ),
        (("images", 0, "ignore_regions_x", 0), [1, 2], r"ignore_regions_y is \[700, .*; expected 2 finite"),
        (("annotations", 2), "x", r"annotation 2 has no integer image_id"),
        (("annotations", 2, "image_id"), 99, r"annotation 2 is on image 99, which is not among the file's"),
        (
            ("annotations", 0, "keypoints"),
            [1] * 45,
            r"annotation 0: keypoints is .*; expected 51 finite numbers",
        ),
        (("annotations", 0, "keypoints", 0), "a", r"annotation 0: keypoints is \['a', "),
        (("annotations", 0, "keypoints", 0), 10**400, r"annotation 0: keypoints is "),
        (
            ("annotations", 0, "scores"),
            [1, 2],
            r"annotation 0: scores is \[1, 2\]; expected 17 finite numbers",
        ),
        (("annotations", 0, "track_id"), "a", r"annotation 0: track_id is 'a'; poseval takes"),
        (
            ("annotations", 1, "bbox_head"),
            None,
            r"annotation 1: bbox_head is None; expected 4 finite numbers",
        ),
        (("annotations", 1, "bbox_head"), [5, 5, 0, 0], r"annotation 1: bbox_head \[.*\] has no extent"),
    ],
)
def test_files_of_another_form_are_named_with_the_place(tmp_path, place, value, says):
    ground_truth = ground_truth_file()
    spot = ground_truth
    for key in place[:-1]:
        spot = spot[key]
    spot[place[-1]] = value
    path = write(tmp_path / "a.json", ground_truth)
    with pytest.raises(ValueError, match=rf"a\.json: .*{says}|a\.json: {says}"):
        read_sequence(path, True)


def test_a_file_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "a.json"
    for content in (b"{", b"\xff", b"", b"[]", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.json: not "):
            read_sequence(path, True)
        with pytest.raises(ValueError, match=r"a\.json: not "):
            frame_ids(tmp_path)


def test_the_real_annotations_are_read_and_answered(tmp_path):
    folder = shared_data("dataset", "PoseTrack", "original_annotations", "val")
    results = []
    for path in sorted(folder.glob("*.json")):
        ground_truth = json.loads(path.read_text())
        results += results_of(ground_truth)
    write_predictions(results, folder, tmp_path)
    metrics = evaluate_posetrack(folder, tmp_path, tracking=False)
    assert metrics["recall"]["total"] == 100
