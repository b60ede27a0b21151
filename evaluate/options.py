"""What an evaluation is told."""

from dataclasses import dataclass

from evaluate.metrics import ChosenMetrics
from evaluate.run_inputs import EvaluationPaths

OKS_NMS_THRESHOLD = 0.9
"""Default of the OKS above which two poses are one instance (the official configuration's OKS_THRE)."""

MIN_VISIBILITY = 0.2
"""Default of the score above which a keypoint counts for its pose's (the official IN_VIS_THRE)."""

LARGEST_BATCH = 2**16
"""Instances per forward pass; far above what any device's memory could take."""


@dataclass(frozen=True)
class EvaluateOptions:
    """One evaluation.

    Attributes:
        paths: where it reads and writes.
        metrics: what is measured.
        epoch: which checkpoint: a number, "best" for the one that validated best, None for the last.
        averaged: whether to take the moving average of the weights; None for where the run keeps one.
        gpus: number of GPUs; 0 is the CPU, None for one GPU where there is one.
        batch_size: instances per GPU and forward pass.
        flip_test: whether to average with the mirrored image's heatmaps.
        resume: whether to take the parts that an interrupted evaluation has finished.
        oks_threshold, min_visibility, soft_nms: see `evaluate.rescoring.to_results`.
        num_images: how many instances the contact sheet shows.
    """

    paths: EvaluationPaths
    metrics: ChosenMetrics
    epoch: int | str | None = None
    averaged: bool | None = None
    gpus: int | None = None
    batch_size: int = 32
    flip_test: bool = True
    resume: bool = False
    oks_threshold: float = OKS_NMS_THRESHOLD
    min_visibility: float = MIN_VISIBILITY
    soft_nms: bool = False
    num_images: int = 24
