"""The codec UDP: as DARK, with lengths counted in pixel intervals, so that mirroring needs no shift.

"The Devil is in the Details: Delving into Unbiased Data Processing for Human Pose Estimation" (Huang, Zhu,
Guo, Huang; CVPR 2020) with Gaussian heatmaps. The paper's own pair of heatmap and offset maps needs three
channels per keypoint and is not offered; for Gaussian heatmaps its published code decodes as DARK does.
"""

from functools import partial

from model.codecs.conventions import Codec


def udp(sigma: float) -> Codec:
    """The codec "udp"."""
    from model.codecs.heatmaps import decode_peaks, flip_back, gaussian_targets
    from model.codecs.refine import refine

    return Codec(
        name="udp",
        sigma=sigma,
        unbiased=True,
        encode=partial(gaussian_targets, sigma=sigma, unbiased=True),
        decode=partial(decode_peaks, step=partial(refine, sigma=sigma)),
        flip_back=partial(flip_back, shift=False),
    )
