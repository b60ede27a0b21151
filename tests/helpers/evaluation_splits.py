"""An `EvaluationSplit` of parts made by a test."""

from pathlib import Path

from evaluate.ground_truth import GroundTruth
from evaluate.run_inputs import EvaluationPaths, EvaluationSplit
from records.datasets import DATASETS
from records.datasets.paths import dataset_paths
from records.manifest import Manifest
from records.skeletons import Skeleton

NOWHERE = Path("nowhere")


def make_split(
    manifest: Manifest,
    skeleton: Skeleton,
    ground_truth: GroundTruth,
    records: Path = NOWHERE,
    dataset_dir: Path = NOWHERE,
) -> EvaluationSplit:
    """The split of a manifest's dataset in a folder."""
    places = dataset_paths(DATASETS[manifest.dataset], dataset_dir=dataset_dir)
    return EvaluationSplit(EvaluationPaths(NOWHERE, places, records), manifest, skeleton, ground_truth)
