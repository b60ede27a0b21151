"""Box non-maximum suppression of whole batches in TensorFlow, for GPUs and inside ``tf.function``.

It stands where the official HRNet code has a CUDA kernel. On the CPU and for one image, `nms.box_nms` is the
simpler and faster choice; ``import nms`` needs no TensorFlow.
"""

import numpy as np
import tensorflow as tf

TILE = 512  # boxes that TensorFlow compares with each other at once: the default of tf.image


def batched_box_nms(
    boxes: tf.Tensor, scores: tf.Tensor, threshold: float, max_kept: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """What `nms.box_nms` keeps of each image of a batch, at most ``max_kept`` boxes.

    Boxes are inclusive pixel ranges, as for `nms.box_nms`: widths are x2 - x1 + 1. Of equal scores the lower
    index comes first. A box whose overlap with a kept box is exactly ``threshold`` stays. Overlaps are
    computed in float32: whole-pixel boxes give `box_nms`'s result; with fractions of pixels, overlaps within
    about 1e-5 of the threshold may be decided differently.

    Args:
        boxes: (B, N, 4) float, x1 y1 x2 y2 in pixels, x1 <= x2 and y1 <= y2. Not checked, nor for NaN: that
            would stop a GPU at every batch.
        scores: (B, N) float; -inf marks rows that are no boxes, where images have different numbers of them.
        threshold: 0 to 1: intersection over union.
        max_kept: at least 1.

    Returns:
        indices: (B, max_kept) int32, best score first, filled up with -1.
        counts: (B,) int32, how many of them are boxes.

    Raises:
        ValueError: for wrong shapes, a threshold or ``max_kept`` out of range.
    """
    boxes, scores = tf.convert_to_tensor(boxes), tf.convert_to_tensor(scores)
    if not boxes.shape.is_compatible_with((None, None, 4)):
        raise ValueError(f"boxes: received shape {boxes.shape}; expected (B, N, 4)")
    if not scores.shape.is_compatible_with(boxes.shape[:2]):
        raise ValueError(f"scores: received shape {scores.shape}; expected {boxes.shape[:2]}, one per box")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold: received {threshold}; expected a number from 0 to 1")
    if not isinstance(max_kept, int | np.integer) or max_kept < 1:
        raise ValueError(f"max_kept: received {max_kept!r}; expected an integer of at least 1")

    # One row that is no box, so that there is always one, whatever N is.
    boxes = tf.pad(tf.cast(boxes, tf.float64), [[0, 0], [0, 1], [0, 0]])
    scores = tf.pad(tf.cast(scores, tf.float64), [[0, 0], [0, 1]], constant_values=-np.inf)
    order = tf.argsort(scores, axis=1, direction="DESCENDING", stable=True)
    boxes = tf.gather(boxes, order, batch_dims=1)
    is_box = tf.gather(scores, order, batch_dims=1)[:, :, None] > -np.inf

    # tf.image's boxes end where the next pixel begins, and one without a coordinate above 0 is none. So they
    # are moved to begin at 1; near 0, float32 is finest too.
    corner = tf.reduce_min(tf.where(is_box, boxes[:, :, :2], np.inf), axis=1, keepdims=True)
    x1y1, x2y2 = boxes[:, :, :2] - corner + 1, boxes[:, :, 2:] - corner + 2
    moved = tf.where(is_box, tf.concat([x1y1, x2y2], axis=-1), 0)

    rows = boxes.shape[1]
    kept = tf.minimum(max_kept, tf.shape(boxes)[1])
    places, counts = tf.image.non_max_suppression_padded(
        tf.cast(moved, tf.float32),
        tf.zeros_like(moved[:, :, 0], tf.float32),  # sorted already, in full precision
        kept,
        _next_above(threshold),
        pad_to_max_output_size=True,
        sorted_input=True,
        canonicalized_coordinates=True,
        tile_size=min(rows, TILE) if rows else TILE,
    )
    indices = tf.gather(order, places, batch_dims=1)
    indices = tf.where(tf.sequence_mask(counts, kept), indices, -1)
    indices = tf.pad(indices, [[0, 0], [0, max_kept - kept]], constant_values=-1)
    return tf.ensure_shape(indices, (None, max_kept)), counts


def _next_above(threshold: float) -> np.float32:
    """The least float32 above it: tf.image drops boxes that overlap by its threshold or more, we by more.

    At least the least normal one: GPUs take smaller numbers for 0.
    """
    above = np.nextafter(np.float32(threshold), np.float32(np.inf))
    return max(above, np.finfo(np.float32).tiny)
