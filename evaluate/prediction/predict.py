"""Predicts the instances in a user's own images: boxes and pixels in, keypoints, drawings and JSON out."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from evaluate.inference import PredictStep, make_predict_step, to_image
from evaluate.network import load_network
from evaluate.options import MIN_VISIBILITY, OKS_NMS_THRESHOLD
from evaluate.prediction.boxes import ImageBoxes
from evaluate.prediction.files import result_names, shown_name, write_results
from evaluate.rescoring import rescore_and_nms
from hrpose.atomic_files import OF_THE_NAME, WriteError
from hrpose.command import CommandError, UsageError
from model.image_files import ImageError, read_image
from model.run_config import RunConfig
from records.geometry import (
    MAX_CROP_SCALE,
    affine_to_input,
    box_to_center_scale,
    compose_affine,
    covering_rectangle,
    invert_affine,
)
from records.resample import cut_part, stored_size
from records.skeletons import Skeleton

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictOptions:
    """How to predict.

    Attributes:
        run_dir: the run's folder, with model_dump/.
        output_dir: where the results go.
        epoch: which checkpoint: a number, "best" for the one that validated best, None for the last.
        averaged: whether to take the moving average of the weights; None for where the run keeps one.
        flip_test: whether to average with the mirrored image's heatmaps.
        exif_orientation: whether to turn images upright as their EXIF data say.
        min_score: instances and keypoints with a lower score are not rendered.
        batch_size: instances per forward pass.
    """

    run_dir: Path
    output_dir: Path
    epoch: int | str | None = None
    averaged: bool | None = None
    flip_test: bool = True
    exif_orientation: bool = True
    min_score: float = 0.2
    batch_size: int = 32


def predict_images(images: Sequence[Path], boxes: ImageBoxes | None, options: PredictOptions) -> int:
    """Predicts, renders and writes; images that cannot be read are reported and rejected.

    Args:
        images: at least one.
        boxes: from `evaluate.prediction.boxes.read_boxes`, or None: each whole image is one box.
        options: how to predict.

    Returns:
        The exit code: 1 if no image could be used, else 0.

    Raises:
        RunError: if there is no such run or epoch.
        CommandError: if the network's predictions cannot be used.
    """
    folder = options.output_dir
    # `Path.resolve` raises for links that lead in a circle.
    homes = {os.path.realpath(home) for p in images for home in (p.parent, Path(os.path.realpath(p)).parent)}
    if os.path.realpath(folder) in homes:
        # A JSON file beside an image may well be the user's own annotation.
        raise UsageError(f"--output_dir={folder} holds the images themselves; name another folder")
    network = load_network(options.run_dir, options.epoch, options.averaged)
    config, skeleton = network.config, Skeleton.from_json(network.config.skeleton)
    step = make_predict_step(
        network.models[0],
        config.make_codec(),
        skeleton.flip_permutation if options.flip_test else None,
        constant=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    many = len(images) > 1
    flip_test = "on" if options.flip_test else "off"
    log.info("%s, %s image%s, flip test %s", network.title, f"{len(images):,}", "s" * many, flip_test)
    if boxes is None:
        log.info("no --detections: the whole image is taken for the box of one instance")
    failed = instances = rendered = 0
    bar = tqdm(
        list(zip(images, result_names(images), strict=True)),
        desc="predict",
        unit=" images",
        dynamic_ncols=True,
        disable=not many,
    )
    for image, name in bar:
        try:
            pixels = read_image(image, options.exif_orientation)
            found = predict_instances(
                step, pixels, image_boxes(image, pixels, boxes), config, skeleton, options.batch_size
            )
            about = {
                "image": shown_name(image),
                "boxes": "whole image" if boxes is None else "given",
                "network": config.model,
                "epoch": network.epoch,
                "averaged": network.averaged,
            }
            rendered += write_results(folder, name, pixels, found, skeleton, options.min_score, about)
            instances += len(found)
        except (ImageError, WriteError) as error:
            if isinstance(error, WriteError) and getattr(error.__cause__, "errno", None) not in OF_THE_NAME:
                raise  # the next one would not be written either
            failed += 1
            log.warning("rejected: %s", error)
    used = len(images) - failed
    if boxes is not None and (empty := sum(image not in boxes for image in images)):
        log.info("%s images have no boxes", f"{empty:,}")
    if failed:
        log.warning("%s of %s could not be used", f"{failed:,}", f"{len(images):,}")
    print(
        f"{instances:,} instances in {used:,} image{'s' * (used != 1)}, {rendered:,} rendered "
        f"(score of at least {options.min_score:g})"
    )
    print(f"results: {folder}")
    return 1 if failed == len(images) else 0


def image_boxes(
    image: Path, pixels: npt.NDArray[np.uint8], boxes: ImageBoxes | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The boxes to look at in an image.

    Args:
        image: where it is.
        pixels: (height, width, 3).
        boxes: of all images, or None for the whole image.

    Returns:
        boxes: (N, 4) x y w h in image pixels.
        scores: (N,).

    Raises:
        ImageError: if a box lies outside of the image, which says that it is for another.
    """
    height, width = pixels.shape[:2]
    if boxes is None:
        return np.array([[0, 0, width, height]], np.float64), np.ones(1)
    found, scores = boxes.get(image, (np.zeros((0, 4)), np.zeros(0)))
    outside = (found[:, :2] >= (width, height)).any(axis=1) | (found[:, :2] + found[:, 2:] <= 0).any(axis=1)
    if outside.any():
        raise ImageError(
            f"{image}: the box {found[outside][0].tolist()} lies outside of the image, which has "
            f"{width}x{height} pixels"
        )
    return found, scores


def predict_instances(
    step: PredictStep,
    pixels: npt.NDArray[np.uint8],
    boxes: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    config: RunConfig,
    skeleton: Skeleton,
    batch_size: int,
) -> list[dict[str, Any]]:
    """The instances in one image.

    Args:
        step: from `evaluate.inference.make_predict_step`.
        pixels: (height, width, 3) RGB.
        boxes: (N, 4) x y w h in image pixels, and (N,) scores.
        config: the run's.
        skeleton: the run's.
        batch_size: instances per forward pass.

    Returns:
        A list of {"box": [x, y, w, h], "score": float, "keypoints": (K, 3) float64, x, y in image pixels, and
        score}, best first, without doubles.

    Raises:
        CommandError: if the network says NaN.
    """
    rectangles, box_scores = boxes
    if not len(rectangles):
        return []
    center, scale = box_to_center_scale(rectangles, config.input_size)
    codec = config.make_codec()
    parts = []
    for start in range(0, len(rectangles), batch_size):
        part = slice(start, start + batch_size)
        inputs = cut_inputs(pixels, center[part], scale[part], config.input_size, codec.unbiased)
        keypoints_heatmap = step(inputs).numpy()
        parts.append(to_image(keypoints_heatmap, center[part], scale[part], config.heatmap_size, codec))
    keypoints = np.concatenate(parts)
    try:
        kept, scores = rescore_and_nms(
            keypoints,
            scale.prod(axis=1),
            box_scores,
            np.zeros(len(rectangles), np.int64),
            OKS_NMS_THRESHOLD,
            MIN_VISIBILITY,
            False,
            skeleton.sigmas,
        )
    except ValueError as error:
        raise CommandError(f"{config.model}: {error}") from error
    return [
        {"box": rectangles[row].tolist(), "score": float(score), "keypoints": keypoints[row]}
        for row, score in zip(kept, scores, strict=True)
    ]


def cut_inputs(
    pixels: npt.NDArray[np.uint8],
    center: npt.NDArray[np.float64],
    scale: npt.NDArray[np.float64],
    input_size: tuple[int, int],
    unbiased: bool = False,
) -> npt.NDArray[np.uint8]:
    """What the network sees of each box: what a record and its reader make of it, without the JPEG.

    Args:
        pixels: (height, width, 3) RGB.
        center, scale: (N, 2) image pixels, of the padded boxes.
        input_size: (width, height).
        unbiased: the affine's convention: that of the codec.

    Returns:
        (N, height, width, 3) RGB; black outside of the image.
    """
    inputs = np.zeros((len(center), input_size[1], input_size[0], 3), np.uint8)
    for row, affine in enumerate(affine_to_input(center, scale, 0.0, input_size, unbiased)):
        downscale, margin = stored_size(input_size[0], scale[row, 0], MAX_CROP_SCALE)
        rectangle = covering_rectangle(
            center[row, None], scale[row, None], (pixels.shape[1], pixels.shape[0]), False, margin
        )
        if rectangle is not None:
            part, to_part = cut_part(pixels, rectangle, downscale)
            part_to_input = compose_affine(affine, invert_affine(to_part))
            cv2.warpAffine(part, part_to_input, tuple(input_size), dst=inputs[row], flags=cv2.INTER_LINEAR)
    return inputs
