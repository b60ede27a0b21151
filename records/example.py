"""`tf.train.Example` messages without TensorFlow, whose import takes a build's worker seconds and 0.5 GB.

The message is that of tensorflow/core/example/example.proto and feature.proto, field by field, under the
same names, in a descriptor pool of its own, so that TensorFlow may be imported beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

_FIELD = descriptor_pb2.FieldDescriptorProto

#: The three messages that hold a list "value", and what of.
_LISTS = {
    "BytesList": _FIELD.TYPE_BYTES,
    "FloatList": _FIELD.TYPE_FLOAT,
    "Int64List": _FIELD.TYPE_INT64,
}
_KINDS = {"bytes_list": "BytesList", "float_list": "FloatList", "int64_list": "Int64List"}


def _example_class() -> type[Message]:
    """The class of `tensorflow.Example`."""
    file = descriptor_pb2.FileDescriptorProto(
        name="records/example.proto", package="tensorflow", syntax="proto3"
    )
    for name, kind in _LISTS.items():
        file.message_type.add(name=name).field.add(
            name="value", number=1, type=kind, label=_FIELD.LABEL_REPEATED
        )
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, message) in enumerate(_KINDS.items(), start=1):
        _add_message(feature, name, number, f".tensorflow.{message}", oneof_index=0)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
    _add_message(entry, "value", 2, ".tensorflow.Feature")
    _add_message(features, "feature", 1, ".tensorflow.Features.FeatureEntry", label=_FIELD.LABEL_REPEATED)
    _add_message(file.message_type.add(name="Example"), "features", 1, ".tensorflow.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def _add_message(
    parent: descriptor_pb2.DescriptorProto,
    name: str,
    number: int,
    type_name: str,
    label: int = _FIELD.LABEL_OPTIONAL,
    **options: int,
) -> None:
    """A field that holds a message."""
    kind = _FIELD.TYPE_MESSAGE
    parent.field.add(name=name, number=number, type=kind, type_name=type_name, label=label, **options)


_Example = _example_class()


def serialize_example(features: Mapping[str, tuple[str, Sequence[Any]]]) -> bytes:
    """The bytes of an example, always the same for the same values.

    Args:
        features: {name: (kind, values)}, kind one of bytes_list, float_list, int64_list.

    Returns:
        What `tf.train.Example` of these features serializes to with ``deterministic=True``.
    """
    example = _Example()
    example.features.SetInParent()  # also where there are none
    for name, (kind, values) in features.items():
        getattr(example.features.feature[name], kind).value.extend(values)
    return example.SerializeToString(deterministic=True)


def parse_example(payload: bytes) -> dict[str, tuple[str | None, Sequence[Any]]]:
    """The inverse of `serialize_example`.

    TensorFlow's own parser believes every length it is told and reads beyond the end of a damaged message,
    which ends the process; protobuf's does not.

    Args:
        payload: anything.

    Returns:
        {name: (kind, values)}, kind None and no values where a feature has none.

    Raises:
        ValueError: if they are not those of an example.
    """
    try:
        features = _Example.FromString(payload).features.feature
    except DecodeError as error:
        raise ValueError("its bytes are no tf.train.Example; a length or a type in them is wrong") from error
    kinds = {name: feature.WhichOneof("kind") for name, feature in features.items()}
    return {name: (kind, getattr(features[name], kind).value if kind else ()) for name, kind in kinds.items()}
