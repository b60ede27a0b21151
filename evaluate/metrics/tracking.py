"""Greedy tracking: poses of neighboring frames with a high OKS are the same instance.

The greedy matching of Girdhar et al., "Detect-and-Track" (2018), with OKS for the similarity as in Xiao et
al., "Simple Baselines" (2018), without the latter's optical flow: the pairs of a pose and one of the frame
before are taken from the most similar down.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluate.metrics.pck import checked
from nms import oks_matrix
from records.skeletons import POSETRACK

OKS_THRESHOLD = 0.3
"""Default of the smallest OKS of the same instance (mmpose's tracking demo has the same)."""

_NOT_ANNOTATED = ("left_ear", "right_ear")


def track(
    frames: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]],
    sigmas: npt.ArrayLike,
    threshold: float = OKS_THRESHOLD,
) -> list[npt.NDArray[np.int64]]:
    """Numbers the instances of a video.

    A pose gets the track id of the pose of the frame directly before that it is paired with. Pairs are made
    greedily: the two most similar first, then the most similar of those left, down to the threshold; among
    equals the earlier pose of the earlier frame, then the earlier pose. All other poses start new tracks. An
    instance that is gone for a frame is somebody new.

    Args:
        frames: the video's frames in order: list of (keypoints (P, K, 3) float, x, y in image pixels and
            score; areas (P,) float, square image pixels). P may be 0.
        sigmas: (K,) float, > 0, of the OKS.
        threshold: float in 0 .. 1; pairs with a lower OKS are not the same instance.

    Returns:
        List of (P,) int64 track ids, one array per frame; they count up from 0.

    Raises:
        ValueError: on wrong shapes, numbers that are not finite, negative areas or a threshold outside
            0 .. 1.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold: received {threshold!r}; expected an OKS, 0 to 1")
    sigmas = np.asarray(sigmas, np.float64)
    before_keypoints, before_areas = np.zeros((0, len(sigmas), 3)), np.zeros(0)
    before_ids, next_id = np.zeros(0, np.int64), 0
    tracks = []
    for number, (keypoints, areas) in enumerate(frames):
        keypoints = checked(f"frames[{number}][0]", keypoints, (None, len(sigmas), 3))
        areas, known = checked(f"frames[{number}][1]", areas, (len(keypoints),)), len(before_ids)
        together = np.concatenate([before_keypoints, keypoints])
        similarity = oks_matrix(together, np.concatenate([before_areas, areas]), sigmas)[:known, known:]
        ids = np.full(len(keypoints), -1, np.int64)
        for earlier, pose in greedy_pairs(similarity, threshold):
            ids[pose] = before_ids[earlier]
        new = ids < 0
        ids[new] = next_id + np.arange(new.sum())
        next_id += int(new.sum())
        tracks.append(ids)
        before_keypoints, before_areas, before_ids = keypoints, areas, ids
    return tracks


def greedy_pairs(similarity: npt.NDArray[np.float64], threshold: float) -> list[tuple[int, int]]:
    """Pairs rows with columns, the most similar first, each at most once.

    Args:
        similarity: (R, C).
        threshold: pairs with less are not made.

    Returns:
        List of (row, column); of equal similarities the lower row, then the lower column comes first.
    """
    pairs, rows, columns = [], set(), set()
    for flat in np.argsort(-similarity, axis=None, kind="stable"):
        row, column = (int(i) for i in np.unravel_index(flat, similarity.shape))
        if similarity[row, column] < threshold:
            break
        if row not in rows and column not in columns:
            pairs.append((row, column))
            rows.add(row)
            columns.add(column)
    return pairs


def track_results(
    results: Sequence[Mapping[str, Any]],
    areas: npt.ArrayLike,
    frame_ids: Mapping[str, Sequence[int]],
    threshold: float = OKS_THRESHOLD,
) -> list[dict[str, Any]]:
    """Adds track ids to PoseTrack results, video by video.

    The ears have no part in the OKS: nobody annotated them, so a network's are noise.

    Args:
        results: list of COCO result dicts with ``image_id`` and ``keypoints`` (17 times x, y in image pixels
            and score, in the order of the skeleton `POSETRACK`).
        areas: (N,) float, square image pixels of each result's instance.
        frame_ids: dict: sequence name -> list of image ids, as `evaluate.metrics.posetrack_files.frame_ids`
            returns it.
        threshold: as for `track`.

    Returns:
        The results in the same order, copied, each with ``track_id``; ids count from 0 in every video.

    Raises:
        ValueError: on results for images outside the videos or of other than 17 keypoints, and as `track`.
    """
    areas = checked("areas", areas, (len(results),))
    keypoints = [
        checked(f"results: keypoints of number {number}", result["keypoints"], (3 * POSETRACK.num_keypoints,))
        for number, result in enumerate(results)
    ]
    numbers: dict[int, list[int]] = {image_id: [] for images in frame_ids.values() for image_id in images}
    for number, result in enumerate(results):
        if result["image_id"] not in numbers:
            raise ValueError(
                f"results: number {number} is on image {result['image_id']}, which is in none of the "
                f"{len(frame_ids)} videos"
            )
        numbers[result["image_id"]].append(number)
    counted = [name not in _NOT_ANNOTATED for name in POSETRACK.keypoints]
    sigmas = np.array(POSETRACK.sigmas)[counted]
    track_ids: dict[int, int] = {}
    for images in frame_ids.values():
        frames = []
        for image_id in images:
            poses = np.reshape([keypoints[i] for i in numbers[image_id]], (-1, POSETRACK.num_keypoints, 3))
            frames.append((poses[:, counted], areas[np.array(numbers[image_id], int)]))
        for image_id, ids in zip(images, track(frames, sigmas, threshold), strict=True):
            track_ids |= dict(zip(numbers[image_id], ids.tolist(), strict=True))
    return [{**result} | {"track_id": track_ids[number]} for number, result in enumerate(results)]
