"""The contact sheet of an evaluation: what the network says of some instances, drawn over them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluate.metrics.oks_matching import annotation_oks
from evaluate.predictions import Predictions
from evaluate.run_inputs import EvaluationSplit
from hrpose.drawing import contact_sheet, draw_skeleton, keypoint_sides
from records.geometry import transform_points
from records.reader import read_records

TILE_HEIGHT = 288
COLUMNS = 8

#: A sheet of N instances looks for them among the first N times this many records.
_RECORDS_PER_TILE = 8


def draw_instances(
    split: EvaluationSplit, input_size: tuple[int, int], predictions: Predictions, count: int, title: str
) -> npt.NDArray[np.uint8]:
    """A contact sheet of instances with their predicted skeletons: the best one of each of the first images.

    Captions give the image's id, the OKS with the annotated instance that fits best ("-" where the image
    has none) and the mean keypoint score.

    Args:
        split: the records that were predicted; they are in random order.
        input_size: (width, height) of the network input; instances are drawn from the crop at twice that.
        predictions: of the records, in their order.
        count: how many instances at most.
        title: of the sheet.

    Returns:
        (h, w, 3) RGB.
    """
    looked_at = min(count * _RECORDS_PER_TILE, len(predictions.keypoints))
    scores = predictions.keypoints[:looked_at, :, 2].mean(axis=1)
    rows = best_of_each(predictions.image_ids[:looked_at], scores * predictions.box_scores[:looked_at])[
        :count
    ]
    size = (2 * input_size[0], 2 * input_size[1])
    batch = next(iter(read_records(split.paths.records, looked_at, input_size=size)))
    images, affines = batch["image"].numpy(), batch["input_affine"].numpy()
    skeleton, annotations = split.skeleton, split.ground_truth.content["annotations"]
    sides = keypoint_sides(skeleton.keypoints)
    tiles, captions = [], []
    for row in rows:
        keypoints = predictions.keypoints[row]
        points_tile = transform_points(keypoints[:, :2], affines[row])
        on_tile = np.concatenate([points_tile, keypoints[:, 2:]], axis=1)
        tiles.append(draw_skeleton(images[row], on_tile, skeleton.limbs, sides))
        image_id = int(predictions.image_ids[row])
        oks = best_oks(keypoints, annotations, image_id, skeleton.sigmas)
        captions.append(f"{image_id}: OKS {'-' if oks is None else f'{oks:.2f}'}, score {scores[row]:.2f}")
    tile_size = (round(TILE_HEIGHT * input_size[0] / input_size[1]), TILE_HEIGHT)
    return contact_sheet(tiles, captions, COLUMNS, tile_size, title)


def best_of_each(groups: npt.NDArray[Any], scores: npt.NDArray[np.float64]) -> list[int]:
    """The row with the highest score of each group, groups in the order first met.

    Args:
        groups: (N,).
        scores: (N,).
    """
    best: dict[Any, int] = {}
    for row, (group, score) in enumerate(zip(groups.tolist(), scores, strict=True)):
        if group not in best or score > scores[best[group]]:
            best[group] = row
    return list(best.values())


def best_oks(
    keypoints: npt.NDArray[np.float64],
    annotations: Sequence[Mapping[str, Any]],
    image_id: int,
    sigmas: npt.ArrayLike,
) -> float | None:
    """The highest OKS of a pose with the labeled instances of its image, as pycocotools' `computeOks`.

    Args:
        keypoints: (K, 3) x, y in image pixels, and score.
        annotations: COCO annotations of any images.
        image_id: the pose's image.
        sigmas: (K,) of the skeleton.

    Returns:
        A float in 0..1, or None if nobody in the image has a labeled keypoint.
    """
    instances = [
        instance
        for instance in annotations
        if instance["image_id"] == image_id and any(instance["keypoints"][2::3])
    ]
    if not instances:
        return None
    annotated = np.reshape([instance["keypoints"] for instance in instances], (len(instances), -1, 3))
    areas, boxes = ([instance[key] for instance in instances] for key in ("area", "bbox"))
    return float(annotation_oks(keypoints[None, :, :2], annotated, areas, boxes, sigmas).max())
