"""The report's images: the best and the worst instances of an evaluation, with their skeletons."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from evaluate.metrics.metric import MetricInput
from evaluate.report.analysis import ERRORS, Analysis, Pair
from evaluate.report.html_page import Markup, element, embedded_image, section
from hrpose.drawing import SIDE_COLORS, draw_skeleton, keypoint_sides
from hrpose.storage import local_folder
from records.geometry import affine_to_input, compose_affine, invert_affine, transform_points
from records.manifest import Manifest
from records.reader import serialized_records, usable_shards
from records.schema import parse_examples
from records.skeletons import Skeleton

T = TypeVar("T")

SHOWN = 9
"""How many of the best and how many of the worst: some 50 kB each."""

SHOWN_SCORE = 0.2
"""Predicted keypoints with a score up to this are not drawn."""

NOT_SHOWN = f"Predicted keypoints with a score up to {SHOWN_SCORE} are not drawn."

LISTED = 5
"""Up to how many keypoints with the same error a caption names."""

TILE_HEIGHT = 320
JPEG_QUALITY = 80

_BATCH = 256


def choose_pairs(pairs: Sequence[Pair], num_keypoints: int, count: int) -> tuple[list[Pair], list[Pair]]:
    """The best and the worst poses by OKS.

    Of instances with at least half of the keypoints labeled, since an OKS of a few keypoints says little; of
    all, if there are none.

    Args:
        pairs: of poses and instances.
        num_keypoints: K.
        count: how many of each at most; nobody is in both.

    Returns:
        Best first, and worst first.
    """
    labeled = [np.count_nonzero(pair.errors >= 0) for pair in pairs]
    chosen = [pair for pair, count in zip(pairs, labeled, strict=True) if 2 * count >= num_keypoints]
    return best_and_worst(chosen or pairs, lambda pair: pair.oks, count)


def best_and_worst(items: Iterable[T], value: Callable[[T], float], count: int) -> tuple[list[T], list[T]]:
    """The items with the highest and the lowest values: two lists of at most `count`, no item in both."""
    ordered = sorted(items, key=value, reverse=True)
    best = ordered[: min(count, (len(ordered) + 1) // 2)]
    return best, ordered[len(best) :][::-1][:count]


def read_instances(
    folder: Path, manifest: Manifest, instance_ids: Iterable[int]
) -> dict[int, dict[str, Any]]:
    """Finds records by instance, without decoding the others' crops.

    Args:
        folder: of the records.
        manifest: theirs.
        instance_ids: ids as the records have them.

    Returns:
        {instance id: {field: value}} of those that are there.
    """
    wanted, found = set(instance_ids), {}
    records = serialized_records(local_folder(folder, manifest), manifest, usable_shards(manifest))
    for serialized in records.batch(_BATCH) if wanted else ():
        batch = parse_examples(serialized, manifest.skeleton.num_keypoints)
        for row in np.flatnonzero(np.isin(batch["instance_id"].numpy(), list(wanted))):
            record = {name: tensor[row].numpy() for name, tensor in batch.items()}
            found[int(record["instance_id"])] = record
        if len(found) == len(wanted):
            break
    return found


def draw_instance(
    record: Mapping[str, Any], keypoints: npt.NDArray[np.float64], skeleton: Skeleton, threshold: float
) -> npt.NDArray[np.uint8]:
    """The instance as the network sees them, with a skeleton.

    Args:
        record: {field: value} as `records.schema` has it.
        keypoints: (K, 3) x, y in image pixels, and score or visibility.
        skeleton: of the keypoints.
        threshold: keypoints with a score above it are drawn.

    Returns:
        (TILE_HEIGHT, w, 3) RGB.

    Raises:
        ValueError: if the crop is not an image.
    """
    crop = cv2.imdecode(
        np.frombuffer(record["crop"], np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    )
    if crop is None:
        raise ValueError(f"the crop of instance {record['instance_id']} is not an image")
    scale = record["scale"]
    size = (max(1, round(TILE_HEIGHT * float(scale[0] / scale[1]))), TILE_HEIGHT)
    to_tile = affine_to_input(record["center"], scale, 0.0, size)
    crop_to_tile = compose_affine(to_tile, invert_affine(record["crop_affine"]))
    tile: npt.NDArray[Any] = cv2.warpAffine(crop, crop_to_tile, size, flags=cv2.INTER_LINEAR)
    points = transform_points(keypoints[:, :2], to_tile)
    on_tile = np.concatenate([points, keypoints[:, 2:]], axis=1)
    return draw_skeleton(tile, on_tile, skeleton.limbs, keypoint_sides(skeleton.keypoints), threshold)


def instances_section(analysis: Analysis | None, metric_input: MetricInput) -> Markup:
    """The best and the worst instances: by OKS, or by score where nothing is annotated.

    Args:
        analysis: None without annotations.
        metric_input: what was measured.
    """
    split, results = metric_input.split, metric_input.results
    if not results:
        return section("Instances", element("p", "No poses were kept, so there is nobody to show."))
    skeleton = split.skeleton
    shown: dict[str, list[tuple[int, npt.NDArray[np.float64] | None, str]]] = {}
    if analysis is not None and analysis.pairs:
        pairs = choose_pairs(analysis.pairs, skeleton.num_keypoints, SHOWN)
        for title, chosen in zip(("Best by OKS", "Worst by OKS"), pairs, strict=True):
            shown[title] = [(pair.row, pair.keypoints, describe_pair(pair, skeleton)) for pair in chosen]
        note = f"Of instances with at least half of the keypoints labeled, where there are any. {NOT_SHOWN}"
    else:
        rows = best_and_worst(range(len(results)), lambda row: results[row]["score"], SHOWN)
        for title, chosen_rows in zip(("Highest scores", "Lowest scores"), rows, strict=True):
            shown[title] = [(row, None, "") for row in chosen_rows]
        note = f"By the pose's score, because no pose can be held against an annotation. {NOT_SHOWN}"
    instance_ids = metric_input.predictions.instance_ids[metric_input.kept]
    wanted = {int(instance_ids[row]) for instances in shown.values() for row, *_ in instances}
    records = read_instances(split.paths.records, split.manifest, wanted)
    parts = [element("p", note, css="note"), _legend()]
    for title, instances in shown.items():
        figures = []
        for row, annotated, description in instances:
            record = records[int(instance_ids[row])]
            pose = np.reshape(results[row]["keypoints"], (-1, 3))
            name = record["file_name"].decode("utf-8", "replace")
            caption = f"{name}: score {results[row]['score']:.2f}{description}"
            figures.append(_figure(record, pose, annotated, skeleton, caption))
        if figures:
            parts += [element("h3", title), element("div", *figures, css="instances")]
    return section("Instances", *parts)


def describe_pair(pair: Pair, skeleton: Skeleton) -> str:
    """A pair's OKS and gross errors as text: ", OKS 0.31. Swap: nose. Miss: 9 of 17 labeled keypoints."."""
    parts, labeled = [f", OKS {pair.oks:.2f}."], np.count_nonzero(pair.errors >= 0)
    for kind in ("inversion", "swap", "miss"):
        keypoints = np.flatnonzero(pair.errors == ERRORS.index(kind))
        if len(keypoints):
            names = ", ".join(skeleton.keypoints[k].replace("_", " ") for k in keypoints)
            many = f"{len(keypoints)} of {labeled} labeled keypoints"
            parts.append(f"{kind.capitalize()}: {names if len(keypoints) <= LISTED else many}.")
    return " ".join(parts)


def _legend():
    keys = []
    for side in ("left", "right"):
        color = "#{:02x}{:02x}{:02x}".format(*SIDE_COLORS[side])
        swatch = Markup(f'<span class="swatch" style="background:{color}"></span>')
        keys.append(element("span", swatch, f"the instance's {side}", css="key"))
    return element("p", *keys)


def _figure(record, predicted, annotated, skeleton, caption):
    """One instance: the predicted skeleton, beside it the annotated one if there is one, and a caption."""
    shown = [("predicted", predicted, SHOWN_SCORE)]
    shown += [] if annotated is None else [("annotated", annotated, 0.0)]
    tiles = [
        element(
            "span",
            embedded_image(draw_instance(record, keypoints, skeleton, threshold), what, JPEG_QUALITY),
            what,
        )
        for what, keypoints, threshold in shown
    ]
    return element("figure", element("div", *tiles, css="pair"), element("figcaption", caption))
