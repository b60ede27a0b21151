"""The codec: keypoints to Gaussian heatmaps and back, and the flip test's mirroring.

Three methods, whose differences `model.codecs.conventions.CODECS` lists:

* ``"msra"``: targets, quarter-pixel decoding and the shifted flip test of the official implementation
  (leoxiaobin/deep-high-resolution-net.pytorch: KeypointsDataset.generate_target,
  core.inference.get_final_preds, core.function.validate).
* ``"dark"``: "Distribution-Aware Coordinate Representation for Human Pose Estimation" (Zhang, Zhu, Dai, Ye,
  Zhu; CVPR 2020): Gaussians centered between the cells, and a decoding that finds the center again.
* ``"udp"``: "The Devil is in the Details: Delving into Unbiased Data Processing for Human Pose Estimation"
  (Huang, Zhu, Guo, Huang; CVPR 2020) with Gaussian heatmaps: the same, with lengths counted in pixel
  intervals. (The paper's own pair of heatmap and offset maps needs three channels per keypoint and is not
  offered; for Gaussian heatmaps its published code decodes as DARK does.)

Heatmap pixel (x, y) stands for input pixel (x, y) * input_size / heatmap_size, as the official affine has it;
under "udp" for (x, y) * (input_size - 1) / (heatmap_size - 1). Written with `keras.ops`, so that the same
code runs inside a TensorFlow graph, on a GPU, and on plain arrays.
"""

import numpy as np
from keras import ops

from model.codecs.conventions import CODECS, check_sigma, codec_named
from model.codecs.dark import refine, values_beside

METHODS = tuple(CODECS)


def encode(keypoints_input, input_size, heatmap_size, sigma, method="msra"):
    """Gaussian training targets.

    The Gaussian is not normalized. "msra" centers it on a whole cell (coordinates are rounded as
    int(x + 0.5), towards zero), where it is 1, and cuts it to the square of three sigma; "dark" and "udp"
    center it on the keypoint itself (DARK, section 3.2) and do not cut it. A keypoint whose square of three
    sigma lies outside the map has weight 0.

    Args:
        keypoints_input: (N, K, 3) float32 (or float64, which is then rounded as such): x, y in network-input
            pixels, and visibility; 0 means not labeled, anything above counts alike (COCO's 1 and 2).
        input_size: (width, height) of the network input.
        heatmap_size: (width, height) of the heatmaps.
        sigma: standard deviation in heatmap pixels (official: 2 for 192x256 input, 3 for 288x384).
        method: "msra", "dark" or "udp".

    Returns:
        heatmaps: (N, h, w, K) float32 in 0..1.
        weights: (N, K) float32, 0 or 1.

    Raises:
        ValueError: for another method, other shapes, sizes without extent, a sigma outside of
            `model.codecs.conventions.SIGMAS`.
    """
    check_sigma(sigma)
    _check_shape("keypoints_input", keypoints_input, (None, None, 3))
    factors = codec_named(method).to_heatmap(input_size, heatmap_size)
    keypoints_input = ops.convert_to_tensor(keypoints_input)
    if keypoints_input.dtype not in ("float32", "float64"):
        keypoints_input = ops.cast(keypoints_input, "float32")
    width, height = heatmap_size
    radius = 3 * sigma
    center_x, center_y = (keypoints_input[..., axis] * factors[axis] for axis in (0, 1))
    if method == "msra":
        center_x, center_y = ops.trunc(center_x + 0.5), ops.trunc(center_y + 0.5)
        # The official test is on the patch's end, one past its last cell, so a patch that ends right before
        # cell 0 keeps its weight although no cell is set.
        before, cut = 1, radius
    else:
        before, cut = 0, float("inf")
    inside = (
        (center_x - radius < width)
        & (center_y - radius < height)
        & (center_x + radius + before >= 0)
        & (center_y + radius + before >= 0)
    )
    weights = ops.cast(inside & (keypoints_input[..., 2] > 0), "float32")

    def profile(center, size):
        """One axis of the Gaussian, (N, size, K): the Gaussian of a cell is the product of two."""
        cells = ops.reshape(ops.arange(size, dtype="float32"), (1, size, 1))
        distance = cells - ops.cast(center, "float32")[:, None, :]
        value = ops.exp(-ops.square(distance) / (2.0 * sigma**2))
        return ops.where(ops.abs(distance) <= cut, value, 0.0)

    rows, columns = profile(center_y, height) * weights[:, None, :], profile(center_x, width)
    return rows[:, :, None, :] * columns[:, None, :, :], weights


def decode(heatmaps, method="msra", sigma=2.0):
    """Keypoints from heatmaps: the highest cell, and a step from there to where the peak lies.

    The first cell wins a tie (row by row). A map without a positive value gives (0, 0). "msra" moves a
    quarter pixel towards the higher neighbor; no move is made in the outer cells, nor where the neighbors
    are equal. "dark" and "udp" move to the center of the Gaussian that the map's neighborhood fits
    (`model.codecs.dark.refine`).

    Args:
        heatmaps: (N, h, w, K) float32.
        method: "msra", "dark" or "udp".
        sigma: of the targets the network was trained on, in heatmap pixels. "msra" does not need it.

    Returns:
        (N, K, 3) float32: x, y in heatmap pixels, and the highest value as score.

    Raises:
        ValueError: for another method, another shape, a sigma outside of `model.codecs.conventions.SIGMAS`.
    """
    codec_named(method)
    check_sigma(sigma)
    _check_shape("heatmaps", heatmaps, (None, None, None, None))
    heatmaps = ops.convert_to_tensor(heatmaps, "float32")
    _, height, width, num_keypoints = heatmaps.shape
    cells = ops.transpose(ops.reshape(heatmaps, (-1, height * width, num_keypoints)), (0, 2, 1))
    index = ops.argmax(cells, axis=-1)
    score = ops.take_along_axis(cells, index[..., None], axis=-1)[..., 0]  # ops.max refuses N = 0
    index = ops.where(score > 0, index, 0)
    x, y = index % width, index // width
    step = _quarter_step(heatmaps, x, y) if method == "msra" else refine(heatmaps, x, y, sigma)
    return ops.stack([ops.cast(x, "float32") + step[0], ops.cast(y, "float32") + step[1], score], axis=-1)


def _quarter_step(heatmaps, x, y):
    """(dx, dy), each (N, K) float32: a quarter of a cell towards the higher neighbor."""
    _, height, width, _ = heatmaps.shape
    value = values_beside(heatmaps, x, y)
    interior = ops.cast((x > 1) & (x < width - 1) & (y > 1) & (y < height - 1), "float32")
    step_x = 0.25 * ops.sign(value(1, 0) - value(-1, 0)) * interior
    step_y = 0.25 * ops.sign(value(0, 1) - value(0, -1)) * interior
    return step_x, step_y


def flip_back(heatmaps, flip_permutation, shift=True):
    """Brings the heatmaps of a mirrored image back to the image's own frame.

    Args:
        heatmaps: (N, h, w, K): the network's output for the mirrored input.
        flip_permutation: (K,) int: for each keypoint the index of its mirror image.
        shift: whether to move the result one cell to the right (the first column stays). Mirroring the
            input and mirroring the heatmaps differ by that cell (official: SHIFT_HEATMAP).

    Returns:
        (N, h, w, K): to be averaged with the heatmaps of the image itself.

    Raises:
        ValueError: for another shape, or if `flip_permutation` does not name each of the K maps once.
    """
    _check_shape("heatmaps", heatmaps, (None, None, None, None))
    count = ops.shape(heatmaps)[-1]
    if sorted(np.asarray(flip_permutation).ravel().tolist()) != list(range(count)):
        raise ValueError(
            f"flip_permutation: received {str(flip_permutation)[:100]}; expected each index from 0 to "
            f"{count - 1} once"
        )
    heatmaps = ops.take(ops.flip(heatmaps, axis=2), ops.convert_to_tensor(flip_permutation, "int32"), axis=3)
    if shift:
        heatmaps = ops.concatenate([heatmaps[:, :, :1], heatmaps[:, :, :-1]], axis=2)
    return heatmaps


def _check_shape(name, array, expected):
    """Refuses an array of another shape (None: any length; of a graph's tensor, as far as it is known)."""
    shape = tuple(ops.shape(array))
    fits = len(shape) == len(expected) and all(
        want is None or not isinstance(have, int) or have == want
        for have, want in zip(shape, expected, strict=True)
    )
    if not fits:
        wanted = str(expected).replace("None", "any")
        raise ValueError(f"{name}: received shape {shape}; expected {wanted}")
