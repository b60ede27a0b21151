"""The learning rate over the updates."""

import math
from dataclasses import dataclass

SHAPES = ("step", "cosine")


@dataclass(frozen=True)
class Schedule:
    """How the learning rate runs. The defaults are the paper's recipe: 1e-3, times 0.1 at 170 and 200 of 210.

    Attributes:
        initial: the learning rate at the start, after the warm-up.
        shape: "step": multiplied by `factor` after as many epochs as each of `milestones` says;
            "cosine": half a cosine from `initial` to 0 over all updates (Loshchilov and Hutter 2017, SGDR,
            without restarts).
        milestones, factor: of the steps.
        warmup_steps: over so many updates the rate rises linearly to what the shape says.
    """

    initial: float = 1e-3
    shape: str = "step"
    milestones: tuple[int, ...] = (170, 200)
    factor: float = 0.1
    warmup_steps: int = 0

    def learning_rate(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The learning rate of an update.

        Args:
            step: number of updates done, from 0.
            steps_per_epoch: updates an epoch.
            epochs: epochs in all.
        """
        rise = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.shape == "cosine":
            return self.initial * rise * 0.5 * (1 + math.cos(math.pi * step / (steps_per_epoch * epochs)))
        passed = sum(step >= milestone * steps_per_epoch for milestone in self.milestones)
        return self.initial * rise * self.factor**passed
