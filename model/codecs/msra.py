"""The codec of the official HRNet implementation, by the group it comes from (Microsoft Research Asia).

Targets, quarter-pixel decoding and the shifted flip test of leoxiaobin/deep-high-resolution-net.pytorch:
JointsDataset.generate_target, core.inference.get_final_preds, core.function.validate.
"""

from functools import partial

from model.codecs.conventions import Codec


def msra(sigma: float) -> Codec:
    """The codec "msra"."""
    from model.codecs.heatmaps import decode_peaks, flip_back, gaussian_targets, quarter_step

    return Codec(
        name="msra",
        sigma=sigma,
        unbiased=False,
        encode=partial(gaussian_targets, sigma=sigma, unbiased=False, whole_cells=True),
        decode=partial(decode_peaks, step=quarter_step),
        flip_back=partial(flip_back, shift=True),
    )
