"""The batched TensorFlow NMS against the compiled one, image by image."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import nms
from nms.batched import batched_box_nms


def batch(rng, images, count, whole_pixels):
    """(boxes (B, N, 4), scores (B, N)); whole-pixel boxes overlap by exactly a half or a quarter at times."""
    if whole_pixels:
        corner = rng.integers(-4, 4, (images, count, 2)).astype(float)
        size = rng.integers(0, 6, (images, count, 2))
    else:
        corner = rng.uniform(-300, 300, (images, count, 2))
        size = rng.uniform(0, 400, (images, count, 2))
    return np.concatenate([corner, corner + size], axis=-1), rng.integers(0, 12, (images, count)) / 10


def check(result, boxes, scores, threshold, max_kept):
    """Every row of a result is what `box_nms` keeps of that image, filled up with -1."""
    indices, counts = (array.numpy() for array in result)
    assert indices.shape == (len(boxes), max_kept)
    assert indices.dtype == counts.dtype == np.int32
    for row, count, image_boxes, image_scores in zip(indices, counts, boxes, scores, strict=True):
        there = np.flatnonzero(image_scores > -np.inf)
        expected = there[nms.box_nms(image_boxes[there], image_scores[there], threshold)][:max_kept]
        assert row.tolist() == expected.tolist() + [-1] * (max_kept - len(expected))
        assert count == len(expected)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    count=st.sampled_from([1, 2, 9, 40]),
    threshold=st.sampled_from([0, 0.25, 0.3, 0.5, 0.7, 1]),
    max_kept=st.sampled_from([1, 5, 60]),
    whole_pixels=st.booleans(),
    missing=st.booleans(),
)
def test_a_batch_is_suppressed_as_each_image_is(seed, count, threshold, max_kept, whole_pixels, missing):
    rng = np.random.default_rng(seed)
    boxes, scores = batch(rng, 8, count, whole_pixels)
    if missing:  # also whole images of nobody
        scores[rng.random(scores.shape) < rng.uniform(0, 1, (8, 1)) * 1.3] = -np.inf
    check(batched_box_nms(boxes, scores, threshold, max_kept), boxes, scores, threshold, max_kept)


@pytest.mark.parametrize(("threshold", "kept"), [(0.49, [2, -1, -1]), (0.5, [2, 0, -1])])
def test_an_overlap_of_exactly_the_threshold_stays(threshold, kept):
    """Boxes of 4 x 1 and 2 x 1 inclusive pixels."""
    boxes = [[[0, 0, 1, 0], [0, 0, 3, 0], [0, 0, 3, 0]]]
    indices, counts = batched_box_nms(boxes, [[1.0, 2.0, 3.0]], threshold, 3)
    assert indices.numpy().tolist() == [kept]
    assert counts.numpy().tolist() == [3 - kept.count(-1)]


def test_of_equal_scores_the_lower_index_comes_first():
    corner = 100.0 * np.arange(30)[:, None]
    boxes, scores = np.concatenate([corner, corner, corner, corner], axis=1)[None], np.ones((1, 30))
    assert batched_box_nms(boxes, scores, 0.5, 30)[0].numpy().tolist() == [list(range(30))]


def test_scores_that_differ_beyond_float32_are_told_apart():
    boxes = np.zeros((1, 2, 4))
    assert batched_box_nms(boxes, [[1.0, 1.0]], 0.5, 1)[0].numpy().tolist() == [[0]]
    scores = np.array([[1.0, 1.0 + 1e-12]])
    assert batched_box_nms(boxes, scores, 0.5, 1)[0].numpy().tolist() == [[1]]


def test_it_works_in_graphs_of_any_size():
    compiled = tf.function(
        lambda boxes, scores: batched_box_nms(boxes, scores, 0.5, 7),
        input_signature=[tf.TensorSpec((None, None, 4), tf.float32), tf.TensorSpec((None, None), tf.float32)],
    )
    assert compiled.get_concrete_function().structured_outputs[0].shape == (None, 7)
    rng = np.random.default_rng(0)
    for images, count in ((0, 5), (1, 1), (3, 20), (2, 0), (2, 700)):
        boxes, scores = batch(rng, images, count, whole_pixels=True)
        boxes, scores = boxes.astype(np.float32), scores.astype(np.float32)
        check(compiled(boxes, scores), boxes, scores, 0.5, 7)


def test_xla_compiles_it_to_the_same():
    compiled = tf.function(batched_box_nms, jit_compile=True)
    boxes, scores = batch(np.random.default_rng(1), 4, 30, whole_pixels=True)
    check(compiled(boxes, scores, 0.3, 10), boxes, scores, 0.3, 10)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((np.zeros((2, 3)), np.zeros(2), 0.5, 1), r"^boxes: received shape \(2, 3\); expected \(B, N, 4\)"),
        ((np.zeros((2, 3, 5)), np.zeros((2, 3)), 0.5, 1), r"^boxes: received shape \(2, 3, 5\)"),
        (
            (np.zeros((2, 3, 4)), np.zeros((2, 4)), 0.5, 1),
            r"^scores: received shape \(2, 4\); expected \(2, 3\)",
        ),
        ((np.zeros((2, 3, 4)), np.zeros((2, 3)), np.nan, 1), "^threshold: received nan"),
        ((np.zeros((2, 3, 4)), np.zeros((2, 3)), 1.5, 1), "^threshold: received 1.5"),
        ((np.zeros((2, 3, 4)), np.zeros((2, 3)), 0.5, 0), "^max_kept: received 0"),
        ((np.zeros((2, 3, 4)), np.zeros((2, 3)), 0.5, 2.0), "^max_kept: received 2.0"),
    ],
)
def test_bad_input_is_named(arguments, says):
    with pytest.raises(ValueError, match=says):
        batched_box_nms(*arguments)
