"""What the synthetic dataset contains."""

from dataclasses import dataclass, field

from pipelines.synthetic.detections import DetectorOptions
from pipelines.synthetic.scenes import MAX_INSTANCES

SPLITS = ("train", "val")

VAL_ID_OFFSET = 1_000_000  # image ids: 1, 2, ... in train, this much more in val


@dataclass(frozen=True)
class SyntheticOptions:
    """What the dataset contains; the same options give the same bytes.

    train_images, val_images: number of images. seed: an image depends on (seed, split, its index) only.
    instances_weights: chances of 1, 2, ... people in an image, in proportion.
    min_height, max_height: range of a standing person's height in pixels.
    back_view_fraction: of the people are seen from behind. jpeg_quality: 1 to 100.
    detector: how good the simulated detector of the val images is.
    """

    train_images: int = 1500
    val_images: int = 150
    seed: int = 0
    instances_weights: tuple[float, ...] = (0.3, 0.3, 0.25, 0.15)
    min_height: float = 80.0
    max_height: float = 300.0
    back_view_fraction: float = 0.3
    jpeg_quality: int = 90
    detector: DetectorOptions = field(default_factory=DetectorOptions)

    def __post_init__(self) -> None:
        """Refuse options that cannot be met."""
        checks = {
            "train_images": (1 <= self.train_images < VAL_ID_OFFSET, f"1 to {VAL_ID_OFFSET - 1}"),
            "val_images": (1 <= self.val_images < VAL_ID_OFFSET, f"1 to {VAL_ID_OFFSET - 1}"),
            "seed": (self.seed >= 0, "0 or more"),
            "instances_weights": (
                1 <= len(self.instances_weights) <= MAX_INSTANCES
                and min(self.instances_weights) >= 0
                and sum(self.instances_weights) > 0,
                f"1 to {MAX_INSTANCES} numbers, none negative, not all zero",
            ),
            "min_height": (20 <= self.min_height <= self.max_height, "20 to max_height"),
            "max_height": (self.max_height <= 1000, "at most 1000"),
            "jpeg_quality": (1 <= self.jpeg_quality <= 100, "1 to 100"),
            "back_view_fraction": (0 <= self.back_view_fraction <= 1, "0 to 1"),
        }
        for name, (met, expected) in checks.items():
            if not met:
                raise ValueError(f"synthetic dataset: {name} is {getattr(self, name)}; expected {expected}")
