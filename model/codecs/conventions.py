"""What the heatmap methods are called and how they differ. Imports nothing, so that flags can name them."""

from dataclasses import dataclass
from numbers import Real

#: The least and the largest width of a target Gaussian, in heatmap pixels. The published runs have 1 to 3;
#: float32 cannot work with the square of much smaller or larger ones.
SIGMAS = (0.1, 100.0)


def check_sigma(sigma):
    """Refuses a standard deviation outside of `SIGMAS`, and what is not a number, with a ValueError."""
    least, largest = SIGMAS
    if not isinstance(sigma, Real) or isinstance(sigma, bool) or not least <= sigma <= largest:
        raise ValueError(
            f"sigma: received {str(sigma)[:50]}; expected heatmap pixels from {least:g} to {largest:g}"
        )


@dataclass(frozen=True)
class Codec:
    """One way of writing keypoints as heatmaps and of reading them back.

    Attributes:
        name: the ``method`` of `model.codecs.heatmaps.encode` and `decode`.
        unbiased: whether lengths are counted in pixel intervals, size - 1, instead of pixels. It decides
            which heatmap pixel an input pixel is (`to_heatmap`), and has to be the same in the map from the
            image to the network input (`records.geometry.affine_to_input(..., unbiased=...)`).
        flip_shift: whether the flip test moves the mirrored heatmaps one cell to the right
            (`model.codecs.heatmaps.flip_back(..., shift=...)`).
    """

    name: str
    unbiased: bool
    flip_shift: bool

    def to_heatmap(self, input_size, heatmap_size):
        """(factor x, factor y) from network-input pixels to heatmap pixels.

        Args:
            input_size: (width, height) of the network input.
            heatmap_size: (width, height) of the heatmaps.

        Raises:
            ValueError: for a size without extent.
        """
        for name, size in (("input_size", input_size), ("heatmap_size", heatmap_size)):
            if len(size) != 2 or not all(side >= 1 + self.unbiased for side in size):
                raise ValueError(f"{name}: received {size}; expected (width, height) in pixels")
        less = 1 if self.unbiased else 0
        pairs = zip(heatmap_size, input_size, strict=True)
        return tuple((heatmap - less) / (image - less) for heatmap, image in pairs)


#: Where flip_shift comes from: input pixel x, mirrored, is w - 1 - x. With s input pixels to a heatmap pixel
#: the network shows it at (w - 1 - x) / s, and mirroring the heatmap takes that to x / s - (s - 1) / s, which
#: is 0.75 cells to the left of x / s for s = 4. The shift by a whole cell (SHIFT_HEATMAP of the official
#: code, which the code of DARK is built on) leaves a quarter. Counted in pixel intervals, both are the same
#: place (UDP, section 3.2).
CODECS = {
    "msra": Codec("msra", unbiased=False, flip_shift=True),
    "dark": Codec("dark", unbiased=False, flip_shift=True),
    "udp": Codec("udp", unbiased=True, flip_shift=False),
}


def codec_named(method):
    """The `Codec` of a name.

    Raises:
        ValueError: naming those there are.
    """
    if method not in CODECS:
        raise ValueError(f"codec method {method!r} is not available; available: {', '.join(CODECS)}")
    return CODECS[method]
