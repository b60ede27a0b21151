"""Examples made without TensorFlow are TensorFlow's, byte by byte."""

import subprocess
import sys

import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from records.example import serialize_example
from tests.helpers.shared import ROOT

VALUES = st.one_of(
    st.tuples(st.just("bytes_list"), st.lists(st.binary(max_size=300), max_size=3)),
    st.tuples(st.just("float_list"), st.lists(st.floats(width=32, allow_nan=False), max_size=20)),
    st.tuples(st.just("int64_list"), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20)),
)
KINDS = {"bytes_list": tf.train.BytesList, "float_list": tf.train.FloatList, "int64_list": tf.train.Int64List}


@given(features=st.dictionaries(st.text(max_size=20), VALUES, max_size=8))
def test_the_bytes_are_those_of_tensorflow(features):
    theirs = tf.train.Example(
        features=tf.train.Features(
            feature={
                name: tf.train.Feature(**{kind: KINDS[kind](value=values)})
                for name, (kind, values) in features.items()
            }
        )
    )
    assert serialize_example(features) == theirs.SerializeToString(deterministic=True)


def test_writing_a_record_imports_no_tensorflow():
    program = "import sys, records.schema, records.example; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_numpy_numbers_are_taken():
    ours = serialize_example({"x": ("float_list", np.float32([1.5, -2]))})
    assert tf.train.Example.FromString(ours).features.feature["x"].float_list.value == [1.5, -2]
