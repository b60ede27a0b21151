"""Whatever annotations and images hold: no build crashes, and nobody is lost without a count."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.annotations.source import read_source
from pipelines.build import build_records
from pipelines.crops import CropOptions
from pipelines.errors import BuildError
from pipelines.shard_job import ShardJob
from pipelines.spool import Spool
from pipelines.transforms import make_records
from records.manifest import read_manifest
from records.schema import parse_examples
from records.skeletons import COCO
from tests.helpers.builders import annotations, generate_image, image, instance, make_build, write_json
from tests.helpers.sources import anything, everyone, ground_truth, keypoints, some_of

SIZE = (80, 60)

#: What becomes of the images, by id.
PROBLEMS = {
    1: None,
    2: None,
    3: "missing_image",
    4: "unreadable_image",
    5: "wrong_image_size",
    6: "unsafe_path",
}
IMAGES = [image(n, *SIZE, "../secret.jpg" if n == 6 else None) for n in PROBLEMS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset's folder with the images and a detector's boxes, but without annotations."""
    folder = tmp_path_factory.mktemp("fuzz")
    images = folder / "images/train2017"
    images.mkdir(parents=True)
    for number, problem in PROBLEMS.items():
        pixels = generate_image(np.random.default_rng(number), *SIZE)
        pixels = pixels[1:] if problem == "wrong_image_size" else pixels
        cv2.imwrite(str(images / IMAGES[number - 1]["file_name"]), pixels)
    (images / "000000000003.jpg").unlink()
    whole = (images / "000000000004.jpg").read_bytes()
    (images / "000000000004.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


def parse(records):
    """Asserts that every record can be read and trained on."""
    if not records:
        return
    values = {name: tensor.numpy() for name, tensor in parse_examples(records, 17).items()}
    for name in ("crop_affine", "box", "center", "scale", "keypoints", "area", "score"):
        assert np.isfinite(values[name]).all(), name
    assert (values["scale"] > 0).all()
    assert np.isfinite(192 / values["scale"]).all()
    for crop in values["crop"]:
        assert cv2.imdecode(np.frombuffer(crop, np.uint8), cv2.IMREAD_COLOR) is not None


# ---- whole builds

number = st.integers(1, 7)
corner, side = st.floats(-30, 90), st.floats(1, 120)
changes = some_of({"keypoints": keypoints, "iscrowd": st.integers(0, 1), "area": anything, "id": anything})
sound = st.builds(instance, st.integers(1, 99), number, st.tuples(corner, corner, side, side))
flawed = st.builds(lambda one, change: one | change, sound, changes)


@pytest.mark.slow
@settings(max_examples=40)
@given(st.lists(sound | flawed | anything, min_size=1, max_size=16), st.sampled_from(["train", "test"]))
@example([instance(n, n, [10, 10, 30, 40]) for n in PROBLEMS], "train")
def test_everybody_of_a_build_is_a_record_rejected_or_left_out(folder, tmp_path_factory, instances, split):
    write_json(folder / "annotations.json", annotations(IMAGES, instances))
    out = tmp_path_factory.mktemp("out")
    build = make_build(folder, out, instances_per_shard=3, max_bad_fraction=1)
    build = replace(build, split=split, annotations=str(folder / "annotations.json"))
    source = read_source(build)
    try:
        manifest = build_records(build)
    except BuildError as error:
        assert "nobody to build records of" in str(error)  # noqa: PT017
        assert source.count == 0
        assert sum(source.filtered.values()) + len(source.rejected) == len(instances)
        return
    assert manifest == read_manifest(out)
    rejected = sum(manifest.rejected.values())
    assert manifest.records + rejected + sum(manifest.filtered.values()) == len(instances)
    letters = out / "rejected.jsonl"
    lines = [json.loads(line) for line in letters.read_text().splitlines()] if letters.exists() else []
    assert len(lines) == rejected
    expected = {p.instance_id: PROBLEMS[one.image_id] for one in source.images for p in one.instances}
    early = len(source.rejected)
    for line in lines[early:]:
        reason = expected[line["instance_id"]]
        assert line["reason"] == reason if reason else line["reason"] == "box_outside"
    parse([r.numpy() for shard in manifest.shards for r in tf.data.TFRecordDataset(str(out / shard.name))])


# ---- one shard: numbers at the edge of what can be


big = st.floats(-1e17, 1e17) | st.integers(-(10**17), 10**17) | st.floats(-100, 200)
small = st.floats(0, 1e-3) | st.floats(0, 1e17) | st.floats(0, 200)
points = st.lists(st.tuples(big, big, st.integers(0, 2)), min_size=17, max_size=17)
extreme = st.builds(
    lambda box, rows, area: {"bbox": list(box), "keypoints": [v for row in rows for v in row], "area": area},
    st.tuples(big, big, small, small),
    points,
    small | st.none(),
)


@settings(max_examples=200)
@given(st.lists(extreme, min_size=1, max_size=3), st.booleans(), st.sampled_from([0.1, 2.0, 1e9]))
@example([{"bbox": [1, 2, 1e-60, 1e-60]}], False, 2.0)
@example([{"bbox": [1, 2, 1e-40, 30]}], False, 2.0)
@example([{"bbox": [1, 2, 0.5, 1 + 1e-15]}], False, 2.0)
def test_numbers_however_large_or_small_give_records_that_can_be_read(folder, instances, augmented, cap):
    data = annotations(IMAGES[:2], [instance(n, 1, [0, 0, 9, 9]) | one for n, one in enumerate(instances)])
    options = CropOptions(input_size=(48, 64), scale_factor=0.35 if augmented else None, max_crop_scale=cap)
    job = ShardJob(str(folder / "images/train2017"), "", "", "coco", "train", 1, COCO, options)
    for clean in (True, False):
        source = ground_truth(data, clean_boxes=clean)
        with Spool() as spool:
            rejected, _ = make_records(source.images, job, spool)
            records = list(spool)
        assert len(records) + len(rejected) == len(everyone(source))
        assert {entry["reason"] for entry in rejected} <= {"box_outside"}
        assert len(everyone(source)) + sum(source.filtered.values()) + len(source.rejected) == len(instances)
        parse(records)
