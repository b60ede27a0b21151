"""PCKh, MPII's own metric, its ground truth and its submission files.

PCKh (Andriluka et al., "2D Human Pose Estimation: New Benchmark and State of the Art Analysis", 2014): a
keypoint is right if it is off by at most half the head's size. Groups, mean and the head's size are those of
the official HRNet code (``MPIIDataset.evaluate``), which follows MPII's evaluation toolkit.

    ground truth = load_ground_truth("gt_valid.mat")
    print(format_table(evaluate_mpii(predictions_image, ground truth)))
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import savemat

from evaluate.metrics.pck import checked, percent_within
from hrpose.atomic_files import write_json, write_whole
from records.annotations.mat_files import CELLS, read_mat
from records.skeletons import MPII

GROUPS = {
    "head": ("head_top",),
    "shoulder": ("l_shoulder", "r_shoulder"),
    "elbow": ("l_elbow", "r_elbow"),
    "wrist": ("l_wrist", "r_wrist"),
    "hip": ("l_hip", "r_hip"),
    "knee": ("l_knee", "r_knee"),
    "ankle": ("l_ankle", "r_ankle"),
}
"""Columns of the official table and the keypoints whose mean they are."""

NOT_IN_MEAN = ("pelvis", "thorax")
"""Keypoints the official mean leaves out (6 and 7)."""

HEAD_SHARE = 0.6
"""The head's size is this share of its box's diagonal (SC_BIAS of MPII's evaluation toolkit)."""

OFFICIAL_TENTH = 0.11
"""What the official code takes for the threshold of its column Mean@0.1: element 11 of 0, 0.01, 0.02 ..."""

_KEYPOINTS_OF_FILE = (
    *("rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor"),
    *("neck", "head", "rwri", "relb", "rsho", "lsho", "lelb", "lwri"),
)
"""How gt_valid.mat spells the keypoints of the skeleton `MPII`."""


@dataclass(frozen=True)
class HeadGroundTruth:
    """What PCKh needs of N instances, in the order of their file.

    Attributes:
        keypoints_image: (N, 16, 2) float64, x, y in image pixels from 0, in the order of the skeleton `MPII`.
        missing: (N, 16) bool, keypoints that are not annotated; their place says nothing.
        head_boxes: (N, 2, 2) float64, upper left and lower right corner in image pixels from 0.
    """

    keypoints_image: np.ndarray
    missing: np.ndarray
    head_boxes: np.ndarray

    @property
    def head_sizes(self):
        """(N,) float64, image pixels: the unit of PCKh."""
        return HEAD_SHARE * np.linalg.norm(self.head_boxes[:, 1] - self.head_boxes[:, 0], axis=1)

    def __len__(self):
        return len(self.keypoints_image)

    def select(self, rows):
        """Some of the instances: ``rows``, (M,) int -> `HeadGroundTruth` of M instances in that order."""
        return HeadGroundTruth(self.keypoints_image[rows], self.missing[rows], self.head_boxes[rows])


def load_ground_truth(path):
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


def pckh(predictions_image, ground_truth, threshold=0.5):
    """PCKh of each keypoint, of the official groups, and their mean, in percent.

    Args:
        predictions_image: (N, 16, 2) float, x, y in image pixels from 0: instance i is row i of the ground
            truth.
        ground_truth: `HeadGroundTruth` of N instances.
        threshold: float, > 0, in head sizes; an error of exactly this is right.

    Returns:
        Dict of float: "head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle" (mean of left and right);
        "mean" of all annotated keypoints but pelvis and thorax; and "per_keypoint", (16,) float64. NaN stands
        for what no one has annotated.

    Raises:
        ValueError: on a wrong shape, another number of instances, numbers that are not finite, or a threshold
            that is no number above 0, naming the argument.
    """
    predictions = checked("predictions_image", predictions_image, (len(ground_truth), MPII.num_keypoints, 2))
    errors = (
        np.linalg.norm(predictions - ground_truth.keypoints_image, axis=2) / ground_truth.head_sizes[:, None]
    )
    annotated = ~ground_truth.missing
    _, per_keypoint = percent_within(errors, annotated, threshold)
    in_mean = [name not in NOT_IN_MEAN for name in MPII.keypoints]
    mean, _ = percent_within(errors[:, in_mean], annotated[:, in_mean], threshold)
    groups = {
        group: float(np.mean([per_keypoint[MPII.keypoints.index(name)] for name in names]))
        for group, names in GROUPS.items()
    }
    return {"mean": mean, "per_joint": per_keypoint} | groups


def evaluate_mpii(predictions_image, ground_truth, official_tenth=False):
    """The columns of the official table: PCKh@0.5 by group and mean, and the mean of PCKh@0.1.

    Args:
        predictions_image, ground_truth: as for `pckh`.
        official_tenth: take 0.11 for the threshold of the last column, as the official code does, instead of
            the 0.1 it is named after; the published numbers of HRNet have it so.

    Returns:
        Dict of float in percent: "Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean",
        "Mean@0.1", in this order; NaN for what no one has annotated.

    Raises:
        ValueError: as `pckh`.
    """
    half = pckh(predictions_image, ground_truth, 0.5)
    tenth = pckh(predictions_image, ground_truth, OFFICIAL_TENTH if official_tenth else 0.1)
    columns = {group.capitalize(): half[group] for group in GROUPS}
    return columns | {"Mean": half["mean"], "Mean@0.1": tenth["mean"]}


def format_table(metrics, name="PCKh"):
    """The metrics of `evaluate_mpii` as the official code prints them: a Markdown table of three lines.

    Args:
        metrics: dict of float.
        name: what the row is called, for example the network.

    Returns:
        str, without a newline at the end.
    """
    header = "| Arch " + " ".join(f"| {column}" for column in metrics) + " |"
    row = f"| {name} " + " ".join(f"| {value:.3f}" for value in metrics.values()) + " |"
    return "\n".join([header, "|---" * (len(metrics) + 1) + "|", row])


def write_submission(predictions_image, mat_path, json_path):
    """Writes the predictions as the official ``pred.mat`` and as JSON.

    Args:
        predictions_image: (N, 16, 2) float, x, y in image pixels from 0.
        mat_path: the MATLAB file: ``preds``, (N, 16, 2) double, coordinates counted from 1 as MATLAB and the
            MPII release do.
        json_path: the JSON file: a list with, for each instance, a list of 16 [x, y], in image pixels from 0.

    Raises:
        ValueError: on a wrong shape or numbers that are not finite.
    """
    predictions = checked("predictions_image", predictions_image, (None, MPII.num_keypoints, 2))
    content = io.BytesIO()
    savemat(content, {"preds": predictions + 1})
    write_whole(mat_path, content.getvalue())
    write_json(json_path, predictions.tolist())
