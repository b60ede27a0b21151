"""The codec: keypoints to Gaussian heatmaps and back, and the flip test's mirroring.

One method exists so far, ``"standard"``: targets, quarter-pixel decoding and the shifted flip test of the
official implementation (leoxiaobin/deep-high-resolution-net.pytorch: JointsDataset.generate_target,
core.inference.get_final_preds, core.function.validate). Written with `keras.ops`, so that the same code runs
inside a TensorFlow graph, on a GPU, and on plain arrays.

Heatmap pixel (x, y) stands for input pixel (x, y) * input_size / heatmap_size, as the official affine has it.
"""

from keras import ops

METHODS = ("standard",)


def _check_method(method):
    if method not in METHODS:
        raise ValueError(f"codec method {method!r} is not available; available: {', '.join(METHODS)}")


def encode(keypoints_input, input_size, heatmap_size, sigma, method="standard"):
    """Gaussian training targets.

    The Gaussian is centred on a whole cell (coordinates are rounded as int(x + 0.5), towards zero), is 1
    there, is not normalised, and is cut to the square of three sigma. A keypoint whose square lies outside
    the map has weight 0.

    Args:
        keypoints_input: (N, K, 3) float32 (or float64, which is then rounded as such): x, y in network-input
            pixels, and visibility; 0 means not labelled, anything above counts alike (COCO's 1 and 2).
        input_size: (width, height) of the network input.
        heatmap_size: (width, height) of the heatmaps.
        sigma: standard deviation in heatmap pixels (official: 2 for 192x256 input, 3 for 288x384).
        method: "standard".

    Returns:
        heatmaps: (N, h, w, K) float32 in 0..1.
        weights: (N, K) float32, 0 or 1.

    Raises:
        ValueError: for another method.
    """
    _check_method(method)
    keypoints_input = ops.convert_to_tensor(keypoints_input)
    if keypoints_input.dtype not in ("float32", "float64"):
        keypoints_input = ops.cast(keypoints_input, "float32")
    width, height = heatmap_size
    centre_x = ops.cast(ops.trunc(keypoints_input[..., 0] * (width / input_size[0]) + 0.5), "float32")
    centre_y = ops.cast(ops.trunc(keypoints_input[..., 1] * (height / input_size[1]) + 0.5), "float32")
    radius = 3 * sigma
    # The official test is on the patch's end, one past its last cell, so a patch that ends right before
    # cell 0 keeps its weight although no cell is set.
    inside = (
        (centre_x - radius < width)
        & (centre_y - radius < height)
        & (centre_x + radius + 1 >= 0)
        & (centre_y + radius + 1 >= 0)
    )
    weights = ops.cast(inside & (keypoints_input[..., 2] > 0), "float32")

    def profile(centre, size):
        """One axis of the Gaussian, (N, size, K): the Gaussian of a cell is the product of two."""
        distance = ops.reshape(ops.arange(size, dtype="float32"), (1, size, 1)) - centre[:, None, :]
        value = ops.exp(-ops.square(distance) / (2.0 * sigma**2))
        return ops.where(ops.abs(distance) <= radius, value, 0.0)

    rows, columns = profile(centre_y, height), profile(centre_x, width)
    heatmaps = rows[:, :, None, :] * columns[:, None, :, :] * weights[:, None, None, :]
    return heatmaps, weights


def decode(heatmaps, method="standard"):
    """Keypoints from heatmaps: the highest cell, moved a quarter pixel towards its higher neighbour.

    The first cell wins a tie (row by row). A map without a positive value gives (0, 0). No move is made in
    the outer cells, nor where the neighbours are equal.

    Args:
        heatmaps: (N, h, w, K) float32.
        method: "standard".

    Returns:
        (N, K, 3) float32: x, y in heatmap pixels, and the highest value as score.

    Raises:
        ValueError: for another method.
    """
    _check_method(method)
    heatmaps = ops.convert_to_tensor(heatmaps, "float32")
    _, height, width, num_keypoints = heatmaps.shape
    cells = ops.transpose(ops.reshape(heatmaps, (-1, height * width, num_keypoints)), (0, 2, 1))
    index = ops.argmax(cells, axis=-1)
    score = ops.take_along_axis(cells, index[..., None], axis=-1)[..., 0]  # ops.max refuses N = 0
    index = ops.where(score > 0, index, 0)
    x, y = index % width, index // width

    def value(dx, dy):
        """The maps' values beside each maximum, (N, K)."""
        column, row = ops.clip(x + dx, 0, width - 1), ops.clip(y + dy, 0, height - 1)
        return ops.take_along_axis(cells, (row * width + column)[..., None], axis=-1)[..., 0]

    interior = ops.cast((x > 1) & (x < width - 1) & (y > 1) & (y < height - 1), "float32")
    step_x = 0.25 * ops.sign(value(1, 0) - value(-1, 0)) * interior
    step_y = 0.25 * ops.sign(value(0, 1) - value(0, -1)) * interior
    return ops.stack([ops.cast(x, "float32") + step_x, ops.cast(y, "float32") + step_y, score], axis=-1)


def flip_back(heatmaps, flip_permutation, shift=True):
    """Brings the heatmaps of a mirrored picture back to the picture's own frame.

    Args:
        heatmaps: (N, h, w, K): the network's output for the mirrored input.
        flip_permutation: (K,) int: for each keypoint the index of its mirror image.
        shift: whether to move the result one cell to the right (the first column stays). Mirroring the
            input and mirroring the heatmaps differ by that cell (official: SHIFT_HEATMAP).

    Returns:
        (N, h, w, K): to be averaged with the heatmaps of the picture itself.
    """
    heatmaps = ops.take(ops.flip(heatmaps, axis=2), ops.convert_to_tensor(flip_permutation, "int32"), axis=3)
    if shift:
        heatmaps = ops.concatenate([heatmaps[:, :, :1], heatmaps[:, :, :-1]], axis=2)
    return heatmaps
