import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines.synthetic.bodies import sample_body
from pipelines.synthetic.dataset import CATEGORY, generate
from pipelines.synthetic.detections import DetectorOptions, simulate_detections
from pipelines.synthetic.options import SPLITS, SyntheticOptions
from pipelines.synthetic.parts import FOREARMS, PARTS_OF_KEYPOINT, SHINS
from pipelines.synthetic.scenes import render_scene
from pipelines.synthetic.shapes import CIRCLE
from pipelines.synthetic.sprites import OVERSAMPLING, fill, render_sprite
from pipelines.synthetic.styles import random_style
from tests.helpers.full_disk import full_disk_at

OPTIONS = SyntheticOptions(train_images=40, val_images=20, seed=3)
TINY = SyntheticOptions(train_images=2, val_images=1)
NOSE, LEFT_EYE, RIGHT_EYE, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 0, 1, 2, 5, 6, 11, 12


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("synthetic")
    assert generate(directory, OPTIONS)
    return directory


def read(directory: Path, split: str) -> dict:
    return json.loads((directory / "annotations" / f"person_keypoints_{split}.json").read_text())


def read_detections(directory: Path) -> list[dict]:
    return json.loads((directory / "dets" / "human_detection.json").read_text())


def contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def instances_of(ground_truth: dict):
    """Pairs of annotation and keypoints (17, 3) with the person's image."""
    images = {image["id"]: image for image in ground_truth["images"]}
    for person in ground_truth["annotations"]:
        yield images[person["image_id"]], person, np.array(person["keypoints"]).reshape(17, 3)


def bodies(count: int, back_view: bool):
    return [sample_body(np.random.default_rng([11, i]), back_view) for i in range(count)]


def sprites(count: int):
    for i in range(count):
        rng = np.random.default_rng([12, i])
        body = sample_body(rng, back_view=i % 3 == 0)
        yield body, render_sprite(rng, body, random_style(rng), rng.uniform(80, 300), np.array([0.6, -0.8]))


def test_two_workers_write_the_same_bytes_as_one(dataset, tmp_path):
    generate(tmp_path, OPTIONS, workers=2)
    assert contents(tmp_path) == contents(dataset)


def test_an_image_does_not_depend_on_how_many_there_are(dataset, tmp_path):
    generate(tmp_path, SyntheticOptions(train_images=3, val_images=2, seed=OPTIONS.seed))
    few, many = contents(tmp_path / "images"), contents(dataset / "images")
    assert len(few) == 5
    assert few.items() <= many.items()
    kept = [person for person in read(dataset, "val")["annotations"] if person["image_id"] <= 1_000_002]
    assert read(tmp_path, "val")["annotations"] == kept


def test_another_seed_gives_other_images(dataset, tmp_path):
    generate(tmp_path, SyntheticOptions(train_images=3, val_images=2, seed=OPTIONS.seed + 1))
    assert not set(contents(tmp_path / "images").values()) & set(contents(dataset / "images").values())


def test_all_images_differ_and_are_as_large_as_annotated(dataset):
    files = contents(dataset / "images")
    assert len(files) == len(set(files.values())) == OPTIONS.train_images + OPTIONS.val_images
    for split in SPLITS:
        for image in read(dataset, split)["images"]:
            pixels = cv2.imread(str(dataset / "images" / split / image["file_name"]))
            assert pixels.shape == (image["height"], image["width"], 3)
            assert 240 <= min(pixels.shape[:2]) <= max(pixels.shape[:2]) <= 480


def test_ids_are_unique_over_both_splits(dataset):
    ground_truths = [read(dataset, split) for split in SPLITS]
    for table in ("images", "annotations"):
        ids = [entry["id"] for ground_truth in ground_truths for entry in ground_truth[table]]
        assert len(ids) == len(set(ids))


def test_category_is_cocos_instance():
    assert CATEGORY["id"] == 1
    assert CATEGORY["keypoints"][:3] == ["nose", "left_eye", "right_eye"]
    assert CATEGORY["keypoints"][-1] == "right_ankle"
    assert len(CATEGORY["keypoints"]) == 17
    assert len(CATEGORY["skeleton"]) == 19
    assert {end for edge in CATEGORY["skeleton"] for end in edge} == set(range(1, 18))


@pytest.mark.parametrize("split", SPLITS)
def test_annotations_keep_cocos_rules(dataset, split):
    for image, person, keypoints in instances_of(read(dataset, split)):
        x, y, visibility = keypoints.T
        assert set(visibility) <= {0, 1, 2}
        assert not keypoints[visibility == 0].any()
        assert person["num_keypoints"] == (visibility > 0).sum() >= 3
        assert ((x >= 0) & (x <= image["width"] - 1)).all()
        assert ((y >= 0) & (y <= image["height"] - 1)).all()

        left, top, width, height = person["bbox"]
        assert 0 <= left < left + width <= image["width"]
        assert 0 <= top < top + height <= image["height"]
        assert 0 < person["area"] <= width * height
        seen = np.rint(keypoints[visibility == 2, :2])
        assert ((seen >= [left, top]) & (seen <= [left + width - 1, top + height - 1])).all()
        assert (person["iscrowd"], person["category_id"], person["segmentation"]) == (0, 1, [])


def test_every_kind_of_visibility_and_view_occurs(dataset):
    keypoints = np.stack([points for _, _, points in instances_of(read(dataset, "train"))])
    shares = [(keypoints[..., 2] == visibility).mean() for visibility in (0, 1, 2)]
    assert shares[0] > 0.03
    assert shares[1] > 0.03
    assert 0.7 < shares[2] < 0.93
    assert 0.15 < (keypoints[:, NOSE, 2] == 0).mean() < 0.5


def test_left_is_on_the_images_right_in_front_views_only():
    for back_view in (False, True):
        for body in bodies(60, back_view):
            across = (
                body.keypoints[[LEFT_SHOULDER, LEFT_HIP], 0] - body.keypoints[[RIGHT_SHOULDER, RIGHT_HIP], 0]
            )
            assert ((across < 0) == back_view).all()
            assert body.faces_viewer == (not back_view)


def test_left_and_right_hold_in_the_annotations(dataset):
    agree = []
    for _, _, keypoints in instances_of(read(dataset, "train")):
        shoulders_and_hips = keypoints[[LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP]]
        face = keypoints[[NOSE, LEFT_EYE, RIGHT_EYE], 2]
        if (shoulders_and_hips[:, 2] > 0).all() and (face.all() or keypoints[[3, 4], 2].all()):
            left_is_right = shoulders_and_hips[0, 0] > shoulders_and_hips[1, 0]
            agree.append(left_is_right == bool(face.all()))
    assert len(agree) > 40
    assert all(agree)


def test_face_is_unlabeled_exactly_when_it_is_turned_away():
    for body, sprite in sprites(30):
        assert sprite.labeled[3:].all()
        assert (sprite.labeled[:3] == body.faces_viewer).all()


def test_polygons_land_on_their_sub_pixel_place():
    center, origin = np.array([20.3, 17.8]), np.array([-4.6, 2.2])
    canvas = np.zeros((80, 100), dtype=np.uint8)
    fill(canvas, center + 9 * CIRCLE, 255, origin)
    coverage = cv2.resize(
        canvas, None, fx=1 / OVERSAMPLING, fy=1 / OVERSAMPLING, interpolation=cv2.INTER_AREA
    )
    rows, columns = np.nonzero(coverage)
    found = np.average(np.stack([columns, rows], axis=1), axis=0, weights=coverage[rows, columns])
    np.testing.assert_allclose(found + origin, center, atol=0.15)


def test_keypoints_lie_on_their_own_part_or_on_one_nearer():
    on_own = []
    for _, sprite in sprites(40):
        x, y = np.rint(sprite.keypoints).astype(int).T
        front = sprite.parts[y, x]
        assert (front[5:] > 0).all()  # a keypoint is always inside the figure's outline
        on_own.append([part in own for part, own in zip(front, PARTS_OF_KEYPOINT, strict=True)])
    assert np.mean(on_own, axis=0)[5:].min() > 0.7


def test_limbs_are_rendered_around_the_line_between_their_keypoints():
    limbs = ((7, 9, FOREARMS[0]), (8, 10, FOREARMS[1]), (13, 15, SHINS[0]), (14, 16, SHINS[1]))
    offsets = []  # pixels, of the drawn limb's middle from the line, halfway between the keypoints
    for _, sprite in sprites(60):
        for start, end, part in limbs:
            along = sprite.keypoints[end] - sprite.keypoints[start]
            length = np.hypot(*along)
            rows, columns = np.nonzero(sprite.parts == part)
            away = np.stack([columns, rows], axis=1) - (sprite.keypoints[start] + sprite.keypoints[end]) / 2
            halfway = np.abs(away @ along) < 0.15 * length**2
            if length > 15 and halfway.sum() > 30:
                offsets.append(np.median(away[halfway] @ np.array([-along[1], along[0]]) / length))
    assert len(offsets) > 100
    assert abs(np.median(offsets)) < 0.3


def test_an_instance_in_front_hides_the_one_behind():
    crowded = [render_scene(np.random.default_rng([13, i]), (0, 0, 0, 1), (200, 300), 0.3) for i in range(6)]
    sparse = [render_scene(np.random.default_rng([13, i]), (1,), (80, 120), 0.3) for i in range(6)]
    hidden = [
        np.mean([(person.keypoints[5:, 2] == 1).mean() for scene in scenes for person in scene.instances])
        for scenes in (crowded, sparse)
    ]
    assert hidden[0] > hidden[1]
    for scene in crowded:
        assert sum(person.area for person in scene.instances) <= scene.image.shape[0] * scene.image.shape[1]


def test_detections_are_of_val_images_and_near_the_ground_truth(dataset):
    ground_truth = read(dataset, "val")
    images = {image["id"]: image for image in ground_truth["images"]}
    detections = read_detections(dataset)
    assert len(detections) > 0.9 * len(ground_truth["annotations"])
    for detection in detections:
        assert set(detection) == {"image_id", "category_id", "bbox", "score"}
        image = images[detection["image_id"]]
        x, y, width, height = detection["bbox"]
        assert 0 <= x < x + width <= image["width"] + 0.02  # both are rounded to 0.01
        assert 0 <= y < y + height <= image["height"] + 0.02
        assert 0 < detection["score"] < 1
    near = 0
    for person in ground_truth["annotations"]:
        boxes = [np.array(d["bbox"]) for d in detections if d["image_id"] == person["image_id"]]
        size = np.tile(person["bbox"][2:], 2)
        near += any((np.abs(box - person["bbox"]) <= 0.2 * size).all() for box in boxes)
    assert near >= 0.9 * len(ground_truth["annotations"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (DetectorOptions(duplicate_fraction=0, miss_fraction=1, false_positives=0), 0),
        (DetectorOptions(duplicate_fraction=0, miss_fraction=0, false_positives=0), 2),
        (DetectorOptions(duplicate_fraction=1, miss_fraction=0, false_positives=0), 4),
    ],
)
def test_detector_options_do_what_they_say(options, expected):
    instances = np.array([[10.0, 20, 50, 100], [150, 20, 60, 120]])
    found = simulate_detections(np.random.default_rng(0), instances, (320, 240), options)
    assert len(found) == expected


def test_false_positives_stay_clear_of_instances():
    options = DetectorOptions(miss_fraction=1, false_positives=10)
    instances = np.array([[0.0, 0, 320, 240]])
    assert simulate_detections(np.random.default_rng(0), instances, (320, 240), options) == []
    assert simulate_detections(np.random.default_rng(0), instances[:0], (320, 240), options)


def test_detector_options_change_no_image(tmp_path):
    generate(tmp_path / "a", TINY)
    generate(tmp_path / "b", SyntheticOptions(2, 1, detector=DetectorOptions(jitter=0.1, false_positives=5)))
    assert contents(tmp_path / "a" / "images") == contents(tmp_path / "b" / "images")
    assert contents(tmp_path / "a" / "annotations") == contents(tmp_path / "b" / "annotations")
    assert read_detections(tmp_path / "a") != read_detections(tmp_path / "b")


def test_a_complete_dataset_is_left_alone(tmp_path):
    assert generate(tmp_path, TINY)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert not generate(tmp_path, TINY)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_other_options_are_refused_and_overwritten_on_demand(tmp_path):
    generate(tmp_path, SyntheticOptions(train_images=4, val_images=2))
    with pytest.raises(FileExistsError, match=r"other options.*overwrite"):
        generate(tmp_path, TINY)
    assert generate(tmp_path, TINY, overwrite=True)
    assert len(contents(tmp_path / "images")) == 3  # nothing is left of the larger dataset
    generate(tmp_path / "fresh", TINY)
    fresh = contents(tmp_path / "fresh")
    assert fresh.items() <= contents(tmp_path).items()


def stop(done: int, total: int):
    raise KeyboardInterrupt


def test_an_interrupted_run_is_done_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, TINY, progress=stop)
    assert not contents(tmp_path)
    assert generate(tmp_path, TINY)
    assert not generate(tmp_path, TINY)
    assert not (tmp_path / ".drawing").exists()


def test_what_stands_there_stays_until_what_replaces_it_is_whole(tmp_path, monkeypatch):
    generate(tmp_path, TINY)
    before = contents(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, SyntheticOptions(4, 2), overwrite=True, progress=stop)
    assert contents(tmp_path) == before
    full_disk_at("000000000004.jpg", monkeypatch)
    with pytest.raises(OSError, match=re.escape(f"No space left on device: '{tmp_path}'")):
        generate(tmp_path, SyntheticOptions(4, 2), overwrite=True)
    assert contents(tmp_path) == before


def test_images_of_others_beside_ours_stay(tmp_path):
    generate(tmp_path, SyntheticOptions(4, 2))
    own = [tmp_path / "images" / "train" / "own.jpg", tmp_path / "annotations" / "own.json"]
    for path in own:
        path.write_text("precious")
    generate(tmp_path, TINY, overwrite=True)
    assert all(path.read_text() == "precious" for path in own)
    assert len(contents(tmp_path / "images")) == 3 + 1


def test_an_exchange_that_ends_at_any_step_is_ended_by_the_next_run(tmp_path, monkeypatch):
    generate(tmp_path / "new", TINY)
    whole, replace, unlink = contents(tmp_path / "new"), Path.replace, Path.unlink
    left = {"steps": 0}

    def step(do):
        def limited(*args, **kwargs):
            if not left["steps"]:
                raise OSError("killed")
            left["steps"] -= 1
            return do(*args, **kwargs)

        return limited

    for number in range(12):
        folder = tmp_path / f"{number}"
        generate(folder, SyntheticOptions(4, 2))
        left["steps"] = number
        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", step(replace))
            patched.setattr(Path, "unlink", step(unlink))
            try:
                generate(folder, TINY, overwrite=True)
            except OSError:
                ended = True
            else:
                ended = False
        assert not generate(folder, TINY)
        assert contents(folder) == whole
        if not ended:
            break
    assert number == 3 + 3 + 2 + 2  # images, images that go, annotations, detections and marker


def test_a_marker_that_is_damaged_is_that_of_another_dataset(tmp_path):
    generate(tmp_path, TINY)
    for content in ("{", "[]", "[" * 100_000):
        (tmp_path / "synthetic.json").write_text(content)
        with pytest.raises(FileExistsError):
            generate(tmp_path, TINY)


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_others_are_never_touched(tmp_path, overwrite):
    foreign = tmp_path / "annotations" / "person_keypoints_train.json"
    foreign.parent.mkdir()
    foreign.write_text("precious")
    with pytest.raises(FileExistsError, match="choose an empty directory"):
        generate(tmp_path, TINY, overwrite=overwrite)
    assert contents(tmp_path) == {"annotations/person_keypoints_train.json": b"precious"}


def test_progress_counts_all_images(tmp_path):
    calls = []
    generate(tmp_path, SyntheticOptions(17, 2), progress=lambda *call: calls.append(call))
    assert calls == [(16, 19), (17, 19), (19, 19)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"train_images": 0}, "train_images is 0; expected 1 to"),
        ({"instances_weights": ()}, "instances_weights"),
        ({"instances_weights": (1.0,) * 16}, "instances_weights"),
        ({"min_height": 90.0, "max_height": 80.0}, "min_height is 90.0; expected 20 to max_height"),
        ({"back_view_fraction": 1.5}, "back_view_fraction is 1.5; expected 0 to 1"),
        ({"jpeg_quality": 0}, "jpeg_quality is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_impossible_options_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        SyntheticOptions(**wrong)


def test_impossible_detectors_and_workers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="jitter is 3; expected 0 to"):
        DetectorOptions(jitter=3)
    with pytest.raises(ValueError, match="workers is 0; expected 1 or more"):
        generate(tmp_path, TINY, workers=0)


def test_workers_start_without_heavy_imports():
    program = (
        "import sys, pipelines.synthetic; print(sorted({'tensorflow', 'apache_beam'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
