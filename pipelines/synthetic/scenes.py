"""One image of the synthetic dataset: a textured background, people before each other, and the ground
truth.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.synthetic.bodies import sample_body
from pipelines.synthetic.parts import MAX_PARTS
from pipelines.synthetic.shapes import capsule, random_color
from pipelines.synthetic.sprites import Sprite, in_sight, render_sprite
from pipelines.synthetic.styles import SKIN_TONES, random_style

LANDSCAPE_FRACTION = 0.65
LONG_SIDE, SHORT_SIDE = (320, 480), (240, 400)  # pixels, ranges
TRUNCATED_FRACTION = 0.1  # of people are placed so that the image's border may cut them
MIN_INSIDE = 0.55  # of a truncated person's width and of the height stays in the image
MAX_OVERLAP = 0.15  # of a person's box may be covered by another box, when there is room to avoid more
PLACEMENTS = 40  # tries per person
MIN_VISIBLE = 0.15  # share of a person's pixels in sight, below which the person is taken out of the image
MIN_LABELED = 3  # keypoints, likewise
LIMB_LIKE_FRACTION = 0.5  # of the background's distractors look like bare limbs
MAX_INSTANCES = 255 // MAX_PARTS - 1  # one byte per pixel says which part of which person is in front


@dataclass(frozen=True)
class Person:
    """The ground truth about one person in an image.

    keypoints: (17, 3) float64, x y in image pixels and COCO's visibility. box: (4,) int, x y w h around the
    pixels in sight. area: the number of these pixels.
    """

    keypoints: np.ndarray
    box: np.ndarray
    area: int


@dataclass(frozen=True)
class Scene:
    """An image, (h, w, 3) uint8 BGR, and its people, the far ones first."""

    image: np.ndarray
    instances: list[Person]


def render_scene(
    rng: np.random.Generator,
    instances_weights: tuple[float, ...],
    heights: tuple[float, float],
    back_view_fraction: float,
) -> Scene:
    """Draw one image.

    instances_weights: chances of 1, 2, ... people. heights: range of a standing person's height in pixels.
    """
    long_side = int(rng.integers(*LONG_SIDE, endpoint=True))
    short_side = int(rng.integers(SHORT_SIDE[0], min(SHORT_SIDE[1], long_side), endpoint=True))
    size = (long_side, short_side) if rng.random() < LANDSCAPE_FRACTION else (short_side, long_side)
    light_angle = rng.uniform(np.pi, 2 * np.pi)  # from above
    light = np.array([np.cos(light_angle), np.sin(light_angle)])

    image = _background(rng, size)
    count = 1 + rng.choice(len(instances_weights), p=np.array(instances_weights) / sum(instances_weights))
    tallest = min(heights[1], 1.1 * size[1])
    instance_heights = np.exp(rng.uniform(np.log(heights[0]), np.log(tallest), count))
    sprites = [
        render_sprite(
            rng, sample_body(rng, rng.random() < back_view_fraction), random_style(rng), height, light
        )
        for height in np.sort(instance_heights)  # small people are far away, so they come first
    ]
    sprites, corners, instances = _without_hidden(sprites, _place(rng, sprites, size), size)
    for sprite, corner in zip(sprites, corners, strict=True):
        _paste(image, sprite, corner)
    return Scene(_camera(rng, image), instances)


def _background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A textured backdrop without people: (h, w, 3) uint8 BGR; `size` is (w, h)."""
    width, height = size
    vivid = np.array([[random_color(rng) for _ in range(2)] for _ in range(2)])
    gray = vivid.mean(axis=2, keepdims=True)
    image = (gray + rng.uniform(0.1, 0.9) * (vivid - gray)).astype(np.float32)
    for cell in (64, 20, 6):  # pixels between the knots of one more layer of noise
        columns, rows = width // cell + 2, height // cell + 2
        knots = rng.normal(0, rng.uniform(2, 10), (rows, columns, 1))  # brightness ...
        knots = knots + rng.normal(0, rng.uniform(0, 5), (rows, columns, 3))  # ... and hue
        image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_CUBIC) + knots.astype(np.float32)
    image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.4:
        angle, wavelength = rng.uniform(0, np.pi), rng.uniform(6, 60)
        steps_x = np.arange(width, dtype=np.float32) * np.float32(np.cos(angle) / wavelength * 2 * np.pi)
        steps_y = np.arange(height, dtype=np.float32) * np.float32(np.sin(angle) / wavelength * 2 * np.pi)
        wave = np.float32(rng.uniform(6, 26)) * np.sin(steps_x[None] + steps_y[:, None])
        image = cv2.add(image, cv2.merge([wave] * 3))
    image = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        floor = rng.integers(height // 2, height)
        shape = np.array([[0, floor], [width, floor + rng.integers(-20, 20)], [width, height], [0, height]])
        image = cv2.addWeighted(
            image, 0.4, cv2.fillConvexPoly(image.copy(), shape, random_color(rng)), 0.6, 0
        )
    for _ in range(rng.integers(1, 8)):
        _distract(rng, image)
    return image


def _distract(rng: np.random.Generator, image: np.ndarray) -> None:
    """Draw one thing that is not a person: a blob, a box, or a bar much like a limb."""
    height, width = image.shape[:2]
    place = rng.uniform((0, 0), (width, height))
    if rng.random() < LIMB_LIKE_FRACTION:
        angle, length, radius = rng.uniform(0, np.pi), rng.uniform(15, 90), rng.uniform(2, 10)
        bare = rng.random() < 0.4
        color = SKIN_TONES[rng.integers(len(SKIN_TONES))] if bare else random_color(rng)
        end = place + length * np.array([np.cos(angle), np.sin(angle)])
        shape = capsule(place, end, radius, radius * rng.uniform(0.6, 1.0))
    else:
        axes, tilt = rng.uniform(5, 60, 2), int(rng.integers(180))
        sides = 12 if rng.random() < 0.5 else 90  # OpenCV's step in degrees: a blob or a four-cornered box
        shape = cv2.ellipse2Poly((0, 0), axes.astype(int).tolist(), tilt, 0, 360, sides) + place
        color = random_color(rng)
    cv2.fillConvexPoly(image, np.rint(shape * 16).astype(np.int32), color, cv2.LINE_AA, 4)


def _place(rng: np.random.Generator, sprites: list[Sprite], size: tuple[int, int]) -> np.ndarray:
    """Top left corners of the figures in the image: (people, 2) int, x y."""
    placed = np.zeros((0, 4))
    for sprite in sprites:
        extent = np.array(sprite.parts.shape[::-1])
        slack = (1 - MIN_INSIDE) * extent if rng.random() < TRUNCATED_FRACTION else np.zeros(2)
        # A figure larger than the image is moved within what it can cover: low and high swap.
        bounds = np.sort([-slack, np.array(size) - extent + slack], axis=0)
        tries = np.rint(rng.uniform(bounds[0], bounds[1], (PLACEMENTS, 2)))
        boxes = np.concatenate([tries, tries + extent], axis=1)
        overlaps = [_largest_overlap(box, placed) for box in boxes]
        free = next((i for i, overlap in enumerate(overlaps) if overlap <= MAX_OVERLAP), np.argmin(overlaps))
        placed = np.concatenate([placed, boxes[free : free + 1]])
    return placed[:, :2].astype(int)


def _largest_overlap(box: np.ndarray, others: np.ndarray) -> float:
    """Largest intersection of a box with others, as a share of the smaller of the two; x1 y1 x2 y2."""
    if len(others) == 0:
        return 0.0
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1)
    return float(
        (np.prod(np.maximum(sides, 0), axis=1) / np.minimum(areas, np.prod(box[2:] - box[:2]))).max()
    )


def _windows(sprite: Sprite, corner: np.ndarray, size: tuple[int, int]) -> tuple:
    """The slices of the image and of the figure that lie on each other."""
    start = np.maximum(corner, 0)
    stop = np.minimum(corner + sprite.parts.shape[::-1], size)
    inside, within = (start, stop), (start - corner, stop - corner)
    return tuple((slice(low[1], high[1]), slice(low[0], high[0])) for low, high in (inside, within))


def _without_hidden(sprites: list[Sprite], corners: np.ndarray, size: tuple[int, int]) -> tuple:
    """The figures enough of which is seen, their corners and the ground truth about them."""
    while True:
        # Byte (index * MAX_PARTS + part) of whoever is in front at each pixel; later figures are nearer.
        owners = np.zeros(size[::-1], dtype=np.uint8)
        for i, (sprite, corner) in enumerate(zip(sprites, corners, strict=True)):
            inside, within = _windows(sprite, corner, size)
            parts = sprite.parts[within]
            np.copyto(owners[inside], parts + i * MAX_PARTS, where=parts > 0)
        instances = [
            _ground_truth(f, c, owners, i) for i, (f, c) in enumerate(zip(sprites, corners, strict=True))
        ]
        kept = [
            person is not None
            and person.area >= MIN_VISIBLE * np.count_nonzero(sprite.parts)
            and np.count_nonzero(person.keypoints[:, 2]) >= MIN_LABELED
            for person, sprite in zip(instances, sprites, strict=True)
        ]
        if all(kept):
            return sprites, corners, instances
        # Whoever is taken out hid others, so look again.
        sprites = [sprite for sprite, keep in zip(sprites, kept, strict=True) if keep]
        corners = corners[np.array(kept)]


def _ground_truth(sprite: Sprite, corner: np.ndarray, owners: np.ndarray, index: int) -> Person | None:
    """What can be seen of figure number `index`; None when that is nothing."""
    low = index * MAX_PARTS
    seen = (owners > low) & (owners < low + MAX_PARTS)
    columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
    if len(columns) == 0:
        return None
    limits = np.array(owners.shape[::-1]) - 1
    points = sprite.keypoints + corner
    labeled = sprite.labeled & (points >= 0).all(axis=1) & (points <= limits).all(axis=1)
    x, y = np.rint(np.clip(points, 0, limits)).astype(int).T
    parts = np.where(seen[y, x], owners[y, x] - low, 0)
    keypoints = np.zeros((17, 3))
    keypoints[labeled, :2] = points[labeled]
    keypoints[labeled, 2] = np.where(in_sight(parts), 2, 1)[labeled]
    box = np.array([columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1])
    return Person(keypoints, box, int(np.count_nonzero(seen)))


def _paste(image: np.ndarray, sprite: Sprite, corner: np.ndarray) -> None:
    """Lay a figure over the image."""
    inside, within = _windows(sprite, corner, image.shape[1::-1])
    through = cv2.merge([255 - sprite.coverage[within]] * 3)
    image[inside] = cv2.add(cv2.multiply(image[inside], through, scale=1 / 255), sprite.color[within])


def _camera(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """What a camera adds: some blur, exposure and noise."""
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9))
    strength = int(rng.integers(2, 14))
    noise = rng.integers(0, strength, image.shape[:2], dtype=np.uint8, endpoint=True)
    # Half the noise's range is taken off again, so that it does not brighten the image.
    exposed = cv2.convertScaleAbs(image, alpha=rng.uniform(0.8, 1.1), beta=0)
    return cv2.subtract(cv2.add(exposed, cv2.merge([noise] * 3)), np.full(4, strength / 2))
