"""HRNet: "Deep High-Resolution Representation Learning for Human Pose Estimation" (Sun et al., CVPR 2019).

The network keeps one branch at a quarter of the input's resolution from start to end and adds branches at
an eighth, a sixteenth and a thirty-second; after every module each branch receives the sum of all others,
brought to its resolution. Heatmaps are read from the high-resolution branch.

Every layer is named after its place, with dots between the parts:

    stem.conv1 stem.bn1 stem.conv2 stem.bn2
    layer1.block0.{conv1,bn1,conv2,bn2,conv3,bn3,downsample.conv,downsample.bn}
    transition1.branch0.{conv,bn}                (an existing branch that changes its width)
    transition1.branch1.step0.{conv,bn}          (a new branch: 3x3 with stride 2)
    stage2.module0.branch1.block3.{conv1,bn1,conv2,bn2}
    stage3.module2.fuse0from2.{conv,bn}          (from a lower resolution: 1x1 and upsampling)
    stage3.module2.fuse2from0.step1.{conv,bn}    (from a higher one: 3x3 with stride 2, repeated)
    head.conv
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras

from model.codecs.conventions import Tensor
from model.layers import BatchNorm, Upsample, conv, quick_variables

#: What the network may compute in, and Keras' name for that.
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


@dataclass(frozen=True)
class Architecture:
    """What distinguishes one HRNet from another. The defaults are the paper's.

    Attributes:
        width: channels of the highest-resolution branch, C; branch b has C * 2**b. The "W" of HRNet-W32.
        modules: how many modules stages 2, 3 and 4 have.
        blocks: residual blocks per branch and module.
        stem_channels: channels of the stem and of the bottlenecks' 3x3 convolutions in layer1.
        stem_blocks: bottleneck blocks of layer1.
    """

    width: int
    modules: tuple[int, int, int] = (1, 4, 3)
    blocks: int = 4
    stem_channels: int = 64
    stem_blocks: int = 4


def build_hrnet(
    width: int = 32,
    input_size: Sequence[int] = (192, 256),
    num_keypoints: int = 17,
    precision: str = "float32",
    **options: Any,
) -> keras.Model:
    """Builds an HRNet as a functional Keras model with freshly initialized weights.

    Args:
        width: channels of the highest-resolution branch (30, 32 and 48 are published).
        input_size: (width, height) of the input in pixels, each a multiple of 32.
        num_keypoints: K, the number of heatmaps.
        precision: "float32", or "bfloat16" to compute the body of the network in that. Variables, the batch
            statistics, the last convolution (whose heatmaps are compared cell by cell) and the heatmaps are
            float32 all the same.
        **options: other fields of `Architecture`.

    Returns:
        A model from (N, height, width, 3) float32, RGB normalized by ImageNet's mean and standard
        deviation, to (N, height / 4, width / 4, K) float32 heatmaps.

    Raises:
        ValueError: if a size is not a positive multiple of 32, num_keypoints is not positive, or there is no
            such precision.
    """
    if any(side <= 0 or side % 32 for side in input_size):
        raise ValueError(
            f"input_size is {tuple(input_size)}; both width and height must be positive multiples of 32, "
            "because the lowest branch works at a thirty-second of the input"
        )
    if num_keypoints < 1:
        raise ValueError(f"num_keypoints is {num_keypoints}; a network needs at least one keypoint")
    if precision not in _POLICIES:
        raise ValueError(f"precision is {precision!r}; a network computes in one of {', '.join(_POLICIES)}")
    with quick_variables(), _dtype_policy(_POLICIES[precision]):
        return _network(Architecture(width, **options), input_size, num_keypoints)


@contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    """Context in which layers are made with a dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _network(architecture: Architecture, input_size: Sequence[int], num_keypoints: int) -> keras.Model:
    image = keras.Input((input_size[1], input_size[0], 3), dtype="float32", name="image")
    x = _conv_bn_relu(image, architecture.stem_channels, stride=2, names=("stem.conv1", "stem.bn1"))
    x = _conv_bn_relu(x, architecture.stem_channels, stride=2, names=("stem.conv2", "stem.bn2"))
    for block in range(architecture.stem_blocks):
        x = _bottleneck(x, architecture.stem_channels, f"layer1.block{block}")

    branches = [x]
    for stage, modules in zip((2, 3, 4), architecture.modules, strict=True):
        channels = [architecture.width * 2**b for b in range(stage)]
        branches = _transition(branches, channels, f"transition{stage - 1}")
        for module in range(modules):
            name = f"stage{stage}.module{module}"
            branches = [_branch(x, architecture.blocks, f"{name}.branch{b}") for b, x in enumerate(branches)]
            # Only the high-resolution branch is read at the end, so the last module makes no other.
            last = stage == 4 and module == modules - 1
            branches = [_fuse(branches, to, name) for to in range(1 if last else stage)]
    heatmaps = conv(num_keypoints, 1, name="head.conv", use_bias=True, dtype="float32")(branches[0])
    heatmaps = keras.layers.Activation("linear", dtype="float32", name="heatmaps")(heatmaps)
    return keras.Model(image, heatmaps, name=f"hrnet_w{architecture.width}")


def _conv_bn(x: Tensor, filters: int, names: tuple[str, str], kernel: int = 3, stride: int = 1) -> Tensor:
    return BatchNorm(name=names[1])(conv(filters, kernel, stride, name=names[0])(x))


def _relu(x: Tensor, name: str) -> Tensor:
    return keras.layers.Activation("relu", name=name)(x)


def _conv_bn_relu(x: Tensor, filters: int, names: tuple[str, str], stride: int = 1) -> Tensor:
    return _relu(_conv_bn(x, filters, names, stride=stride), f"{names[1]}.relu")


def _residual(x: Tensor, shortcut: Tensor, name: str) -> Tensor:
    return _relu(keras.layers.Add(name=f"{name}.add")([x, shortcut]), f"{name}.relu")


def _bottleneck(x: Tensor, channels: int, name: str) -> Tensor:
    """1x1, 3x3, 1x1 to four times `channels`; the shortcut is projected where the width changes."""
    y = _conv_bn(x, channels, (f"{name}.conv1", f"{name}.bn1"), kernel=1)
    y = _relu(y, f"{name}.relu1")
    y = _conv_bn_relu(y, channels, (f"{name}.conv2", f"{name}.bn2"))
    y = _conv_bn(y, 4 * channels, (f"{name}.conv3", f"{name}.bn3"), kernel=1)
    if x.shape[-1] != 4 * channels:
        x = _conv_bn(x, 4 * channels, (f"{name}.downsample.conv", f"{name}.downsample.bn"), kernel=1)
    return _residual(y, x, name)


def _basic_block(x: Tensor, name: str) -> Tensor:
    """Two 3x3 convolutions and an identity shortcut."""
    channels = x.shape[-1]
    y = _conv_bn_relu(x, channels, (f"{name}.conv1", f"{name}.bn1"))
    y = _conv_bn(y, channels, (f"{name}.conv2", f"{name}.bn2"))
    return _residual(y, x, name)


def _branch(x: Tensor, blocks: int, name: str) -> Tensor:
    for block in range(blocks):
        x = _basic_block(x, f"{name}.block{block}")
    return x


def _transition(branches: Sequence[Tensor], channels: Sequence[int], name: str) -> list[Tensor]:
    """Brings the branches to `channels`; branches that do not exist yet are made from the lowest one."""
    result = []
    for index, filters in enumerate(channels):
        x = branches[min(index, len(branches) - 1)]
        prefix = f"{name}.branch{index}"
        if index >= len(branches):
            x = _conv_bn_relu(x, filters, (f"{prefix}.step0.conv", f"{prefix}.step0.bn"), stride=2)
        elif x.shape[-1] != filters:
            x = _conv_bn_relu(x, filters, (f"{prefix}.conv", f"{prefix}.bn"))
        result.append(x)
    return result


def _fuse(branches: Sequence[Tensor], to: int, name: str) -> Tensor:
    """Sums all branches at the resolution and width of branch `to`, in branch order, then ReLU."""
    channels = branches[to].shape[-1]
    terms = []
    for source, x in enumerate(branches):
        prefix = f"{name}.fuse{to}from{source}"
        if source > to:
            x = _conv_bn(x, channels, (f"{prefix}.conv", f"{prefix}.bn"), kernel=1)
            x = Upsample(2 ** (source - to), name=f"{prefix}.up")(x)
        for step in range(to - source):
            names = (f"{prefix}.step{step}.conv", f"{prefix}.step{step}.bn")
            last = step == to - source - 1
            x = (
                _conv_bn(x, channels, names, stride=2)
                if last
                else _conv_bn_relu(x, x.shape[-1], names, stride=2)
            )
        terms.append(x)
    return _relu(keras.layers.Add(name=f"{name}.fuse{to}.add")(terms), f"{name}.fuse{to}.relu")
