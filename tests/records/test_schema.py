"""The record's table: what the writer puts in is what the parser gives back."""

from typing import get_args, get_type_hints

import numpy as np
import pytest
import tensorflow as tf

from records.reader import Batch
from records.schema import FIELDS, Record, field_shapes, markdown_table, parse_examples, to_example
from tests.helpers.builders import record_values

K = 5


def test_the_types_of_a_record_and_a_batch_are_those_of_the_table():
    def dtype(hint):
        return "bytes" if hint is bytes else np.dtype(get_args(get_args(hint)[1])[0]).name

    fields = {field.name: field.dtype for field in FIELDS}
    assert {name: dtype(hint) for name, hint in get_type_hints(Record).items()} == fields
    prepared = {"image", "keypoints_input", "input_affine"}
    assert get_type_hints(Batch).keys() == fields.keys() - {"crop"} | prepared


def test_every_field_comes_back_as_it_went_in():
    instances = [record_values(seed) for seed in range(3)]
    parsed = parse_examples([to_example(instance, K) for instance in instances], K)
    assert set(parsed) == {field.name for field in FIELDS}
    for field in FIELDS:
        received = parsed[field.name].numpy()
        expected = [instance[field.name] for instance in instances]
        if field.dtype == "bytes":
            assert received.tolist() == expected
        else:
            assert received.dtype == np.dtype(field.dtype)
            np.testing.assert_array_equal(received, np.stack(expected))


def test_parsing_works_inside_a_graph_with_known_shapes():
    serialized = [to_example(record_values(seed), K) for seed in range(4)]
    dataset = tf.data.Dataset.from_tensor_slices(serialized).batch(4, drop_remainder=True)
    dataset = dataset.map(lambda batch: parse_examples(batch, K))
    for name, shape in field_shapes(K).items():
        assert tuple(dataset.element_spec[name].shape) == (4, *shape)
    (batch,) = dataset
    np.testing.assert_array_equal(batch["keypoints"][2], record_values(2)["keypoints"])


def test_the_same_values_give_the_same_bytes_in_any_order_of_the_dict():
    made = record_values()
    backwards = dict(reversed(made.items()))
    as_lists = {n: v if isinstance(v, bytes) else np.asarray(v).tolist() for n, v in made.items()}
    assert to_example(made, K) == to_example(backwards, K) == to_example(as_lists, K)
    assert to_example(made, K) != to_example(made | {"score": 0.25}, K)


@pytest.mark.parametrize("name", [field.name for field in FIELDS])
def test_a_missing_field_is_refused_by_name(name):
    made = record_values()
    del made[name]
    with pytest.raises(ValueError, match=name):
        to_example(made, K)


def test_an_unknown_field_is_refused_by_name():
    with pytest.raises(ValueError, match="tracking_id"):
        to_example(record_values() | {"tracking_id": 3}, K)


@pytest.mark.parametrize("name", [field.name for field in FIELDS if field.dtype != "bytes"])
def test_a_field_of_another_shape_is_refused_by_name(name):
    wrong = np.zeros((*field_shapes(K)[name], 2))
    with pytest.raises(ValueError, match=rf"field {name} has shape"):
        to_example(record_values() | {name: wrong}, K)


def test_another_number_of_keypoints_is_refused_by_writer_and_parser():
    with pytest.raises(ValueError, match="keypoints"):
        to_example(record_values(keypoints=6), K)
    with pytest.raises(tf.errors.InvalidArgumentError, match="keypoints"):
        parse_examples([to_example(record_values(keypoints=6), 6)], K)


def test_the_documentation_lists_every_field_once():
    rows = markdown_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [field.name for field in FIELDS]
