"""Keypoints, boxes and areas that cannot be meant: each cause is named, what is right is left in peace."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.ground_truth import read_ground_truth
from pipelines.cli import command
from records.checking.cli import command as check
from records.errors import RecordsError
from records.geometry import clean_box
from records.manifest import Manifest, read_manifest
from records.plausibility import (
    area_warning,
    count_areas,
    count_placement,
    placement_rows,
    placement_summary,
    placement_warnings,
    sum_counts,
)
from records.skeletons import COCO
from tests.helpers.builders import annotations, image, instance, write_json
from tests.helpers.releases import write_image

INPUT = (192, 256)


def instances(seed=0, count=60, num_keypoints=17, size=(640, 480), inside=True):
    """Boxes, keypoints, image sizes and areas of a plausible dataset."""
    rng = np.random.default_rng(seed)
    extent = rng.uniform(0.1, 0.6, (count, 2)) * size
    corner = rng.uniform(0, 1, (count, 2)) * (np.array(size) - extent - 1)
    if not inside:
        corner += rng.uniform(-0.3, 0.3, (count, 2)) * extent
    boxes = np.concatenate([corner, extent], axis=1)
    points = corner[:, None] + rng.uniform(0.05, 0.95, (count, num_keypoints, 2)) * extent[:, None]
    visibility = rng.integers(0, 3, (count, num_keypoints, 1))
    visibility[:, 0] = 2
    return (
        boxes,
        np.concatenate([points, visibility], axis=2),
        np.tile(size, (count, 1)),
        0.5 * extent.prod(1),
    )


def said(boxes, keypoints, sizes, areas):
    return placement_warnings(count_placement(boxes, keypoints, sizes, areas, INPUT))


@settings(max_examples=200)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 80),
    num_keypoints=st.integers(1, 20),
    inside=st.booleans(),
    cut=st.booleans(),
    size=st.sampled_from([(640, 480), (160, 120), (50, 2000)]),
)
def test_plausible_instances_are_left_in_peace(seed, count, num_keypoints, inside, cut, size):
    boxes, keypoints, sizes, areas = instances(
        seed, count if inside else count + 20, num_keypoints, size, inside or not cut
    )
    if cut:
        boxes = clean_box(boxes, sizes)
    assert said(boxes, keypoints, sizes, areas) == []
    assert said(boxes, keypoints * [1, 1, 0], sizes, areas) == []  # as a detector's


@pytest.mark.parametrize("seed", range(20))
def test_large_instances_and_faces_in_large_boxes_are_plausible(seed):
    """Boxes whose width is more than their x, as of instances close to the camera, are no corners."""
    rng = np.random.default_rng(seed)
    corner, sizes = rng.uniform(20, 120, (40, 2)), np.tile((640, 480), (40, 1))
    boxes = np.concatenate([corner, rng.uniform((280, 310), (320, 350), (40, 2))], axis=1)
    for low, high in (([0.05, 0.02], [0.95, 0.98]), ([0.35, 0.05], [0.65, 0.3])):
        points = boxes[:, None, :2] + rng.uniform(low, high, (40, 5, 2)) * boxes[:, None, 2:]
        keypoints = np.concatenate([points, np.full((40, 5, 1), 2)], axis=2)
        assert said(boxes, keypoints, sizes, boxes[:, 2:].prod(1)) == []


CAUSES = {
    "keypoints look like fractions of the image's": lambda b, k, s: (b, k / s[:, None]),
    "keypoints look like percentages of the image's": lambda b, k, s: (b, 100 * k / s[:, None]),
    "keypoints look like fractions of their box": lambda b, k, s: (b, (k - b[:, None, :2]) / b[:, None, 2:]),
    "counted from their box's corner": lambda b, k, s: (b, k - b[:, None, :2]),
    "keypoints look like y, x": lambda b, k, s: (b, k[..., ::-1]),
    "boxes look like x1, y1, x2, y2": lambda b, k, s: (corners(b), k),
    "boxes look like the center's x, y": lambda b, k, s: (b + np.pad(b[:, 2:] / 2, ((0, 0), (0, 2))), k),
    "the boxes look like fractions of the image's": lambda b, k, s: (b / np.tile(s, 2), k),
    "boxes and keypoints look like fractions": lambda b, k, s: (b / np.tile(s, 2), k / s[:, None]),
}


def corners(boxes):
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize(("seed", "num_keypoints"), [(0, 17), (1, 17), (2, 3), (3, 1)])
def test_each_cause_is_named_with_the_counts(cause, seed, num_keypoints):
    boxes, keypoints, sizes, areas = instances(seed, num_keypoints=num_keypoints)
    boxes, points = CAUSES[cause](boxes, keypoints[..., :2], sizes)
    keypoints = np.concatenate([points, keypoints[..., 2:]], axis=2)
    counts = count_placement(boxes, keypoints, sizes, areas, INPUT)
    message = placement_warnings(counts)[0]
    assert cause in message
    labeled = (keypoints[..., 2] > 0).sum()
    assert message.startswith(
        f"{counts['outside_box']:,} of {labeled:,} labeled keypoints are outside of their"
    )


@pytest.mark.parametrize("seed", range(5))
def test_boxes_by_corners_are_named_although_they_were_cut_to_their_image(seed):
    boxes, keypoints, sizes, areas = instances(seed)
    cut = clean_box(corners(boxes), sizes)
    assert "boxes look like x1, y1, x2, y2" in said(cut, keypoints, sizes, areas)[0]


@pytest.mark.parametrize("cause", ["boxes look like x1, y1, x2, y2", "the boxes look like fractions"])
def test_a_detectors_boxes_are_judged_by_themselves(cause):
    boxes, keypoints, sizes, _ = instances()
    change = next(change for name, change in CAUSES.items() if name.startswith(cause))
    boxes, _ = change(boxes, keypoints[..., :2], sizes)
    (message,) = said(boxes, keypoints * [1, 1, 0], sizes, boxes[:, 2] * boxes[:, 3])
    assert message.startswith("the boxes look like")
    assert cause in message


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("share", [0.02, 0.3])
def test_missing_keypoints_that_are_said_to_be_there_are_named(place, share):
    boxes, keypoints, sizes, areas = instances(inside=True)
    boxes[:, :2] += 60  # nobody's box is at the image's corner
    keypoints[..., :2] += 60
    missing = np.random.default_rng(0).uniform(size=keypoints.shape[:2]) < share
    keypoints[missing] = place, place, 2
    (message,) = said(boxes, keypoints, sizes + 200, areas)
    assert f"{missing.sum():,} of them are at 0, 0 or -1, -1, like missing keypoints" in message
    keypoints[missing, 2] = 0
    assert said(boxes, keypoints, sizes + 200, areas) == []


def test_keypoints_of_other_instances_are_counted_without_a_cause():
    boxes, keypoints, sizes, areas = instances()
    (message,) = said(boxes, keypoints[::-1], sizes, areas)
    assert "expected nearly all of them inside" in message


def test_a_part_of_the_instances_is_enough_and_more_than_are_looked_at_closely():
    boxes, keypoints, sizes, areas = instances(count=700)
    part = np.arange(700) % 5 == 0
    keypoints[part, :, :2] /= 640
    (message,) = said(boxes, keypoints, sizes, areas)
    assert "keypoints look like fractions" in message
    boxes, keypoints, sizes, areas = instances(count=700)
    (message,) = said(corners(boxes), keypoints * [1, 1, 0], sizes, areas * 10)
    assert "boxes look like x1, y1, x2, y2" in message


def test_counts_add_up_over_any_division_and_say_what_is_where():
    boxes, keypoints, sizes, areas = instances(count=10, num_keypoints=2)
    keypoints[..., 2] = 2
    keypoints[:3, 0, :2] = boxes[:3, :2] + 2 * boxes[:3, 2:]  # beside the box
    keypoints[3, 1, :2] = 641, 5
    whole = count_placement(boxes, keypoints, sizes, areas, INPUT)
    parts = (slice(0, 4), slice(4, 4), slice(4, 10))
    assert whole == sum_counts(
        count_placement(boxes[part], keypoints[part], sizes[part], areas[part], INPUT) for part in parts
    )
    assert (whole["instances"], whole["labeled"], whole["outside_box"]) == (10, 20, 4)
    rows = placement_rows(placement_summary(whole))
    assert rows[0] == (4, "labeled keypoints outside of their padded box (20.0%)")
    assert placement_rows({}) == placement_rows({"labeled": 0, "outside_box": 0, "outside_image": 0}) == []


def test_instances_of_images_without_a_size_are_not_looked_at():
    boxes, keypoints, sizes, areas = instances()
    counts = count_placement(boxes, keypoints / 1000, sizes * 0, areas, INPUT)
    assert (counts["instances"], placement_warnings(counts)) == (0, [])


@settings(max_examples=200)
@given(st.lists(st.lists(st.floats(-1e18, 1e18), min_size=13, max_size=13), max_size=5))
def test_any_numbers_can_be_counted(rows):
    rows = np.reshape(rows, (-1, 13))
    boxes, points = np.abs(rows[:, :4]) + 1e-6, rows[:, 4:10].reshape(-1, 3, 2)
    keypoints = np.concatenate([points, np.full((len(rows), 3, 1), 1)], axis=2)
    with np.errstate(all="raise", under="ignore"):
        said(boxes, keypoints, np.tile((640, 480), (len(rows), 1)), rows[:, 10])


# ---- areas


@pytest.mark.parametrize(
    ("areas", "what"),
    [(1.0, "below 5% of"), (0.04, "below 5% of"), (640 * 480.0, "above 4 times"), (500.0, None)],
)
def test_areas_that_are_none_are_named(areas, what):
    boxes = np.tile((1, 2, 30, 40), (10, 1))
    warning = area_warning(count_areas(boxes, np.full(10, areas)))
    assert (warning is None) == (what is None)
    assert what is None or f'"area" of 10 of 10 instances is {what} their box\'s' in warning
    few = np.where(np.arange(10) < 5, areas, 500.0)
    assert area_warning(count_areas(boxes, few)) is None


def test_the_evaluation_says_it_too_beside_the_numbers():
    boxes = [instance(n, 1, [10, 10, 40, 60]) for n in range(4)]
    for area, warns in ((1.0, True), (1200.0, False)):
        data = annotations([image(1, 200, 100)], [one | {"area": area} for one in boxes])
        ground_truth = read_ground_truth("truth.json", data, COCO)
        assert (ground_truth.area_warning is not None) == warns


# ---- in the build's table and in check.py


def dataset(folder, change):
    """Eight images with an instance each, changed, and the flags to build them."""
    entries, everybody = [], []
    rng = np.random.default_rng(0)
    names = ["a", "b", "left_c", "right_c"]
    for number in range(1, 9):
        entries.append(image(number, 160, 120, f"{number}.jpg"))
        write_image(folder / "photos" / f"{number}.jpg", seed=number)
        points = rng.uniform((35, 25), (105, 95), (4, 2)).round(1)
        keypoints = np.concatenate([points, np.full((4, 1), 2)], axis=1)
        everybody.append(change(instance(number, number, [30, 20, 80, 80], keypoints)))
        everybody[-1]["keypoints"] = np.ravel(everybody[-1]["keypoints"]).tolist()
    category = {"id": 1, "name": "x", "keypoints": names, "sigmas": [0.05] * 4, "flip_pairs": [[2, 3]]}
    path = folder / "labels.json"
    write_json(path, {"images": entries, "annotations": everybody, "categories": [category]})
    return (
        *("--dataset=custom", f"--annotations={path}", f"--images={folder / 'photos'}"),
        *(f"--records_dir={folder / 'records'}", "--input_size=64x64"),
    )


def fractions(one):
    return one | {"keypoints": one["keypoints"] / [160, 120, 1]}


def missing(one):
    return one | {"keypoints": [*one["keypoints"][:3], [0, 0, 2]]}


@pytest.mark.parametrize(
    ("change", "misplaced", "cause"),
    [
        (dict, None, None),
        (
            fractions,
            "32  labeled keypoints outside of their padded box (100.0%)",
            "fractions of the image",
        ),
        (missing, "8  labeled keypoints outside of their padded box (25.0%)", "8 of them are at 0, 0"),
        (lambda one: one | {"bbox": [30, 20, 110, 100]}, None, "the boxes look like x1, y1, x2, y2"),
        (lambda one: one | {"area": 1.0}, None, '"area" of 8 of 8 instances is below'),
    ],
)
def test_the_build_warns_and_counts_and_check_says_the_same(tmp_path, capsys, change, misplaced, cause):
    flags = dataset(tmp_path, change)
    assert command(flags) == 0
    shown = capsys.readouterr()
    built, said = shown.out, shown.err
    assert check([str(tmp_path / "records/train"), "--num_images=0"]) == 0
    checked = capsys.readouterr().out
    for output in (said, checked):
        warned = [line for line in output.splitlines() if line.startswith("warning: ")]
        assert len(warned) == (cause is not None)
        assert cause is None or cause in warned[0]
    assert ("all is well" in checked) == (cause is None)
    assert ("misplaced" in built) == (misplaced is not None)
    assert misplaced is None or (misplaced in built and misplaced.replace("  ", " ") in checked)
    counts = read_manifest(tmp_path / "records/train").placement
    assert counts["labeled"] == 32


def test_annotated_boxes_as_fractions_are_rejected_and_it_is_said_why(tmp_path, capsys):
    flags = dataset(tmp_path, lambda one: one | {"bbox": [0.2, 0.2, 0.5, 0.6]})
    assert command(flags) == 1
    assert "8 of 8 instances were rejected (8 box_too_small)" in capsys.readouterr().err
    (line, *_) = (tmp_path / "records/train/rejected.jsonl").read_text().splitlines()
    assert "in an image of 160x120 pixels; expected pixels, and these look like fractions" in line


def test_manifests_of_earlier_builds_have_no_counts_and_are_read(tmp_path, capsys):
    assert command(dataset(tmp_path, dict)) == 0
    path = tmp_path / "records/train/manifest.json"
    data = json.loads(path.read_text())
    Manifest.from_json(data)
    del data["placement"]
    path.write_text(json.dumps(data))
    assert read_manifest(path.parent).placement == {}
    path.write_text(json.dumps(data | {"placement": {"labeled": -1}}))
    with pytest.raises(RecordsError, match="placement should be an object of counts"):
        read_manifest(path.parent)
    capsys.readouterr()
