"""What an evaluation is told."""

from dataclasses import dataclass

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
        output: the run's folder, with model_dump/; result/ goes there.
        epoch: which checkpoint: a number, "best" for the one that validated best, None for the last.
        averaged: whether to take the moving average of the weights; None for where the run keeps one.
        split: which records.
        boxes: "ground_truth", "detections", or None for detections where they were built.
        dataset_dir: the dataset's folder; None for the default one.
        records_dir: folder of the records; None for the dataset folder's records/.
        annotations: annotation file; None for the dataset's own.
        gpus: number of GPUs; 0 is the CPU, None for one GPU where there is one.
        batch_size: instances per GPU and forward pass.
        flip_test: whether to average with the mirrored image's heatmaps.
        resume: whether to take the parts that an interrupted evaluation has finished.
        oks_threshold, min_visibility, soft_nms: see `evaluate.rescoring.to_results`.
        num_images: how many instances the contact sheet shows.
        tracking, official_tenth: see `evaluate.metrics.registry.MetricInput`.
    """

    output: str
    epoch: int | str | None = None
    averaged: bool | None = None
    split: str = "val"
    boxes: str | None = None
    dataset_dir: str | None = None
    records_dir: str | None = None
    annotations: str | None = None
    gpus: int | None = None
    batch_size: int = 32
    flip_test: bool = True
    resume: bool = False
    oks_threshold: float = OKS_NMS_THRESHOLD
    min_visibility: float = MIN_VISIBILITY
    soft_nms: bool = False
    num_images: int = 24
    tracking: bool = False
    official_tenth: bool = False
