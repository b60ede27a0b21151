"""MPII's files as the official code has them: the ground truth of its validation instances, and
submissions.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evaluate.metrics.pck import checked
from hrpose.atomic_files import write_json, write_whole
from records.annotations.mat_files import CELLS, read_mat
from records.skeletons import MPII

HEAD_SHARE = 0.6
"""The head's size is this share of its box's diagonal (SC_BIAS of MPII's evaluation toolkit)."""

_KEYPOINTS_OF_FILE = (
    *("rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor"),
    *("neck", "head", "rwri", "relb", "rsho", "lsho", "lelb", "lwri"),
)
"""How gt_valid.mat spells the keypoints of the skeleton `MPII`."""


@dataclass(frozen=True)
class HeadGroundTruth:
    """What PCKh needs of N instances, in the order of their file.

    Attributes:
        keypoints_image: (N, 16, 2) x, y in image pixels from 0, in the order of the skeleton `MPII`.
        missing: (N, 16) keypoints that are not annotated; their place says nothing.
        head_boxes: (N, 2, 2) upper left and lower right corner in image pixels from 0.
    """

    keypoints_image: npt.NDArray[np.float64]
    missing: npt.NDArray[np.bool_]
    head_boxes: npt.NDArray[np.float64]

    @property
    def head_sizes(self) -> npt.NDArray[np.float64]:
        """(N,) image pixels: the unit of PCKh."""
        return HEAD_SHARE * np.linalg.norm(self.head_boxes[:, 1] - self.head_boxes[:, 0], axis=1)

    def __len__(self) -> int:
        return len(self.keypoints_image)

    def select(self, rows: npt.NDArray[np.integer] | Sequence[int]) -> "HeadGroundTruth":
        """Some of the instances: ``rows``, (M,) -> `HeadGroundTruth` of M instances in that order."""
        return HeadGroundTruth(self.keypoints_image[rows], self.missing[rows], self.head_boxes[rows])


def load_ground_truth(path: str | Path) -> HeadGroundTruth:
    """Reads ``gt_valid.mat``, the ground truth of MPII's 2,958 validation instances as the official code uses
    it.

    Args:
        path: a MATLAB file of version 5 with ``dataset_joints`` (16 names), ``jnt_missing`` (16, N),
            ``pos_gt_src`` (16, 2, N) and ``headboxes_src`` (2, 2, N), coordinates counted from 1. Other
            variables are not read.

    Returns:
        `HeadGroundTruth`, coordinates counted from 0.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: if it is not such a file; the message names the path and what was expected.
    """
    path = Path(path)
    names = ("dataset_joints", "jnt_missing", "pos_gt_src", "headboxes_src")
    try:
        variables = read_mat(path.read_bytes(), names)
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be read as a MATLAB file ({error}); expected gt_valid.mat, which is of MATLAB's "
            "version 5"
        ) from error
    absent = [name for name in names if name not in variables]
    if absent:
        raise ValueError(f"{path} has no variable {', '.join(absent)}; expected gt_valid.mat")
    cells = variables["dataset_joints"]
    keypoints = cells.get(CELLS, []) if isinstance(cells, dict) else np.ravel(cells).tolist()
    if tuple(keypoints) != _KEYPOINTS_OF_FILE:
        raise ValueError(
            f"{path}: dataset_joints is {', '.join(map(str, keypoints))}; expected "
            f"{', '.join(_KEYPOINTS_OF_FILE)}"
        )
    instances = np.shape(variables["pos_gt_src"])[-1]
    positions = checked(f"{path}: pos_gt_src", variables["pos_gt_src"], (16, 2, instances))
    missing = checked(f"{path}: jnt_missing", variables["jnt_missing"], (16, instances))
    corners = checked(f"{path}: headboxes_src", variables["headboxes_src"], (2, 2, instances))
    if not np.isin(missing, (0, 1)).all():
        raise ValueError(
            f"{path}: jnt_missing has {np.setdiff1d(missing, (0, 1))[:5]}; expected 0 and 1 only"
        )
    ground_truth = HeadGroundTruth(
        np.moveaxis(positions, 2, 0) - 1, np.moveaxis(missing, 1, 0) == 1, np.moveaxis(corners, 2, 0) - 1
    )
    if not (ground_truth.head_sizes > 0).all():
        row = int(np.argmin(ground_truth.head_sizes))
        raise ValueError(
            f"{path}: headboxes_src of instance {row} (from 0) has no extent: "
            f"{ground_truth.head_boxes[row].tolist()}"
        )
    return ground_truth


def write_submission(predictions_image: npt.ArrayLike, mat_path: Path, json_path: Path) -> None:
    """Writes the predictions as the official ``pred.mat`` and as JSON.

    Args:
        predictions_image: (N, 16, 2) float, x, y in image pixels from 0.
        mat_path: the MATLAB file: ``preds``, (N, 16, 2) double, coordinates counted from 1 as MATLAB and the
            MPII release do.
        json_path: the JSON file: a list with, for each instance, a list of 16 [x, y], in image pixels from 0.

    Raises:
        ValueError: on a wrong shape or numbers that are not finite.
    """
    from scipy.io import savemat  # takes longer to import than all of the rest

    predictions = checked("predictions_image", predictions_image, (None, MPII.num_keypoints, 2))
    content = io.BytesIO()
    savemat(content, {"preds": predictions + 1})
    write_whole(mat_path, content.getvalue())
    write_json(json_path, predictions.tolist())
