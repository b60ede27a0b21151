"""PoseTrack's metrics as its tool poseval (github.com/leonid-pishchulin/poseval) computes them: AP and MOTA.

A predicted keypoint is right if it is off by at most half the head's size (PCKh, 0.5), the head's size being
0.6 of its box's diagonal. A predicted instance belongs to the annotated one of whose keypoints it has the
largest share right; of several that choose the same one, the one with the largest share gets it, and all
keypoints of the others are wrong. Each keypoint's AP is the area under its precision-recall curve (VOC's,
2010 and later) over all frames. What lies in a frame's ignore regions is taken away, of both ground truth and
predictions. Frames without annotated instances do not count.

What else poseval does and these numbers therefore do: AP is 0, not undefined, for a keypoint that nobody
predicts; for MOTA the last frame of each video is left out, and in frames where ignoring leaves no annotated
instance, or where nobody is predicted, every keypoint counts one miss and one false alarm, whatever is there.
Of keypoints with equal scores poseval's order is NumPy's doing; here the later one comes first.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.ground_truth import GroundTruth
from evaluate.metrics.metric import Metric, MetricInput, MetricResult, not_measured
from evaluate.metrics.mot import count_events, mot_metrics
from evaluate.metrics.posetrack_files import (
    KEYPOINTS,
    Frame,
    frame_ids,
    read_sequence,
    sequence_paths,
    write_predictions,
)
from evaluate.metrics.posetrack_matching import match_frame, without_ignored
from evaluate.metrics.tracking import track_results
from evaluate.run_inputs import EvaluationSplit
from hrpose.options import Option
from records.skeletons import POSETRACK

GROUPS = {
    "Head": ("head_top", "neck", "nose"),
    "Shou": ("right_shoulder", "left_shoulder"),
    "Elb": ("right_elbow", "left_elbow"),
    "Wri": ("right_wrist", "left_wrist"),
    "Hip": ("right_hip", "left_hip"),
    "Knee": ("right_knee", "left_knee"),
    "Ankl": ("right_ankle", "left_ankle"),
    "Total": ("total",),
}
"""Columns of poseval's table and the keypoints whose mean they are."""


def evaluate_posetrack(
    ground_truth_dir: str | Path, prediction_dir: str | Path, tracking: bool = True
) -> dict[str, Any]:
    """AP and MOTA of a folder of predictions.

    Args:
        ground_truth_dir: folder of PoseTrack's annotation files, one per video.
        prediction_dir: folder with a file of the same name for each of them, with the same frames (see
            `evaluate.metrics.posetrack_files.write_predictions`). Keypoints without ``scores`` rank last.
        tracking: whether to compute the MOT metrics, for which everybody needs a ``track_id``.

    Returns:
        Dict of metrics "AP", "precision", "recall" (at the end of the curve) and, with ``tracking``, "MOTA",
        "MOTP", "MOT precision", "MOT recall". Each is a dict of float in percent with a key per keypoint
        (names and order of `KEYPOINTS`) and "total", the mean of those defined. None stands for what is not
        defined, such as the recall of a keypoint that nobody has annotated. "sequences" has a dict of the
        same metrics for each video by name. All of it is JSON-ready.

    Raises:
        FileNotFoundError: if there are no annotation files, or one of them has no prediction file.
        ValueError: if a file is of another form, the frames differ, or a track id is missing, or twice in a
            frame; the message names the file and the place.
    """
    matches = {}
    for path, ground_truth in read_ground_truth(ground_truth_dir, tracking).items():
        prediction_path = Path(prediction_dir) / path.name
        if not prediction_path.is_file():
            raise FileNotFoundError(
                f"{prediction_path} does not exist; expected a file of predictions for each in "
                f"{ground_truth_dir}"
            )
        pairs = _pairs(path, ground_truth, prediction_path)
        if tracking:
            for _, prediction in pairs:
                _check_tracks(prediction_path, prediction)
        found = [match_frame(*without_ignored(*pair), tracking) for pair in pairs if len(pair[0].points)]
        if found:
            matches[path.stem] = found
    all_matches = [match for found in matches.values() for match in found]
    metrics = _average_precision(all_matches)
    sequences = {name: _average_precision(found) for name, found in matches.items()}
    if tracking:
        counts = {name: _count_tracks(found) for name, found in matches.items()}
        metrics |= mot_metrics(sum(counts.values(), np.zeros((len(KEYPOINTS), 6))))
        sequences = {name: sequences[name] | mot_metrics(counts[name]) for name in sequences}
    return _named(metrics) | {"sequences": {name: _named(values) for name, values in sequences.items()}}


def read_ground_truth(ground_truth_dir: str | Path, tracking: bool) -> dict[Path, list[Frame]]:
    """Reads PoseTrack's annotation files, checking what `evaluate_posetrack` needs of them.

    Arguments and errors are its. Returns a dict: path of each video's file -> its list of `Frame`.
    """
    videos = {path: read_sequence(path, True) for path in sequence_paths(ground_truth_dir)}
    if tracking:
        for path, frames in videos.items():
            for frame in frames:
                _check_tracks(path, frame)
    return videos


def group_means(values: Mapping[str, float | None]) -> dict[str, float]:
    """The columns of poseval's table: dict per keypoint -> dict of `GROUPS`, NaN where a keypoint is
    undefined.
    """
    known = {name: np.nan if value is None else value for name, value in values.items()}
    return {group: float(np.mean([known[name] for name in names])) for group, names in GROUPS.items()}


def format_table(metrics: Mapping[str, Mapping[str, float | None]]) -> str:
    """The metrics of `evaluate_posetrack` as poseval prints them: AP and, where it is there, MOTA.

    Returns:
        str of two or five lines, without a newline at the end.
    """
    names = "& Head & Shou & Elb  & Wri  & Hip  & Knee & Ankl & Total"
    lines = [names + r"\\", _row(group_means(metrics["AP"]).values())]
    if "MOTA" in metrics:
        totals = [metrics[name]["total"] for name in ("MOTP", "MOT precision", "MOT recall")]
        lines += [
            "& MOTA " * 8 + r"& MOTP & Prec & Rec  \\",
            names + "& Total" * 3 + r"\\",
            _row([*group_means(metrics["MOTA"]).values(), *totals]),
        ]
    return "\n".join(lines)


def _row(values):
    return "&" + " &".join(f"{np.nan if value is None else value:>5.1f}" for value in values) + r" \\"


def _pairs(ground_truth_path, ground_truth, prediction_path):
    """(ground truth, prediction) of each frame, in the order of the ground truth."""
    predictions = read_sequence(prediction_path, False)
    by_id = {frame.image_id: frame for frame in predictions}
    wanted = {frame.image_id for frame in ground_truth}
    if wanted != by_id.keys():
        raise ValueError(
            f"{prediction_path} has {len(by_id)} frames, {len(wanted - by_id.keys())} of the {len(wanted)} "
            f"in {ground_truth_path} are missing and {len(by_id.keys() - wanted)} are not of it; expected "
            "the same frames"
        )
    return [(frame, by_id[frame.image_id]) for frame in ground_truth]


def _check_tracks(path, frame):
    """Everybody in a frame needs a track id of their own."""
    if frame.track_ids is None:
        raise ValueError(
            f"{path}: an instance in image {frame.image_id} has no track_id; without tracks, evaluate AP "
            "alone"
        )
    if len(np.unique(frame.track_ids)) < len(frame.track_ids):
        raise ValueError(f"{path}: image {frame.image_id} has a track_id twice; expected each once per frame")


def _average_precision(matches):
    """Dict of (15,) float64 in percent: AP, and precision and recall of all predictions together."""
    metrics = {name: np.zeros(len(KEYPOINTS)) for name in ("AP", "precision", "recall")}
    for keypoint in range(len(KEYPOINTS)):
        annotated = sum(match.annotated[keypoint] for match in matches)
        right = [match.right[match.predicted[:, keypoint], keypoint] for match in matches]
        scores = [match.scores[match.predicted[:, keypoint], keypoint] for match in matches]
        right, scores = np.concatenate([[], *right]), np.concatenate([[], *scores])
        if not len(scores):
            continue
        hits = np.cumsum(right[np.argsort(scores, kind="stable")[::-1]])
        precision = hits / np.arange(1, len(hits) + 1)
        recall = hits / annotated if annotated else np.full(len(hits), np.nan)
        metrics["AP"][keypoint] = 100 * _area(recall, precision)
        metrics["precision"][keypoint] = 100 * precision[-1]
        metrics["recall"][keypoint] = 100 * recall[-1]
    return metrics


def _area(recall, precision):
    """Area under the curve after precision is made to fall with recall: VOC's AP since 2010."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0) * envelope))


def _count_tracks(matches):
    """(15, 6) float64: the events of one video. Its last frame is left out, as poseval does."""
    return np.array(
        [
            count_events([match.tracks[keypoint] for match in matches[:-1]])
            for keypoint in range(len(KEYPOINTS))
        ]
    )


def _named(metrics):
    """Arrays per keypoint as dicts with a total; NaN as None."""
    named = {}
    for name, values in metrics.items():
        defined = values[~np.isnan(values)]
        total = defined.mean() if len(defined) else np.nan
        named[name] = {
            keypoint: None if np.isnan(value) else float(value)
            for keypoint, value in zip((*KEYPOINTS, "total"), (*values, total), strict=True)
        }
    return named


def sequences_of(split: EvaluationSplit) -> Path:
    """The folder of the annotation files, one per video, that the split was converted from."""
    return split.paths.dataset.dataset_dir / "original_annotations" / split.manifest.split


def check(split: EvaluationSplit, options: Mapping[str, Any]) -> None:
    """Raises ValueError or FileNotFoundError unless there are whole videos with all that the metric needs.

    That are the files that the annotations were converted from: as many images, in the form and, to measure
    tracking, with the tracks that `evaluate_posetrack` needs.
    """
    annotated, folder = split.ground_truth, sequences_of(split)
    if split.skeleton.keypoints != POSETRACK.keypoints:
        raise ValueError(
            f"PoseTrack's metric is one of its {POSETRACK.num_keypoints} keypoints, these are the "
            f"{split.skeleton.num_keypoints} of {split.skeleton.name}; --metric names others"
        )
    if annotated.image_ids is not None:
        raise ValueError(
            f"the records were built with --image_ids, from {len(annotated.image_ids):,} images; "
            "PoseTrack's metric needs whole videos. Build them without --image_ids"
        )
    _check_frames(frame_ids(folder), annotated, folder)
    if split.manifest.split != "test":
        read_ground_truth(folder, options["tracking"])


def _check_frames(videos: Mapping[str, list[int]], annotated: GroundTruth, folder: Path) -> None:
    """Raises ValueError unless the videos' images are those of the annotation file."""
    frames = {image_id for images in videos.values() for image_id in images}
    listed = {image["id"] for image in annotated.content["images"]}
    if frames != listed:
        raise ValueError(
            f"it has {len(listed):,} images, the videos in {folder} have {len(frames):,}, and "
            f"{len(frames ^ listed):,} are in one of them only, for example {min(frames ^ listed)}. Put "
            "the files there that it was converted from, or convert them again and build with --overwrite"
        )


def measure(metric_input: MetricInput) -> MetricResult:
    """AP, with tracking also MOTA, and the files of a submission: one per video."""
    split, results, tracking = metric_input.split, metric_input.results, metric_input.options["tracking"]
    folder = sequences_of(split)
    if tracking:
        areas = metric_input.predictions.areas[metric_input.kept]
        results = track_results(results, areas, frame_ids(folder))
    files = tuple(write_predictions(results, folder, metric_input.name))
    if split.manifest.split == "test":
        return not_measured("the test split's annotations are not public", files)
    numbers = evaluate_posetrack(folder, metric_input.name, tracking)
    sequences = numbers.pop("sequences")
    return MetricResult(
        headline=f"AP {numbers['AP']['total'] or 0:.1f}",
        table=format_table(numbers),
        per_keypoint=numbers,
        best_by="AP/total",
        # As curves the numbers of each video would be hundreds.
        details={"sequences": sequences},
        files=files,
        remarks=(
            "In percent, by the rules of PoseTrack's tool poseval; total is the mean of the keypoints.",
        ),
    )


METRIC = Metric(
    name="posetrack",
    summary="PoseTrack's AP, and MOTA of poses over time",
    measure=measure,
    check=check,
    options=(Option("tracking", False, "number instances over time, and measure MOTA too."),),
)
