"""The codecs: keypoints as heatmaps, and back.

A codec is one file with one function: of sigma, to a `Codec`. The list here finds it. These files import what
they compute with inside that function, so that flags can name the codecs without waiting for TensorFlow.
"""

from collections.abc import Callable, Mapping

from model.codecs.conventions import SIGMAS, Codec, check_sigma
from model.codecs.dark import dark
from model.codecs.msra import msra
from model.codecs.udp import udp

__all__ = ["CODECS", "DEFAULT_CODEC", "SIGMAS", "Codec", "check_sigma", "codec"]

#: Every codec there is: its name, and the function of sigma that makes it.
CODECS: Mapping[str, Callable[[float], Codec]] = {"msra": msra, "dark": dark, "udp": udp}

#: The one of the paper and of the official code.
DEFAULT_CODEC = "msra"


def codec(name: str, sigma: float = 2.0) -> Codec:
    """The codec of a name.

    Args:
        name: a key of `CODECS`: "msra", "dark" or "udp".
        sigma: standard deviation of the target Gaussians, in heatmap pixels.

    Raises:
        ValueError: for another name (those there are are named), or a sigma outside of `SIGMAS`.
    """
    if name not in CODECS:
        raise ValueError(f"codec {name!r} is not available; available: {', '.join(CODECS)}")
    check_sigma(sigma)
    return CODECS[name](sigma)
