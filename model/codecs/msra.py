"""The codec of the official HRNet implementation, by the group it comes from (Microsoft Research Asia).

Targets, quarter-pixel decoding and the shifted flip test of leoxiaobin/deep-high-resolution-net.pytorch:
JointsDataset.generate_target, core.inference.get_final_preds, core.function.validate.
"""

from functools import partial

from model.codecs.conventions import Codec


def msra(sigma: float) -> Codec:
    """The codec "msra"."""
    from model.codecs import heatmaps

    return Codec(
        name="msra",
        sigma=sigma,
        unbiased=False,
        encode=partial(heatmaps.gaussian_targets, sigma=sigma, unbiased=False, whole_cells=True),
        decode=partial(heatmaps.decode_peaks, step=heatmaps.quarter_step),
        flip_back=partial(heatmaps.flip_back, shift=True),
    )
