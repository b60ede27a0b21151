"""What a codec is: one way of writing keypoints as heatmaps and of reading them back. Loads no TensorFlow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy.typing as npt

#: A tensor of Keras, symbolic or with values, or a NumPy array.
Tensor: TypeAlias = Any

#: (width, height) in pixels.
Size: TypeAlias = Sequence[int]

#: The least and the largest width of a target Gaussian, in heatmap pixels. The published runs have 1 to 3;
#: float32 cannot work with the square of much smaller or larger ones.
SIGMAS = (0.1, 100.0)


def check_sigma(sigma: object) -> None:
    """Refuses a standard deviation outside of `SIGMAS`, and what is not a number, with a ValueError."""
    least, largest = SIGMAS
    if not isinstance(sigma, int | float) or isinstance(sigma, bool) or not least <= sigma <= largest:
        raise ValueError(
            f"sigma: received {str(sigma)[:50]}; expected heatmap pixels from {least:g} to {largest:g}"
        )


@dataclass(frozen=True)
class Codec:
    """One codec with its sigma; made by `model.codecs.codec`.

    The three functions work inside a TensorFlow graph, on a GPU, and on plain arrays.

    Attributes:
        name: as ``--codec`` and a run's configuration have it.
        sigma: standard deviation of the target Gaussians, in heatmap pixels (official: 2 for 192x256 input,
            3 for 288x384).
        unbiased: the affine's convention: whether lengths are counted in pixel intervals, size - 1, instead
            of pixels. It decides which heatmap pixel an input pixel is (`to_heatmap`), and has to be the same
            in the map from the image to the network input (`records.geometry.affine_to_input(...,
            unbiased=...)`).
        encode: function of keypoints_input (N, K, 3) (x, y in network-input pixels, and visibility; 0 means
            not labeled, anything above counts alike, COCO's 1 and 2), and of the (width, height) of network
            input and heatmaps; returns the targets (N, h, w, K) float32 in 0..1 and their weights (N, K)
            float32, 0 or 1. Raises ValueError for other shapes and for sizes without extent.
        decode: function of heatmaps (N, h, w, K) float32; returns (N, K, 3) float32: x, y in heatmap pixels,
            and the score. Raises ValueError for another shape.
        flip_back: function of the network's heatmaps (N, h, w, K) of a mirrored image, and of
            flip_permutation (K,) int, for each keypoint the index of its mirror image; returns (N, h, w, K)
            in the image's own frame, to be averaged with the heatmaps of the image itself. Raises ValueError
            for another shape, or if the permutation does not name each of the K maps once.
    """

    name: str
    sigma: float
    unbiased: bool
    encode: Callable[[npt.ArrayLike, Size, Size], tuple[Tensor, Tensor]]
    decode: Callable[[npt.ArrayLike], Tensor]
    flip_back: Callable[[npt.ArrayLike, npt.ArrayLike], Tensor]

    def to_heatmap(self, input_size: Size, heatmap_size: Size) -> tuple[float, float]:
        """(factor x, factor y) from network-input pixels to heatmap pixels; see `pixel_factors`."""
        return pixel_factors(input_size, heatmap_size, self.unbiased)


def pixel_factors(input_size: Size, heatmap_size: Size, unbiased: bool) -> tuple[float, float]:
    """(factor x, factor y) from network-input pixels to heatmap pixels.

    Args:
        input_size: (width, height) of the network input.
        heatmap_size: (width, height) of the heatmaps.
        unbiased: as `Codec.unbiased`.

    Raises:
        ValueError: for a size without extent.
    """
    less = 1 if unbiased else 0
    for name, size in (("input_size", input_size), ("heatmap_size", heatmap_size)):
        if len(size) != 2 or not all(side >= 1 + less for side in size):
            raise ValueError(f"{name}: received {size}; expected (width, height) in pixels")
    (input_width, input_height), (width, height) = input_size, heatmap_size
    return (width - less) / (input_width - less), (height - less) / (input_height - less)
