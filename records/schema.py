"""The record: one table that the writer, the parser and the documentation derive from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

import numpy as np
import numpy.typing as npt

from records.example import parse_example, serialize_example

if TYPE_CHECKING:
    import tensorflow as tf

#: Raised whenever the table below or the meaning of a field changes; a reader refuses another version.
#: 2 calls "instance_id" what was "person_id" in 1.
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Field:
    """One field: its name, element type, shape ("K" is the skeleton's number of keypoints) and meaning."""

    name: str
    dtype: str
    shape: tuple[int | Literal["K"], ...]
    meaning: str


FIELDS = (
    Field(
        "crop", "bytes", (), "JPEG or PNG of the part of the image that any crop of this instance can touch"
    ),
    Field("crop_affine", "float32", (2, 3), "full-image pixels -> crop pixels"),
    Field("box", "float32", (4,), "x, y, w, h in image pixels: the instance's box, cleaned but not padded"),
    Field("center", "float32", (2,), "x, y in image pixels: center of the padded, aspect-corrected box"),
    Field("scale", "float32", (2,), "width, height in image pixels of the padded, aspect-corrected box"),
    Field("keypoints", "float32", ("K", 3), "x, y in image pixels and COCO visibility (0, 1, 2)"),
    Field("area", "float32", (), "square image pixels: the annotation's area, for a detection its box's"),
    Field("score", "float32", (), "confidence of the box; 1 for ground truth"),
    Field("image_id", "int64", (), "the image, as the annotation file numbers it"),
    Field("instance_id", "int64", (), "the annotation's id; for a detection its position in the file"),
    Field("image_size", "int64", (2,), "width, height of the full image in pixels"),
    Field("file_name", "bytes", (), "the image's path below the image folder, UTF-8"),
)


class Record(TypedDict):
    """One record as it is read: the table's fields, numbers as arrays of its shapes."""

    crop: bytes
    crop_affine: npt.NDArray[np.float32]
    box: npt.NDArray[np.float32]
    center: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    keypoints: npt.NDArray[np.float32]
    area: npt.NDArray[np.float32]
    score: npt.NDArray[np.float32]
    image_id: npt.NDArray[np.int64]
    instance_id: npt.NDArray[np.int64]
    image_size: npt.NDArray[np.int64]
    file_name: bytes


#: How a `tf.train.Example` holds each element type.
_KINDS = {"bytes": "bytes_list", "float32": "float_list", "int64": "int64_list"}


def field_shapes(num_keypoints: int) -> dict[str, tuple[int, ...]]:
    """{name: shape} with K filled in."""
    return {
        field.name: tuple(num_keypoints if size == "K" else size for size in field.shape) for field in FIELDS
    }


def to_example(values: Mapping[str, Any], num_keypoints: int) -> bytes:
    """Serializes one record, always to the same bytes for the same values.

    Args:
        values: {field name: value}: bytes, numbers or arrays of the table's shapes.
        num_keypoints: K.

    Returns:
        A serialized `tf.train.Example`.

    Raises:
        ValueError: if a field is missing, unknown or of another shape.
    """
    shapes = field_shapes(num_keypoints)
    if set(values) != set(shapes):
        raise ValueError(f"a record has the fields {sorted(shapes)}, received {sorted(values)}")
    features = {}
    for field in FIELDS:
        value = values[field.name]
        if field.dtype == "bytes":
            features[field.name] = _KINDS[field.dtype], [value]
            continue
        array = np.asarray(value, field.dtype)
        if array.shape != shapes[field.name]:
            raise ValueError(f"field {field.name} has shape {shapes[field.name]}, received {array.shape}")
        features[field.name] = _KINDS[field.dtype], array.ravel().tolist()
    return serialize_example(features)


def from_example(payload: bytes, num_keypoints: int) -> Record:
    """The inverse of `to_example`, for bytes that may be anything.

    Args:
        payload: a serialized `tf.train.Example`.
        num_keypoints: K.

    Raises:
        ValueError: if they are not those of a record; the message says what is wrong.
    """
    features, shapes = parse_example(payload), field_shapes(num_keypoints)
    if features.keys() != shapes.keys():
        wrong = sorted(shapes.keys() - features.keys()) or sorted(features.keys() - shapes.keys())
        raise ValueError(f"it {'lacks' if wrong[0] in shapes else 'has an unknown'} field {wrong[0][:50]!r}")
    record: dict[str, Any] = {}
    for field in FIELDS:
        kind, values = features[field.name]
        shape = shapes[field.name]
        if kind != _KINDS[field.dtype] or len(values) != math.prod(shape):
            raise ValueError(
                f"{field.name} should be {math.prod(shape)} {field.dtype}, received {len(values)} of "
                f"{kind or 'nothing'}"
            )
        record[field.name] = (
            values[0] if field.dtype == "bytes" else np.array(values, field.dtype).reshape(shape)
        )
    return cast("Record", record)


def parse_examples(serialized: "tf.Tensor", num_keypoints: int) -> "dict[str, tf.Tensor]":
    """Parses a batch of records inside or outside of a TensorFlow graph.

    Args:
        serialized: (B,) string tensor of serialized records.
        num_keypoints: K.

    Returns:
        {field name: tensor (B, *shape)} with the table's types; "crop" and "file_name" are (B,) strings.
    """
    import tensorflow as tf

    types = {"bytes": tf.string, "float32": tf.float32, "int64": tf.int64}
    shapes = field_shapes(num_keypoints)
    return tf.io.parse_example(
        serialized,
        {field.name: tf.io.FixedLenFeature(shapes[field.name], types[field.dtype]) for field in FIELDS},
    )


def markdown_table() -> str:
    """The table as documentation shows it."""
    rows = ["| field | type | shape | meaning |", "|---|---|---|---|"]
    for field in FIELDS:
        shape = ", ".join(map(str, field.shape))
        rows.append(f"| `{field.name}` | {field.dtype} | ({shape}) | {field.meaning} |")
    return "\n".join(rows)
