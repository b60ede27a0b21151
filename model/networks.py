"""The networks a run can ask for by name.

An entry's `build` imports what it builds with, so that flags can name the networks without waiting for
TensorFlow.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model.official_weights import HRNET_HEAD, HRNET_NAMES, HRNET_WIDTH, OWN_NAMES

if TYPE_CHECKING:
    import keras

#: What networks may compute in.
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes:
        name: as ``--model`` and a run's configuration have it.
        build: function of input_size (width, height), num_keypoints K and precision, one of `PRECISIONS`
            ("float32" unless given); returns a functional Keras model with freshly initialized weights, from
            (N, height, width, 3) float32, RGB normalized by ImageNet's mean and standard deviation, to
            (N, height / output_stride, width / output_stride, K) float32 heatmaps.
        output_stride: input pixels to a heatmap pixel.
        official_names: how its authors' weight files name what ours calls otherwise: pairs of a regular
            expression of a layer's name here and their module's name; see
            `model.official_weights.official_name`.
        known_by: the official name of an array, and its first dimension, which tell a weight file of this
            network from one of another; None if weight files are not recognized.
        head: official names of the arrays whose first dimension is the number of keypoints; only they may
            stay as initialized when training starts from a file.
        pretrained: whether weights from ImageNet are published, from which the published numbers start.
    """

    name: str
    build: Callable[..., "keras.Model"]
    output_stride: int = 4
    official_names: Sequence[tuple[str, str]] = OWN_NAMES
    known_by: tuple[str, int] | None = None
    head: tuple[str, ...] = ()
    pretrained: bool = False

    def heatmap_size(self, input_size: Sequence[int]) -> tuple[int, int]:
        """(width, height) of the heatmaps of an input of this (width, height), pixels."""
        return input_size[0] // self.output_stride, input_size[1] // self.output_stride


def _hrnet(name: str, width: int, pretrained: bool = True, **options: Any) -> Network:
    """An HRNet; width and options as for `model.hrnet.build_hrnet`."""

    def build(input_size: Sequence[int], num_keypoints: int, precision: str = "float32") -> "keras.Model":
        from model.hrnet import build_hrnet

        return build_hrnet(width, input_size, num_keypoints, precision, **options)

    return Network(
        name,
        build,
        official_names=HRNET_NAMES,
        known_by=(HRNET_WIDTH, width),
        head=HRNET_HEAD,
        pretrained=pretrained,
    )


#: Every network there is, by name. w24_tiny is ours, for the demo and the tests: the same topology with
#: about a twelfth of W32's computation. With 16 channels, fewer than the 17 keypoints, its head made one map
#: of both ankles with some seeds; and its second module in stage 4 is there because what the low resolutions
#: know about left and right reaches the high one only at the end of a module.
NETWORKS: Mapping[str, Network] = {
    "w30": _hrnet("w30", 30),
    "w32": _hrnet("w32", 32),
    "w48": _hrnet("w48", 48),
    "w24_tiny": _hrnet(
        "w24_tiny", 24, pretrained=False, modules=(1, 1, 2), blocks=1, stem_channels=16, stem_blocks=1
    ),
}

#: That of the paper's COCO recipe at 192x256.
DEFAULT_NETWORK = "w32"
