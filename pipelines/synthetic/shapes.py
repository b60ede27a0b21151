"""Colored convex polygons, of which the images of the synthetic dataset are made."""

import cv2
import numpy as np

Color = tuple[float, float, float]  # BGR, 0 to 255
Shape = tuple[np.ndarray, Color]  # convex polygon (n, 2) float in pixels, and its color

_ANGLES = np.linspace(0, 2 * np.pi, 18, endpoint=False)
CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
_CAP_ANGLES = np.radians(np.linspace(-90, 90, 7))
_CAP = np.stack([np.cos(_CAP_ANGLES), np.sin(_CAP_ANGLES)], axis=1)  # half a circle around (1, 0)


def random_color(rng: np.random.Generator) -> Color:
    """A BGR color of any hue, rarely very dark or fully saturated."""
    hsv = np.array([[[rng.integers(180), rng.integers(20, 220), rng.integers(60, 245)]]], np.uint8)
    blue, green, red = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return blue, green, red


def shade(color: Color, factor: float) -> Color:
    """The color made lighter (factor above 1) or darker."""
    blue, green, red = (min(255.0, channel * factor) for channel in color)
    return blue, green, red


def capsule(start: np.ndarray, end: np.ndarray, start_radius: float, end_radius: float) -> np.ndarray:
    """Polygon (14, 2) of a tapered limb with round ends, from start to end (both (2,), pixels)."""
    x, y = end - start
    length = max(np.hypot(x, y), 1e-9)
    cap = _CAP @ (np.array([[x, y], [-y, x]]) / length)
    return np.concatenate([end + end_radius * cap, start - start_radius * cap])


def ellipse(center: np.ndarray, radius_x: float, radius_y: float, up: np.ndarray) -> np.ndarray:
    """Polygon (18, 2) of an ellipse whose y axis lies along -`up` ((2,), need not be of unit length)."""
    down = -up / max(np.hypot(*up), 1e-9)
    across = np.array([down[1], -down[0]])
    return center + CIRCLE[:, :1] * radius_x * across + CIRCLE[:, 1:] * radius_y * down
