"""Which keypoints a dataset has, which mirror each other, and what their metric assumes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hrpose.json_checks import is_id, is_number, received

#: Anybody's keypoints are known less exactly, and OKS divides by the square.
_SMALLEST_SIGMA = 1e-6


def _is_text(name: str) -> bool:
    """Whether a name can be written down: JSON can also name halves of characters."""
    return not any(0xD800 <= ord(character) < 0xE000 for character in name)


@dataclass(frozen=True)
class Skeleton:
    """One dataset's keypoints, checked when it is made.

    Attributes:
        name: how manifests and messages call it.
        keypoints: names, in the order of the dataset's files; K of them.
        flip_pairs: pairs of indices that swap when an image is mirrored, left first.
        limbs: pairs of indices to connect when drawing.
        upper_body: indices the half-body augmentation takes for the upper half; the others are the lower.
            Empty: half bodies are never drawn.
        sigmas: (K,) per-keypoint constants of OKS, as fractions of the instance's scale (square root of
            area).

    Raises:
        ValueError: if the parts contradict each other; the message names the skeleton and the part.
    """

    name: str
    keypoints: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    limbs: tuple[tuple[int, int], ...]
    upper_body: tuple[int, ...]
    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        count = len(self.keypoints)

        def check(condition: bool, what: str) -> None:
            if not condition:
                raise ValueError(f"skeleton {self.name!r} with {count} keypoints: {what}")

        check(count > 0, "needs at least one keypoint")
        check(len(set(self.keypoints)) == count, "keypoint names must be unique")
        check(all(map(_is_text, self.keypoints)), "a keypoint's name has half of a character (a surrogate)")
        paired = [index for pair in self.flip_pairs for index in pair]
        for part, indices in (
            ("flip_pairs", paired),
            ("limbs", [index for limb in self.limbs for index in limb]),
            ("upper_body", self.upper_body),
        ):
            check(all(0 <= index < count for index in indices), f"{part} has an index outside 0..{count - 1}")
        check(len(set(paired)) == len(paired), "flip_pairs names a keypoint twice")
        check(len(self.sigmas) == count, f"sigmas has {len(self.sigmas)} values, one per keypoint expected")
        fit = all(_SMALLEST_SIGMA <= sigma < 1 for sigma in self.sigmas)
        check(fit, f"sigmas must lie between 0 and 1, and not below {_SMALLEST_SIGMA}")

    @property
    def num_keypoints(self) -> int:
        """K."""
        return len(self.keypoints)

    @property
    def flip_permutation(self) -> npt.NDArray[np.intp]:
        """(K,) int: for each keypoint the index of its mirror image (itself where it has none)."""
        permutation = np.arange(self.num_keypoints)
        for left, right in self.flip_pairs:
            permutation[[left, right]] = right, left
        return permutation

    def to_json(self) -> dict[str, Any]:
        """A dict of plain lists, for manifests and run configurations."""
        return {
            "name": self.name,
            "keypoints": list(self.keypoints),
            "flip_pairs": [list(pair) for pair in self.flip_pairs],
            "limbs": [list(limb) for limb in self.limbs],
            "upper_body": list(self.upper_body),
            "sigmas": list(self.sigmas),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(
            name=data["name"],
            keypoints=tuple(data["keypoints"]),
            flip_pairs=tuple(tuple(pair) for pair in data["flip_pairs"]),
            limbs=tuple(tuple(limb) for limb in data["limbs"]),
            upper_body=tuple(data["upper_body"]),
            sigmas=tuple(data["sigmas"]),
        )


def wrong_skeleton(data: Any) -> str | None:
    """Why parsed JSON is no skeleton, or None.

    Args:
        data: should be a dict as `Skeleton.to_json` gives it.
    """
    if not isinstance(data, dict):
        return received("skeleton", "an object", data)
    if not isinstance(data["name"], str):
        return received("skeleton's name", "a text", data["name"])
    for name, fits, expected in (
        ("keypoints", lambda value: isinstance(value, str), "names"),
        ("flip_pairs", _is_pair, "pairs of indices"),
        ("limbs", _is_pair, "pairs of indices"),
        ("upper_body", is_id, "indices"),
        ("sigmas", is_number, "numbers"),
    ):
        if not isinstance(data[name], list) or not all(map(fits, data[name])):
            return received(f"skeleton's {name}", f"a list of {expected}", data[name])
    try:
        Skeleton.from_json(data)
    except ValueError as error:
        return str(error)
    return None


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_id, value))


def keypoint_difference(ours: Sequence[str], theirs: Sequence[str]) -> str | None:
    """Where two lists of keypoint names differ, in words; None if they do not.

    Args:
        ours, theirs: lists of names.
    """
    for number, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one != other:
            moved = ", in another order" if sorted(ours) == sorted(theirs) else ""
            return f"keypoint {number} is {one!r} and {other!r}{moved}"
    if len(ours) == len(theirs):
        return None
    longer, count = max(ours, theirs, key=len), min(len(ours), len(theirs))
    return f"keypoint {count}, {longer[count]!r}, and those after it are in one only"


#: COCO: names, order and limbs of the dataset's `categories` entry (indices there are 1-based), sigmas of
#: pycocotools' `Params.setKpParams`, upper body of the official HRNet code. `nms`, which imports
#: nobody, has the sigmas once more.
COCO = Skeleton(
    name="coco",
    keypoints=(
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    limbs=(
        *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8)),
        *((7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    ),
    upper_body=tuple(range(11)),
    sigmas=(
        *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
        *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
    ),
)


#: PoseTrack 2018 and 2021: names and order of the dataset's `categories` entry. The ears are placeholders
#: that nobody annotated. Lines: those of the `categories` entry that do not end at an ear, and from the lower
#: end of the head (the neck) to the shoulders as in mmpose. The dataset is measured by PCKh and defines no
#: constants of OKS; these are mmpose's for it (configs/_base_/datasets/posetrack18.py): by position, COCO's.
#: Upper body as there too: the head down to the wrists.
POSETRACK = Skeleton(
    name="posetrack",
    keypoints=(
        "nose",
        "head_bottom",
        "head_top",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ),
    flip_pairs=((3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    limbs=(
        *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8)),
        *((7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 5), (1, 6)),
    ),
    upper_body=tuple(range(11)),
    sigmas=COCO.sigmas,
)

#: MPII Human Pose: order of the keypoint ids in the release's `annopoints`; limbs, flip pairs and upper body
#: of the official HRNet code (lib/dataset/mpii.py: parent_ids, flip_pairs, upper_body_ids). The dataset is
#: measured by PCKh and defines no OKS constants; these are mmpose's for it (configs/_base_/datasets/mpii.py),
#: its 0.179 at the shoulders, where COCO has 0.079, included.
MPII = Skeleton(
    name="mpii",
    keypoints=(
        "r_ankle",
        "r_knee",
        "r_hip",
        "l_hip",
        "l_knee",
        "l_ankle",
        "pelvis",
        "thorax",
        "upper_neck",
        "head_top",
        "r_wrist",
        "r_elbow",
        "r_shoulder",
        "l_shoulder",
        "l_elbow",
        "l_wrist",
    ),
    flip_pairs=((5, 0), (4, 1), (3, 2), (15, 10), (14, 11), (13, 12)),
    limbs=(
        *((0, 1), (1, 2), (2, 6), (7, 12), (12, 11), (11, 10), (5, 4), (4, 3), (3, 6), (7, 13)),
        *((13, 14), (14, 15), (6, 7), (7, 8), (8, 9)),
    ),
    upper_body=tuple(range(7, 16)),
    sigmas=(
        *(0.089, 0.083, 0.107, 0.107, 0.083, 0.089, 0.026, 0.026),
        *(0.026, 0.026, 0.062, 0.072, 0.179, 0.179, 0.072, 0.062),
    ),
)
