"""Cutting one instance out of an image: pixels and annotation in, the values of a record out."""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.instances import AnnotatedImage, Instance, keypoint_array
from records.geometry import MAX_CROP_SCALE, box_to_center_scale, covering_rectangle, half_body_box
from records.jpeg_rows import restart_interval
from records.resample import cut_part, stored_size
from records.skeletons import Skeleton

#: Raised whenever the same options and inputs give other bytes, so that old records are not taken for new.
BUILD_VERSION = 4

#: How crops can be stored: see `CropOptions.encoding`.
ENCODINGS = ("jpeg", "exact")

# Full color resolution: of equally large files, a JPEG of lower quality that keeps the colors is closer to
# the image than one of higher quality that halves them. Not progressive, which would save 3 % of the bytes
# but takes three times as long to decode, in every epoch. (Measured: benchmarks/crops.py.)
_JPEG_FLAGS = (
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    cv2.IMWRITE_JPEG_OPTIMIZE,
    1,
)


Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class CropOptions:
    """Everything that decides a record's bytes.

    Attributes:
        input_size: (width, height) of the network input the records are for.
        padding: factor on the instance's box (official: 1.25).
        scale_factor: the largest scale augmentation the crop must have room for, at any rotation and for
            the half body (official COCO recipe: 0.35); None for the plain view only.
        half_body_min_keypoints: half bodies are drawn only of instances with more labeled keypoints.
        encoding: "jpeg"; or "exact": a PNG of the image's own pixels at their own size. (Cutting whole
            blocks out of a JPEG source would be as exact at 36 % of the bytes, but no well-kept wheel
            does it without a system library: PyTurboJPEG brings none, simplejpeg and Pillow do not offer it.)
        max_crop_scale: instances are stored at most this many times as large as the network shows them in the
            smallest of their `plain_views`; without effect on "exact". So a half body, which is shown larger
            than the whole instance, has the network input's resolution too where the image has it. The
            default is a little below 1 / (1 - 0.35), which the strongest enlarging of the official recipe
            would need: 0.975 of the input's resolution is the least that a sample has.
        sharp_halves: whether half bodies count for that. They take three times the bytes where instances are
            as large as in MPII, whose recipe never shows them; there is room for them in the crop anyhow.
        quality: JPEG quality, 1 to 100, of instances stored at the network's resolution or above; those
            stored smaller get a higher one, see `jpeg_quality`. Without effect on "exact".

    The defaults come from `benchmarks/crops.py`: 33 KB an instance, 2.0 gray levels, see docs/records.md.

    Raises:
        ValueError: for an unknown encoding.
    """

    input_size: tuple[int, int]
    padding: float = 1.25
    scale_factor: float | None = 0.35
    half_body_min_keypoints: int = 8
    encoding: str = "jpeg"
    max_crop_scale: float = MAX_CROP_SCALE
    quality: int = 80
    sharp_halves: bool = True

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise ValueError(f"encoding is {self.encoding!r}; expected one of {', '.join(ENCODINGS)}")


def plain_views(
    center: Floats, scale: Floats, keypoints: Floats, skeleton: Skeleton, options: CropOptions
) -> tuple[Floats, Floats]:
    """What training shows of an instance before scale and rotation are drawn: the box, and halves of the
    body.

    Args:
        center, scale: (2,) of the instance, image pixels.
        keypoints: (K, 3) x, y in image pixels and visibility.

    Returns:
        centers, scales: (M, 2) float64 each, M from 1 to 3, image pixels; the instance's own are the first.
        Keypoints in one point have a scale of 0, which is never shown.
    """
    centers, scales = [center], [scale]
    enough = (keypoints[:, 2] > 0).sum() > options.half_body_min_keypoints
    if options.scale_factor is not None and enough:
        for upper_first in (True, False):
            valid, half_center, half_scale = half_body_box(
                keypoints[None], skeleton.upper_body, np.array([upper_first]), options.input_size
            )
            if valid[0]:
                centers.append(half_center[0])
                scales.append(half_scale[0])
    return np.stack(centers), np.stack(scales)


def crop_rectangle(
    centers: Floats,
    scales: Floats,
    image_size: tuple[int, int],
    options: CropOptions,
    margin: float = 0.0,
) -> tuple[int, int, int, int] | None:
    """The part of an image that every crop drawn from an instance lies in.

    Args:
        centers, scales: (M, 2) of its `plain_views`.
        image_size: (width, height) of the image.
        margin: image pixels to add on every side, see `covering_rectangle`.

    Returns:
        (x, y, width, height) ints in image pixels, or None if nothing lies inside the image.
    """
    if options.scale_factor is None:
        return covering_rectangle(centers, scales, image_size, False, margin)
    return covering_rectangle(centers, scales * (1 + options.scale_factor), image_size, True, margin)


def cut_crop(
    pixels: Pixels,
    center: Floats,
    scale: Floats,
    keypoints: Floats,
    skeleton: Skeleton,
    options: CropOptions,
) -> tuple[Pixels, Floats] | None:
    """The pixels to store of one instance.

    Args:
        pixels: (height, width, 3) uint8, BGR: the whole image.
        center, scale: (2,) of the instance, image pixels.
        keypoints: (K, 3) x, y in image pixels and visibility.

    Returns:
        crop: (h, w, 3) uint8, BGR.
        crop_affine: (2, 3) float64: image pixels -> crop pixels.
        Or None if the instance lies outside the image.
    """
    centers, scales = plain_views(center, scale, keypoints, skeleton, options)
    widths = scales[:, 0] if options.sharp_halves else scale[:1]
    downscale, margin = stored_size(
        options.input_size[0],
        widths[widths > 0].min(),
        math.inf if options.encoding == "exact" else options.max_crop_scale,
    )
    image_size = (pixels.shape[1], pixels.shape[0])
    rectangle = crop_rectangle(centers, scales, image_size, options, margin)
    if rectangle is None:
        return None
    return cut_part(pixels, rectangle, downscale)


def jpeg_quality(quality: int, stored_scale: float) -> int:
    """The JPEG quality of one instance's crop: higher for instances that the network shows enlarged.

    What JPEG rounds away is enlarged with them, and their crops are small: with one quality for everybody,
    the same mean error costs a fifth more bytes (measured on COCO instances by benchmarks/crops.py).

    Args:
        quality: `CropOptions.quality`.
        stored_scale: stored pixels per pixel of the network input.

    Returns:
        An int from `quality` (at a stored scale of 1 or more) to 100 (towards 0). 100 - quality, to which
        libjpeg's rounding steps are proportional (from quality 50 on), is proportional to the stored scale.
    """
    return round(100 - (100 - quality) * min(1.0, stored_scale))


def encode_crop(crop: Pixels, stored_scale: float, options: CropOptions) -> bytes:
    """The bytes to store of a crop: the same for the same pixels, always.

    Args:
        crop: (h, w, 3) uint8, BGR.
        stored_scale: stored pixels per pixel of the network input.

    Returns:
        bytes: a baseline JPEG with full color resolution, and where there is room for augmentation a
        restart marker after each row of blocks; or for "exact" a PNG.

    Raises:
        ValueError: if the crop is too large for the format.
    """
    if options.encoding == "exact":
        encoded, content = cv2.imencode(".png", crop)
    else:
        flags = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality(options.quality, stored_scale), *_JPEG_FLAGS]
        if options.scale_factor is not None:  # views show a part, and the reader decodes only the rows of it
            flags += [cv2.IMWRITE_JPEG_RST_INTERVAL, restart_interval(crop.shape[1])]
        encoded, content = cv2.imencode(".jpg", crop, flags)
    if not encoded:
        raise ValueError(f"OpenCV could not encode a crop of {crop.shape[1]}x{crop.shape[0]} pixels")
    return content.tobytes()


def make_record(
    pixels: Pixels, image: AnnotatedImage, instance: Instance, skeleton: Skeleton, options: CropOptions
) -> dict[str, Any] | None:
    """The values of one record.

    Args:
        pixels: (height, width, 3) uint8, BGR: the whole image.

    Returns:
        {field: value} for `records.schema.to_example`; None if no view of the instance shows the image.
    """
    keypoints = keypoint_array(instance)
    center, scale = box_to_center_scale(instance.box, options.input_size, options.padding)
    cut = cut_crop(pixels, center, scale, keypoints, skeleton, options)
    if cut is None:
        return None
    crop, crop_affine = cut
    return {
        "crop": encode_crop(crop, crop_affine[0, 0] * scale[0] / options.input_size[0], options),
        "crop_affine": crop_affine,
        "box": instance.box,
        "center": center,
        "scale": scale,
        "keypoints": keypoints,
        "area": instance.area,
        "score": instance.score,
        "image_id": image.image_id,
        "instance_id": instance.instance_id,
        "image_size": (image.width, image.height),
        "file_name": image.file_name.encode(errors="backslashreplace"),  # UTF-8 also where the name is not
    }
