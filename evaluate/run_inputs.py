"""What an evaluation reads: where it is, resolved once from what the user says, and the split itself."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluate.ground_truth import GroundTruth, find_ground_truth
from hrpose.storage import remote_errors
from model.run_config import RunConfig
from model.run_folder import checkpoints_folder
from records.datasets import DATASETS, Dataset, DatasetPaths, dataset_paths
from records.errors import RecordsError
from records.manifest import MANIFEST, Manifest, read_manifest
from records.skeletons import Skeleton, keypoint_difference


@dataclass(frozen=True)
class EvaluationPaths:
    """Where an evaluation reads and writes.

    Attributes:
        run_dir: the run's folder.
        dataset: places of the dataset that is evaluated on.
        records: folder of the records.
        annotations_given: whether the user says which annotation file it is, which then is no other.
    """

    run_dir: Path
    dataset: DatasetPaths
    records: Path
    annotations_given: bool = False

    @property
    def checkpoints(self) -> Path:
        """The folder of the run's configuration and checkpoints."""
        return checkpoints_folder(self.run_dir)

    @property
    def results(self) -> Path:
        """The folder of what evaluations write."""
        return self.run_dir / "result"


@dataclass(frozen=True)
class EvaluationSplit:
    """Records to predict, and what they are measured against.

    Attributes:
        paths: where they are.
        manifest: theirs.
        skeleton: the run's, by which poses are mirrored, measured and drawn.
        ground_truth: the annotations they were built with.
        notes: lines for the user, of what the records say otherwise.
    """

    paths: EvaluationPaths
    manifest: Manifest
    skeleton: Skeleton
    ground_truth: GroundTruth
    notes: tuple[str, ...] = ()


def run_dataset(config: RunConfig) -> Dataset:
    """The dataset that a run is on.

    Raises:
        RecordsError: if this version does not know it.
    """
    if config.dataset not in DATASETS:
        raise RecordsError(f"the run is on a dataset {config.dataset!r} that this version does not know")
    return DATASETS[config.dataset]


def evaluation_paths(
    dataset: Dataset,
    run_dir: str | Path,
    *,
    split: str = "val",
    boxes: str | None = None,
    dataset_dir: str | Path | None = None,
    records_dir: str | Path | None = None,
    annotations: str | Path | None = None,
) -> EvaluationPaths:
    """Resolves the places of an evaluation; what is None is where the dataset's layout has it.

    Args:
        dataset: the run's.
        run_dir: the run's folder.
        split: which records.
        boxes: whose boxes, "ground_truth" or "detections"; None for what the dataset is evaluated
            on, as far as there are such records.
        dataset_dir: the dataset's folder.
        records_dir: the folder of the folders of records.
        annotations: the annotation file.

    Raises:
        CommandError: if a store cannot be asked.
    """
    places = dataset_paths(dataset, dataset_dir=dataset_dir, records_dir=records_dir, annotations=annotations)
    records = places.records(split, boxes or dataset.evaluation_boxes)
    if boxes is None:
        with remote_errors(records):
            if not (records / MANIFEST).exists():
                records = places.records(split, "ground_truth")
    return EvaluationPaths(Path(run_dir), places, records, annotations_given=annotations is not None)


def find_evaluation_split(paths: EvaluationPaths, config: RunConfig) -> EvaluationSplit:
    """Finds the records and the annotations of an evaluation.

    Args:
        paths: where they are.
        config: the run's.

    Raises:
        RecordsError: if there are no records with instances, or they do not belong to the run, or their
            annotations are missing or have changed.
    """
    manifest = read_manifest(paths.records)
    if differing := keypoint_difference(config.skeleton["keypoints"], manifest.skeleton.keypoints):
        raise RecordsError(
            f"the run in {paths.run_dir} predicts the {config.num_keypoints} keypoints of "
            f"{config.skeleton['name']}, the records in {paths.records} have the "
            f"{manifest.skeleton.num_keypoints} of {manifest.skeleton.name}: {differing}; --dataset_dir or "
            "--records_dir names others"
        )
    if not manifest.records:
        raise RecordsError(
            f"the records in {paths.records} hold nobody, so there is nothing to predict; records/check.py "
            f"{paths.records} says why instances were filtered or rejected"
        )
    skeleton = Skeleton.from_json(config.skeleton)
    file = paths.dataset.annotations[manifest.split]
    ground_truth = find_ground_truth(manifest, file, given=paths.annotations_given)
    notes = tuple(other_facts(skeleton, manifest.skeleton))
    return EvaluationSplit(paths, manifest, skeleton, ground_truth, notes)


def other_facts(run: Skeleton, records: Skeleton) -> list[str]:
    """Lines that name what the records say otherwise of the keypoints that they share with the run.

    Which keypoints mirror each other is what the network has learned, and a metric whose constants come with
    the file that is measured could not be compared with another's. So both are the run's.

    Args:
        run, records: with the same keypoints.

    Returns:
        One of flip pairs and one of sigmas, at most; limbs and upper body decide no number.
    """
    notes = []
    ours, theirs = run.flip_permutation, records.flip_permutation
    if len(moved := np.flatnonzero(ours != theirs)):
        name = run.keypoints[moved[0]]
        mirrored = [
            "itself" if pairs[moved[0]] == moved[0] else repr(run.keypoints[pairs[moved[0]]])
            for pairs in (ours, theirs)
        ]
        notes.append(
            f"the flip pairs of {len(moved)} keypoints are other ones in the records ({name!r} mirrors "
            f"{mirrored[1]} there, {mirrored[0]} in the run); the run's are taken"
        )
    if len(other := np.flatnonzero(np.array(run.sigmas) != np.array(records.sigmas))):
        name = run.keypoints[other[0]]
        notes.append(
            f"the sigmas of {len(other)} keypoints are other ones in the records ({name!r}: "
            f"{records.sigmas[other[0]]:g} there, {run.sigmas[other[0]]:g} in the run); the run's are taken"
        )
    return notes
