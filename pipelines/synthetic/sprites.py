"""Drawing one articulated person, cut out of its image, with the map of its body parts."""

from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.synthetic.bodies import Body
from pipelines.synthetic.parts import MAX_PARTS, PARTS_OF_KEYPOINT, BodyParts
from pipelines.synthetic.shapes import Color
from pipelines.synthetic.styles import Style

OVERSAMPLING = 2  # figures are drawn this much larger, without antialiasing, and averaged down
FRACTION_BITS = 4  # of OpenCV's fixed-point polygon coordinates
TEXTURE_CELL = 6  # pixels between the knots of the cloth's uneven brightness

_IN_SIGHT = np.zeros(
    (17, MAX_PARTS), dtype=bool
)  # [keypoint, part in front]: whether the keypoint can be seen
for _keypoint, _parts in enumerate(PARTS_OF_KEYPOINT):
    _IN_SIGHT[_keypoint, list(_parts)] = True


@dataclass(frozen=True)
class Sprite:
    """A drawn person, cut out.

    color: (h, w, 3) uint8 BGR, already multiplied by coverage.
    coverage: (h, w) uint8, 255 inside the person.
    parts: (h, w) uint8, the body part in front at each pixel, 0 outside.
    keypoints: (17, 2) float64, x y in pixels of this cut-out.
    labeled: (17,) bool, False for a face that is turned away, which COCO's annotators leave out.
    """

    color: np.ndarray
    coverage: np.ndarray
    parts: np.ndarray
    keypoints: np.ndarray
    labeled: np.ndarray


def in_sight(parts: np.ndarray) -> np.ndarray:
    """Whether each keypoint is seen, given the part in front at its pixel.

    parts: (17,) int, this person's part numbers, 0 for anything else. Returns (17,) bool.
    """
    return _IN_SIGHT[np.arange(17), parts]


def fill(canvas: np.ndarray, polygon: np.ndarray, color: Color | int, origin: np.ndarray) -> None:
    """Fill a convex polygon, given in pixels, on an oversampled canvas whose corner lies at `origin`."""
    # A pixel's center is at its integer index: pixel 0 of the image is canvas pixels 0 and 1, center 0.5.
    on_canvas = (polygon - origin) * OVERSAMPLING + (OVERSAMPLING - 1) / 2
    fixed_point = np.rint(on_canvas * (1 << FRACTION_BITS)).astype(np.int32)
    cv2.fillConvexPoly(canvas, fixed_point, color, cv2.LINE_8, FRACTION_BITS)


def render_sprite(
    rng: np.random.Generator, body: Body, style: Style, height: float, light: np.ndarray
) -> Sprite:
    """Draw a person `height` pixels tall when upright; `light`: (2,) unit vector towards the light."""
    parts = BodyParts(body, style, height, light).in_drawing_order()
    corners = np.concatenate([polygon for part in parts for polygon, _ in part.outline])
    origin = np.floor(corners.min(axis=0)) - 1 - rng.random(2)
    size = width, height_px = tuple(int(side) + 3 for side in corners.max(axis=0) - origin)

    canvas = np.zeros((height_px * OVERSAMPLING, width * OVERSAMPLING, 3), dtype=np.uint8)
    numbers = np.zeros(canvas.shape[:2], dtype=np.uint8)
    for part in parts:
        for polygon, color in part.outline:
            fill(canvas, polygon, color, origin)
            fill(numbers, polygon, part.number, origin)
        for polygon, color in part.details:
            fill(canvas, polygon, color, origin)

    knots = rng.uniform(0.9, 1.1, (height_px // TEXTURE_CELL + 2, width // TEXTURE_CELL + 2))
    texture = cv2.resize(knots.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    pixels = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    coverage = cv2.resize((numbers > 0).astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA)
    labeled = np.ones(17, dtype=bool)
    labeled[:3] = body.faces_viewer
    return Sprite(
        color=cv2.multiply(pixels, cv2.merge([texture] * 3), dtype=cv2.CV_8U),
        coverage=coverage,
        parts=np.ascontiguousarray(numbers[::OVERSAMPLING, ::OVERSAMPLING]),
        keypoints=body.keypoints[:, :2] * height - origin,
        labeled=labeled,
    )
