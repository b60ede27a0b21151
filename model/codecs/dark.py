"""The codec DARK: Gaussians centered between the cells, and a decoding that finds the center again.

"Distribution-Aware Coordinate Representation for Human Pose Estimation" (Zhang, Zhu, Dai, Ye, Zhu; CVPR
2020).
"""

from functools import partial

from model.codecs.conventions import Codec


def dark(sigma: float) -> Codec:
    """The codec "dark". Its flip test shifts as the code it is built on, the official one, does."""
    from model.codecs.heatmaps import decode_peaks, flip_back, gaussian_targets
    from model.codecs.refine import refine

    return Codec(
        name="dark",
        sigma=sigma,
        unbiased=False,
        encode=partial(gaussian_targets, sigma=sigma, unbiased=False),
        decode=partial(decode_peaks, step=partial(refine, sigma=sigma)),
        flip_back=partial(flip_back, shift=True),
    )
