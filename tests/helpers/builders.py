"""Tiny COCO datasets of random images, and the builds that turn them into records."""

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path

import cv2
import google_crc32c
import numpy as np

from pipelines.build_specs import Build
from pipelines.crops import CropOptions
from pipelines.errors import UnusableImageError
from records.manifest import MANIFEST
from records.schema import FIELDS, field_shapes
from records.skeletons import COCO
from records.tfrecord import frame

CATEGORY = {"id": 1, "name": "person", "keypoints": list(COCO.keypoints), "skeleton": []}


def generate_image(rng, width, height):
    """(height, width, 3) uint8 of smooth random colors, which JPEG keeps almost unchanged."""
    coarse = rng.integers(0, 256, (height // 32 + 2, width // 32 + 2, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def instance(instance_id, image_id, box, keypoints=None, **changes):
    """A COCO annotation; by default every keypoint is labeled, on a grid inside the box."""
    if keypoints is None:
        x, y, width, height = box
        column, row = np.arange(17) % 4, np.arange(17) // 4
        points = [x + width * (column + 0.5) / 4, y + height * (row + 0.5) / 5, np.full(17, 2)]
        keypoints = np.stack(points, axis=1).ravel().tolist()
    return {
        "id": instance_id,
        "image_id": image_id,
        "category_id": 1,
        "bbox": list(box),
        "area": 0.6 * box[2] * box[3],
        "iscrowd": 0,
        "keypoints": keypoints,
        "num_keypoints": 17,
    } | changes


def image(image_id, width=64, height=48, file_name=None):
    """An entry of the annotation file's list of images."""
    return {
        "id": image_id,
        "file_name": file_name or f"{image_id:012d}.jpg",
        "width": width,
        "height": height,
    }


def annotations(images, instances):
    """A parsed COCO annotation file."""
    return {"images": images, "annotations": instances, "categories": [CATEGORY]}


def random_annotations(seed, images, first_id=1):
    """Annotations of some images with one to four instances each, some of them partly outside."""
    rng = np.random.default_rng(seed)
    entries, instances = [], []
    for image_id in range(first_id, first_id + images):
        width, height = rng.integers(160, 320, 2).tolist()
        entries.append(image(image_id, width, height))
        for _ in range(rng.integers(1, 5)):
            size = rng.uniform(30, 140, 2)
            corner = rng.uniform(-0.2, 0.8, 2) * (width, height)
            box = np.round([*corner, *size], 2).tolist()
            instances.append(instance(1000 * first_id + len(instances), image_id, box))
    return annotations(entries, instances)


def write_json(path, data):
    """Writes a JSON file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def write_split(folder, split, data, seed=0):
    """Writes a parsed annotation file and a random JPEG for each of its images, in COCO's layout."""
    write_json(Path(folder) / f"annotations/person_keypoints_{split}2017.json", data)
    images = Path(folder) / f"images/{split}2017"
    images.mkdir(parents=True, exist_ok=True)
    for entry in data["images"]:
        rng = np.random.default_rng([seed, entry["id"]])
        pixels = generate_image(rng, entry["width"], entry["height"])
        cv2.imwrite(str(images / entry["file_name"]), pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])


def write_detections(folder, data):
    """Writes one detection per annotated instance."""
    detections = [
        {"image_id": p["image_id"], "category_id": 1, "bbox": p["bbox"], "score": 0.1 + 0.8 / (1 + position)}
        for position, p in enumerate(data["annotations"])
    ]
    write_json(Path(folder) / "dets/human_detection.json", detections)


def make_dataset(folder, split="train", images=6, seed=0, first_id=1):
    """Writes one split of random images and instances; returns its annotations."""
    data = random_annotations(seed, images, first_id)
    write_split(folder, split, data, seed)
    return data


def make_build(dataset_dir, folder, split="train", boxes="ground_truth", crop=None, **changes):
    """The `Build` of one split of a dataset written here; `crop` holds changes of the `CropOptions`."""
    dataset_dir = Path(dataset_dir)
    options = CropOptions(
        input_size=(48, 64), scale_factor=0.35 if boxes == "ground_truth" else None, quality=95
    )
    build = Build(
        dataset="coco",
        split=split,
        boxes=boxes,
        skeleton=COCO,
        annotations=str(dataset_dir / f"annotations/person_keypoints_{split}2017.json"),
        images=str(dataset_dir / f"images/{split}2017"),
        detections=str(dataset_dir / "dets/human_detection.json"),
        folder=str(folder),
        options=replace(options, **(crop or {})),
    )
    return replace(build, **changes)


def shard_bytes(folder):
    """{file name: content} of a folder's shards."""
    return {path.name: path.read_bytes() for path in sorted(Path(folder).glob("*.tfrecord-*"))}


def masked_crc(data):
    """The checksum of TFRecord frames (tensorflow/core/lib/hash/crc32c.h), 4 bytes."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def rewrite_shard(folder, index, content, **changes):
    """Gives a shard another content, which the manifest then describes; returns its name.

    Args:
        folder: of the records.
        index: of the shard.
        content: list of serialized records, or all the bytes of the file.
        changes: of what the manifest says of the shard.
    """
    data = json.loads((folder / MANIFEST).read_text())
    shard = data["shards"][index]
    content = content if isinstance(content, bytes) else b"".join(map(frame, content))
    (folder / shard["name"]).write_bytes(content)
    described = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    shard |= described | changes
    (folder / MANIFEST).write_text(json.dumps(data))
    return shard["name"]


def record_values(seed=0, keypoints=5):
    """A record's values, all different, each at an extreme of its type somewhere."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in field_shapes(keypoints).items():
        dtype = {field.name: field.dtype for field in FIELDS}[name]
        if dtype == "bytes":
            made[name] = rng.bytes(200) + b"\x00\xff"
        elif dtype == "int64":
            made[name] = rng.integers(-(2**63), 2**63 - 1, shape)
        else:
            made[name] = rng.normal(0, 1e6, shape).astype(np.float32)
    return made


def broken_box(folder, box):
    """Replaces the box of the first annotation of `make_dataset`'s train split; returns what it was."""
    path = folder / "annotations/person_keypoints_train2017.json"
    data = json.loads(path.read_text())
    data["annotations"][0]["bbox"], before = box, data["annotations"][0]["bbox"]
    path.write_text(json.dumps(data))
    return before


def or_reason(call, *arguments, **options):
    """(what a call returns, None, None), or (None, reason, detail) of its `UnusableImageError`."""
    try:
        return call(*arguments, **options), None, None
    except UnusableImageError as error:
        return None, error.reason, error.detail
