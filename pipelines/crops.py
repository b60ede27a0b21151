"""Cutting one person out of a picture: pixels and annotation in, the values of a record out."""

from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.people import keypoint_array
from records.geometry import box_to_center_scale, covering_rectangle, half_body_box

#: Raised whenever the same options and inputs give other bytes, so that old records are not taken for new.
BUILD_VERSION = 1


@dataclass(frozen=True)
class CropOptions:
    """Everything that decides a record's bytes.

    Attributes:
        input_size: (width, height) of the network input the records are for.
        padding: factor on the person's box (official: 1.25).
        scale_factor: the largest scale augmentation the crop must have room for, at any rotation and for
            the half body (official COCO recipe: 0.35); None for the plain view only.
        half_body_min_keypoints: half bodies are drawn only of people with more labelled keypoints.
        max_crop_scale: people are stored at most this many times as large as the network shows them.
        quality: JPEG quality of the crops, 1 to 100.
    """

    input_size: tuple[int, int]
    padding: float = 1.25
    scale_factor: float | None = 0.35
    half_body_min_keypoints: int = 8
    max_crop_scale: float = 2.0
    quality: int = 90


def crop_rectangle(center, scale, keypoints, image_size, skeleton, options, margin=0.0):
    """The part of a picture that every crop drawn from a person lies in.

    Args:
        center, scale: (2,) of the person, image pixels.
        keypoints: (K, 3) x, y in image pixels and visibility.
        image_size: (width, height) of the picture.
        skeleton: the `Skeleton`.
        options: `CropOptions`.
        margin: image pixels to add on every side, see `covering_rectangle`.

    Returns:
        (x, y, width, height) ints in image pixels, or None if nothing lies inside the picture.
    """
    if options.scale_factor is None:
        return covering_rectangle(center[None], scale[None], image_size, False, margin)
    centers, scales = [center], [scale]
    if (keypoints[:, 2] > 0).sum() > options.half_body_min_keypoints:
        for upper_first in (True, False):
            valid, half_center, half_scale = half_body_box(
                keypoints[None], skeleton.upper_body, np.array([upper_first]), options.input_size
            )
            if valid[0]:
                centers.append(half_center[0])
                scales.append(half_scale[0])
    largest = np.stack(scales) * (1 + options.scale_factor)
    return covering_rectangle(np.stack(centers), largest, image_size, True, margin)


def make_record(pixels, picture, person, skeleton, options):
    """The values of one record.

    Args:
        pixels: (height, width, 3) uint8, BGR: the whole picture.
        picture: its `Picture`.
        person: the `Person`.
        skeleton: the `Skeleton`.
        options: `CropOptions`.

    Returns:
        {field: value} for `records.schema.to_example`; None if the person lies outside the picture.
    """
    image_size = (picture.width, picture.height)
    keypoints = keypoint_array(person)
    center, scale = box_to_center_scale(person.box, options.input_size, options.padding)
    shrink = min(1.0, options.max_crop_scale * options.input_size[0] / scale[0])
    margin = 0.5 / shrink if shrink < 1 else 0.0
    rectangle = crop_rectangle(center, scale, keypoints, image_size, skeleton, options, margin)
    if rectangle is None:
        return None
    left, top, width, height = rectangle
    crop = pixels[top : top + height, left : left + width]
    if shrink < 1:
        stored = max(1, round(width * shrink)), max(1, round(height * shrink))
        crop = cv2.resize(crop, stored, interpolation=cv2.INTER_AREA)
    # OpenCV's resize aligns the pixels' outer edges, half a pixel outside of their centres.
    factor = np.array([crop.shape[1] / width, crop.shape[0] / height])
    offset = (0.5 - np.array([left, top])) * factor - 0.5
    crop_affine = np.concatenate([np.diag(factor), offset[:, None]], axis=1)
    encoded, jpeg = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, options.quality])
    if not encoded:
        raise ValueError(f"OpenCV could not encode a crop of {crop.shape[1]}x{crop.shape[0]} pixels")
    return {
        "crop": jpeg.tobytes(),
        "crop_affine": crop_affine,
        "box": person.box,
        "center": center,
        "scale": scale,
        "keypoints": keypoints,
        "area": person.area,
        "score": person.score,
        "image_id": picture.image_id,
        "person_id": person.person_id,
        "image_size": image_size,
        "file_name": picture.file_name.encode(),
    }
