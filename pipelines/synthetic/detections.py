"""What a person detector might say about an image whose people are known."""

from dataclasses import dataclass

import numpy as np

JITTER_BOUND = 2.5  # standard deviations
INSTANCE_SCORES = (0.7, 0.99)
DUPLICATE_SCORES = (0.3, 0.7)
FALSE_SCORES = (0.05, 0.4)
FALSE_HEIGHTS = (60, 280)  # pixels
FALSE_ASPECT = 0.45  # width / height
MAX_FALSE_OVERLAP = 0.3  # share of a false box that people may cover


@dataclass(frozen=True)
class DetectorOptions:
    """How good the simulated detector is.

    jitter: standard deviation of a box's center and size, in shares of its size (duplicates: twice that).
    duplicate_fraction: of the people are found twice. miss_fraction: of the people are not found.
    false_positives: boxes around nothing, mean per image.
    """

    jitter: float = 0.03
    duplicate_fraction: float = 0.15
    miss_fraction: float = 0.01
    false_positives: float = 0.4

    def __post_init__(self) -> None:
        """Refuse options that cannot be met."""
        limits = {"jitter": 0.2, "duplicate_fraction": 1, "miss_fraction": 1, "false_positives": 20}
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise ValueError(
                    f"simulated detector: {name} is {getattr(self, name)}; expected 0 to {limit}"
                )


def simulate_detections(
    rng: np.random.Generator, instances: np.ndarray, image_size: tuple[int, int], options: DetectorOptions
) -> list[tuple[np.ndarray, float]]:
    """Boxes and scores for one image.

    instances: (N, 4) float64, x y w h in image pixels. image_size: (width, height).
    Returns (box (4,) float64 x y w h inside the image, score) pairs, people first.
    """
    size = np.array(image_size)
    found = []
    for person in instances:
        if rng.random() < options.miss_fraction:
            continue
        found.append((_jitter(rng, person, options.jitter, size), rng.uniform(*INSTANCE_SCORES)))
        if rng.random() < options.duplicate_fraction:
            found.append((_jitter(rng, person, 2 * options.jitter, size), rng.uniform(*DUPLICATE_SCORES)))
    for _ in range(rng.poisson(options.false_positives)):
        extent = np.minimum(rng.uniform(*FALSE_HEIGHTS) * np.array([FALSE_ASPECT, 1]), size)
        corner = rng.uniform(0, size - extent)
        low = np.maximum(corner, instances[:, :2])
        high = np.minimum(corner + extent, instances[:, :2] + instances[:, 2:])
        if np.prod(np.maximum(high - low, 0), axis=1).sum() <= MAX_FALSE_OVERLAP * np.prod(extent):
            found.append((np.concatenate([corner, extent]), rng.uniform(*FALSE_SCORES)))
    return found


def _jitter(rng: np.random.Generator, box: np.ndarray, sigma: float, image_size: np.ndarray) -> np.ndarray:
    """The box (4,) x y w h, moved and resized by about `sigma` of its size and clipped to the image."""
    shift, growth = np.clip(rng.normal(size=(2, 2)), -JITTER_BOUND, JITTER_BOUND) * sigma
    extent = box[2:] * np.exp(growth)
    corner = box[:2] + box[2:] * (0.5 + shift) - extent / 2
    low, high = np.clip([corner, corner + extent], 0, image_size)
    return np.concatenate([low, high - low])
