"""What codecs are made of: Gaussian targets, the highest cells, steps from there, mirroring.

Heatmap pixel (x, y) stands for input pixel (x, y) * input_size / heatmap_size, as the official affine has it;
unbiased for (x, y) * (input_size - 1) / (heatmap_size - 1). Written with `keras.ops`, so that the same code
runs inside a TensorFlow graph, on a GPU, and on plain arrays.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from keras import ops

from model.codecs.conventions import Size, Tensor, pixel_factors


def gaussian_targets(
    keypoints_input: npt.ArrayLike,
    input_size: Size,
    heatmap_size: Size,
    sigma: float,
    unbiased: bool,
    whole_cells: bool = False,
) -> tuple[Tensor, Tensor]:
    """Gaussian training targets.

    The Gaussian is not normalized. A keypoint whose square of three sigma lies outside the map has weight 0.

    Args:
        keypoints_input: (N, K, 3) float32 (or float64, which is then rounded as such): x, y in network-input
            pixels, and visibility; 0 means not labeled.
        input_size: (width, height) of the network input.
        heatmap_size: (width, height) of the heatmaps.
        sigma: standard deviation in heatmap pixels.
        unbiased: as `model.codecs.conventions.Codec.unbiased`.
        whole_cells: whether the Gaussian is centered on a whole cell (coordinates are rounded as
            int(x + 0.5), towards zero), where it is 1, and cut to the square of three sigma, as the official
            code has it. Otherwise it is centered on the keypoint itself (DARK, section 3.2) and not cut.

    Returns:
        heatmaps: (N, h, w, K) float32 in 0..1.
        weights: (N, K) float32, 0 or 1.

    Raises:
        ValueError: for other shapes, and sizes without extent.
    """
    _check_shape("keypoints_input", keypoints_input, (None, None, 3))
    factors = pixel_factors(input_size, heatmap_size, unbiased)
    keypoints = ops.convert_to_tensor(keypoints_input)
    if keypoints.dtype not in ("float32", "float64"):
        keypoints = ops.cast(keypoints, "float32")
    width, height = heatmap_size
    radius = 3 * sigma
    center_x, center_y = (keypoints[..., axis] * factors[axis] for axis in (0, 1))
    if whole_cells:
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
    weights = ops.cast(inside & (keypoints[..., 2] > 0), "float32")

    def profile(center: Tensor, size: int) -> Tensor:
        """One axis of the Gaussian, (N, size, K): the Gaussian of a cell is the product of two."""
        cells = ops.reshape(ops.arange(size, dtype="float32"), (1, size, 1))
        distance = cells - ops.cast(center, "float32")[:, None, :]
        value = ops.exp(-ops.square(distance) / (2.0 * sigma**2))
        return ops.where(ops.abs(distance) <= cut, value, 0.0)

    rows, columns = profile(center_y, height) * weights[:, None, :], profile(center_x, width)
    return rows[:, :, None, :] * columns[:, None, :, :], weights


def decode_peaks(
    heatmaps: npt.ArrayLike, step: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
) -> Tensor:
    """Keypoints from heatmaps: the highest cell, and a step from there to where the peak lies.

    The first cell wins a tie (row by row). A map without a positive value gives (0, 0).

    Args:
        heatmaps: (N, h, w, K) float32.
        step: function of these and of the highest cells' x and y, (N, K) int; returns (dx, dy), each (N, K)
            float32, heatmap pixels: `quarter_step`, or `model.codecs.refine.refine` with its sigma.

    Returns:
        (N, K, 3) float32: x, y in heatmap pixels, and the highest value as score.

    Raises:
        ValueError: for another shape.
    """
    _check_shape("heatmaps", heatmaps, (None, None, None, None))
    maps = ops.convert_to_tensor(heatmaps, "float32")
    _, height, width, num_keypoints = maps.shape
    cells = ops.transpose(ops.reshape(maps, (-1, height * width, num_keypoints)), (0, 2, 1))
    index = ops.argmax(cells, axis=-1)
    score = ops.take_along_axis(cells, index[..., None], axis=-1)[..., 0]  # ops.max refuses N = 0
    index = ops.where(score > 0, index, 0)
    x, y = index % width, index // width
    step_x, step_y = step(maps, x, y)
    return ops.stack([ops.cast(x, "float32") + step_x, ops.cast(y, "float32") + step_y, score], axis=-1)


def quarter_step(heatmaps: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(dx, dy), each (N, K) float32: a quarter of a cell towards the higher neighbor.

    No step is made in the outer cells, nor where the neighbors are equal (official: get_final_preds).
    """
    _, height, width, _ = heatmaps.shape
    value = values_beside(heatmaps, x, y)
    interior = ops.cast((x > 1) & (x < width - 1) & (y > 1) & (y < height - 1), "float32")
    step_x = 0.25 * ops.sign(value(1, 0) - value(-1, 0)) * interior
    step_y = 0.25 * ops.sign(value(0, 1) - value(0, -1)) * interior
    return step_x, step_y


def values_beside(heatmaps: Tensor, x: Tensor, y: Tensor) -> Callable[[int, int], Tensor]:
    """A function of (dx, dy): the values (N, K) of the cells (x + dx, y + dy), clipped to the map.

    Args:
        heatmaps: (N, h, w, K).
        x, y: (N, K) int, heatmap pixels.
    """
    _, height, width, num_keypoints = heatmaps.shape
    cells = ops.transpose(ops.reshape(heatmaps, (-1, height * width, num_keypoints)), (0, 2, 1))

    def value(dx: int, dy: int) -> Tensor:
        column, row = ops.clip(x + dx, 0, width - 1), ops.clip(y + dy, 0, height - 1)
        return ops.take_along_axis(cells, (row * width + column)[..., None], axis=-1)[..., 0]

    return value


def flip_back(heatmaps: npt.ArrayLike, flip_permutation: npt.ArrayLike, shift: bool) -> Tensor:
    """Brings the heatmaps of a mirrored image back to the image's own frame.

    Why a shift: input pixel x, mirrored, is w - 1 - x. With s input pixels to a heatmap pixel the network
    shows it at (w - 1 - x) / s, and mirroring the heatmap takes that to x / s - (s - 1) / s, which is 0.75
    cells to the left of x / s for s = 4. The shift by a whole cell (SHIFT_HEATMAP of the official code)
    leaves a quarter. Counted in pixel intervals, both are the same place (UDP, section 3.2).

    Args:
        heatmaps: (N, h, w, K): the network's output for the mirrored input.
        flip_permutation: (K,) int: for each keypoint the index of its mirror image.
        shift: whether to move the result one cell to the right (the first column stays).

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
    flipped = ops.take(ops.flip(heatmaps, axis=2), ops.convert_to_tensor(flip_permutation, "int32"), axis=3)
    return ops.concatenate([flipped[:, :, :1], flipped[:, :, :-1]], axis=2) if shift else flipped


def _check_shape(name: str, array: npt.ArrayLike, expected: tuple[int | None, ...]) -> None:
    """Refuses an array of another shape (None: any length; of a graph's tensor, as far as it is known)."""
    shape = tuple(ops.shape(array))
    fits = len(shape) == len(expected) and all(
        want is None or not isinstance(have, int) or have == want
        for have, want in zip(shape, expected, strict=True)
    )
    if not fits:
        wanted = str(expected).replace("None", "any")
        raise ValueError(f"{name}: received shape {shape}; expected {wanted}")
