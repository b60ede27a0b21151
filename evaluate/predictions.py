"""What a network says of a split's boxes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Predictions:
    """What the network says of N instances, in the order of the records.

    Attributes:
        keypoints: (N, K, 3): x, y in image pixels, and score.
        areas: (N,) square image pixels, of the padded boxes.
        box_scores: (N,).
        image_ids: (N,).
        instance_ids: (N,): of the annotation, or the detection's place in its file.
    """

    keypoints: npt.NDArray[np.float64]
    areas: npt.NDArray[np.float64]
    box_scores: npt.NDArray[np.float64]
    image_ids: npt.NDArray[np.int64]
    instance_ids: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """N."""
        return len(self.keypoints)


def join(parts: Sequence[Predictions]) -> Predictions:
    """One `Predictions` of several, at least one, one after the other."""
    names = [field.name for field in fields(Predictions)]
    return Predictions(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
