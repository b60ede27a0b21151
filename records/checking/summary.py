"""The statistics of a folder of records, as text."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from records.checking.verify import Instances
from records.manifest import Manifest
from records.plausibility import placement_rows, placement_summary, placement_warnings

QUANTILES = (0, 5, 25, 50, 75, 95, 100)


def format_summary(manifest: Manifest, instances: Instances, placement: Counter[str]) -> str:
    """What was built and what is in it.

    Args:
        manifest: the folder's `Manifest`.
        instances: `records.checking.verify.Instances` of its records.
        placement: what `records.plausibility.count_placement` counts of them.

    Returns:
        Several lines of text.
    """
    width, height = manifest.input_size
    megabytes = sum(shard.size for shard in manifest.shards) / 1e6
    lines = [
        f"{manifest.dataset} {manifest.split}, {manifest.boxes.replace('_', ' ')} boxes, "
        f"for inputs of {width}x{height}, {manifest.skeleton.name} skeleton",
        f"{manifest.records:,} instances in {manifest.images:,} images, {len(manifest.shards)} shards, "
        f"{megabytes:,.1f} MB",
        f"filtered: {_counts(manifest.filtered)}; rejected: {_counts(manifest.rejected)}",
    ]
    without_area = manifest.filtered.get("no_area", 0)
    if without_area > manifest.records:
        lines.append(
            f"note: most instances, {without_area:,}, were filtered because their area is 0 in the "
            "annotations: "
            'OKS has nothing to measure them by. Annotations without "area" are taken with their box\'s'
        )
    if len(instances):
        lines += [
            "",
            size_table(instances),
            "",
            keypoint_table(manifest.skeleton.keypoints, instances.visibility),
        ]
        lines += [f"{count:,} {text}" for count, text in placement_rows(placement_summary(placement))]
    lines += [f"warning: {warning}" for warning in placement_warnings(placement)]
    return "\n".join(lines)


def size_table(instances: Instances) -> str:
    """How large boxes and crops are and how many keypoints instances have, by quantiles."""
    rows = {
        "box width (image px)": instances.box_sizes[:, 0],
        "box height (image px)": instances.box_sizes[:, 1],
        "crop width (px)": instances.crop_sizes[:, 0],
        "crop height (px)": instances.crop_sizes[:, 1],
        "crop size (kB)": instances.crop_bytes / 1e3,
        "labeled keypoints": (instances.visibility > 0).sum(axis=1),
    }
    names = {0: "least", 50: "median", 100: "most"}
    lines = [" " * 22 + "".join(f"{names.get(q, f'{q} %'):>9}" for q in QUANTILES) + f"{'mean':>9}"]
    for name, values in rows.items():
        numbers = [*np.percentile(values, QUANTILES), np.mean(values)]
        lines.append(f"{name:22}" + "".join(f"{number:9,.1f}" for number in numbers))
    return "\n".join(lines)


def keypoint_table(names: Sequence[str], visibility: npt.NDArray[np.integer[Any]]) -> str:
    """How often each keypoint is visible, occluded (COCO visibility 2, 1) and not labeled (0).

    Args:
        names: of the K keypoints.
        visibility: (N, K) of 0, 1, 2.

    Returns:
        Several lines of text.
    """
    if not (visibility > 0).any():
        return "no keypoint is labeled"
    width = max(16, *(len(name) + 2 for name in names))
    lines = [
        f"{'':{width}}{'visible (2)':>19}{'occluded (1)':>19}{'not labeled (0)':>19}",
    ]
    for name, keypoint in zip((*names, "all"), (*visibility.T, visibility.ravel()), strict=True):
        cells = [np.count_nonzero(keypoint == value) for value in (2, 1, 0)]
        lines.append(f"{name:{width}}" + "".join(f"{n:11,} {100 * n / len(keypoint):5.1f} %" for n in cells))
    return "\n".join(lines)


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons.items()) or "nobody"
