"""Distribution-aware decoding of heatmaps (DARK: Zhang et al., CVPR 2020, section 3.1).

Near its peak a predicted heatmap is taken for a Gaussian. Its logarithm is then a paraboloid, whose summit
follows from the first and second derivatives in any one cell. The derivatives are differences of neighboring
cells, so the map is smoothed first. Constants are those of the authors' code (ilovepose/DarkPose).

A Gaussian whose center is two standard deviations or more inside the map is found to 0.01 cells for a
standard deviation of 2, 0.03 for 4 (measured). Nearer to the border the zeros beyond it push the answer
inwards.
"""

import math

from keras import ops

from model.codecs.conventions import Tensor
from model.codecs.heatmaps import values_beside

#: What values are raised to before the logarithm; network outputs may be zero or negative.
SMALLEST = 1e-10
#: Cells to each side that the differences reach, and the longest step they can vouch for.
REACH = 2


def modulate(heatmaps: Tensor, sigma: float) -> Tensor:
    """Smooths heatmaps with a Gaussian as wide as that of the training targets (eq. 10).

    Outside the map there are zeros. The paper then scales each map back to its old maximum (eq. 11), which
    is left out: a factor is a constant in the logarithm and drops out of its derivatives.

    Args:
        heatmaps: (N, h, w, K) float32.
        sigma: standard deviation in heatmap pixels. The Gaussian is cut at 2.5 of them: 11 cells for 2 and 17
            for 3, the authors' sizes.

    Returns:
        (N, h, w, K) float32.
    """
    radius = math.floor(2.5 * sigma + 0.5)
    kernel = [math.exp(-(distance**2) / (2 * sigma**2)) for distance in range(-radius, radius + 1)]
    total = sum(kernel)
    # Sums of shifted maps and no convolution: GPUs compute those with ten bits of mantissa (TF32), and second
    # differences of a logarithm need more.
    for axis in (1, 2):
        size = heatmaps.shape[axis]
        padded = ops.pad(heatmaps, [(radius, radius) if a == axis else (0, 0) for a in range(4)])
        parts = (
            padded[:, i : i + size] if axis == 1 else padded[:, :, i : i + size] for i in range(len(kernel))
        )
        heatmaps = sum(part * (weight / total) for part, weight in zip(parts, kernel, strict=True))
    return heatmaps


def refine(heatmaps: Tensor, x: Tensor, y: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """The step from the highest cells to the centers of the Gaussians around them (eq. 4-9).

    With g the gradient and H the Hessian of the smoothed map's logarithm, that is -H^-1 g. None is taken
    within two cells of the border, as in the authors' code, nor (ours) where H is not that of a maximum, or
    where the step would be longer than the two cells that H was measured on: a flat map says nothing.

    Args:
        heatmaps: (N, h, w, K) float32.
        x, y: (N, K) int: the highest cells, heatmap pixels.
        sigma: of the training targets, in heatmap pixels.

    Returns:
        (dx, dy): each (N, K) float32, heatmap pixels.
    """
    _, height, width, _ = heatmaps.shape
    smoothed = values_beside(modulate(heatmaps, sigma), x, y)

    def value(dx: int, dy: int) -> Tensor:
        return ops.log(ops.maximum(smoothed(dx, dy), SMALLEST))

    middle = value(0, 0)
    gx = 0.5 * (value(1, 0) - value(-1, 0))
    gy = 0.5 * (value(0, 1) - value(0, -1))
    hxx = 0.25 * (value(2, 0) - 2 * middle + value(-2, 0))
    hyy = 0.25 * (value(0, 2) - 2 * middle + value(0, -2))
    hxy = 0.25 * (value(1, 1) - value(-1, 1) - value(1, -1) + value(-1, -1))
    determinant = hxx * hyy - hxy * hxy
    maximum = (hxx < 0) & (determinant > 0)
    divisor = ops.where(maximum, determinant, 1.0)
    step_x = (hxy * gy - hyy * gx) / divisor
    step_y = (hxy * gx - hxx * gy) / divisor
    interior = (x >= REACH) & (x < width - REACH) & (y >= REACH) & (y < height - REACH)
    short = ops.square(step_x) + ops.square(step_y) <= REACH**2
    take = interior & maximum & short
    return ops.where(take, step_x, 0.0), ops.where(take, step_y, 0.0)
