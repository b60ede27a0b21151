"""The two files by which TensorFlow Datasets recognizes a records folder.

    builder = tfds.builder_from_directory("dataset/COCO/records/train")
    instances = builder.as_dataset(split="train[:10%]")

The form is that of `tfds.core.DatasetInfo.write_to_directory` in TFDS 4.9: protocol buffers as JSON, of
tensorflow_datasets/core/proto/feature.proto and dataset_info.proto. It is written here without TFDS, which
only the tests need.
"""

import json
from pathlib import Path
from typing import Any

from hrpose.json_text import loads
from hrpose.storage import path_of, remote_errors
from records.manifest import Manifest
from records.schema import FIELDS, field_shapes

FEATURES = "features.json"
DATASET_INFO = "dataset_info.json"

_FEATURE_CLASSES = "tensorflow_datasets.core.features"

#: `records.manifest.shard_name` in TFDS's words.
_SHARD_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


def tfds_files(manifest: Manifest) -> dict[str, str]:
    """What lets `tfds.builder_from_directory` read a build's folder.

    The folder is a dataset of one split, called as in the manifest: `val_detections` holds the split "val".

    Args:
        manifest: the build's.

    Returns:
        {file name: text}, always the same for the same manifest.
    """
    return {
        FEATURES: _dump(_features(manifest.skeleton.num_keypoints), indent=4),
        DATASET_INFO: _dump(_dataset_info(manifest), indent=2),
    }


def wrong_tfds_files(folder: Path | str, manifest: Manifest) -> dict[str, str]:
    """What is wrong with a build's two files, besides descriptions, which only people read.

    Args:
        folder: of the build.
        manifest: its manifest.

    Returns:
        {file name: problem}; empty if TFDS reads the records that the manifest names.
    """
    problems = {}
    for name, text in tfds_files(manifest).items():
        try:
            with remote_errors(folder):
                content = (path_of(folder) / name).read_bytes()
            found = loads(content.decode())
        except FileNotFoundError:
            problems[name] = "missing"
        except OSError as error:
            problems[name] = f"cannot be read: {error.strerror}"
        except ValueError:
            problems[name] = "is not JSON"
        else:
            if _without_descriptions(found) != _without_descriptions(json.loads(text)):
                problems[name] = "is not what the manifest asks for"
    return problems


def _without_descriptions(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_descriptions(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_descriptions(item) for key, item in value.items() if key != "description"}
    return value


def _features(num_keypoints: int) -> dict[str, Any]:
    """The record's table as a `FeaturesDict`.

    Fields of bytes are strings there as they are here. `crop` is not an `Image`: TFDS decodes those with
    `tf.io.decode_image`, which takes libjpeg's fast DCT, and its pixels differ from the ones training sees by
    up to 5 of 255 (measured at quality 90). `tf.io.decode_jpeg(crop, channels=3,
    dct_method="INTEGER_ACCURATE")` gives the same ones.
    """
    shapes = field_shapes(num_keypoints)
    features = {}
    for field in FIELDS:
        shape = shapes[field.name]
        features[field.name] = {
            "description": field.meaning,
            "pythonClassName": f"{_FEATURE_CLASSES}.tensor_feature.Tensor",
            "tensor": {
                "dtype": "string" if field.dtype == "bytes" else field.dtype,
                "encoding": "none",
                # Protocol buffers write int64 as text in JSON, and leave an empty list out.
                "shape": {"dimensions": [str(size) for size in shape]} if shape else {},
            },
        }
    return {
        "featuresDict": {"features": features},
        "pythonClassName": f"{_FEATURE_CLASSES}.features_dict.FeaturesDict",
    }


def _dataset_info(manifest: Manifest) -> dict[str, Any]:
    width, height = manifest.input_size
    boxes = manifest.boxes.replace("_", " ")
    return {
        "description": f"Instances of {manifest.dataset}, {manifest.split}: one record per {boxes} box, for "
        f"a network input of {width}x{height} pixels. Keypoints: {', '.join(manifest.skeleton.keypoints)}.",
        "fileFormat": "tfrecord",
        "name": manifest.dataset,
        "splits": [
            {
                "filepathTemplate": _SHARD_TEMPLATE,
                "name": manifest.split,
                "numBytes": str(sum(shard.size for shard in manifest.shards)),
                "shardLengths": [str(shard.records) for shard in manifest.shards],
            }
        ],
        # TFDS raises the first number when existing data changes (its versioning guide), as the schema does.
        "version": f"{manifest.schema_version}.0.0",
    }


def _dump(data: dict[str, Any], indent: int) -> str:
    return json.dumps(data, indent=indent, sort_keys=True)
