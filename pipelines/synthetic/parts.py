"""The parts of one synthetic person: a posed body and a style become colored convex polygons.

Parts carry their depth. Drawn from the far one to the near one they give the person's image and, drawn with
their numbers, the map of which part is in front; so what hides what is read off the same shapes.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from pipelines.synthetic.bodies import Body
from pipelines.synthetic.shapes import CIRCLE, Color, Shape, capsule, ellipse, shade
from pipelines.synthetic.styles import Style

# Body parts as numbered in a figure's map of parts; 0 is "not this person".
TORSO, HEAD, HAIR = 1, 2, 3
EARS, UPPER_ARMS, FOREARMS, THIGHS, SHINS = (4, 5), (6, 7), (8, 9), (10, 11), (12, 13)  # left, right
MAX_PARTS = 16

# The parts on which each keypoint is in sight: where another part covers its pixel, the keypoint is hidden.
PARTS_OF_KEYPOINT: tuple[tuple[int, ...], ...] = (
    *[(HEAD,)] * 3,
    *[(ear,) for ear in EARS],
    *[(TORSO, arm) for arm in UPPER_ARMS],
    *zip(UPPER_ARMS, FOREARMS, strict=True),
    *[(forearm,) for forearm in FOREARMS],
    *[(TORSO, thigh) for thigh in THIGHS],
    *zip(THIGHS, SHINS, strict=True),
    *[(shin,) for shin in SHINS],
)

MOUTH = ((-0.32, 0.46), (0.32, 0.46), (0.14, 0.62), (-0.14, 0.62))  # in head radii


@dataclass
class Part:
    """One body part. depth: in heights, larger is nearer. details lie inside the outline."""

    depth: float
    number: int
    outline: list[Shape]
    details: list[Shape] = field(default_factory=list)


class BodyParts:
    """A body and a style turned into parts, in pixels; the hip center is the origin."""

    def __init__(self, body: Body, style: Style, height: float, light: np.ndarray) -> None:
        """`height` of the person in pixels; `light` (2,) unit vector in the image, towards the light."""
        self.body, self.style, self.height, self.light = body, style, height, light
        self.middle_shoulders = body.keypoints[5:7].mean(axis=0)
        self.spine = body.keypoints[11:13].mean(axis=0) - self.middle_shoulders
        self.torso_depth = (self.middle_shoulders + self.spine / 2)[2]
        self.shoulder_half = np.linalg.norm(body.keypoints[5] - body.keypoints[6]) / 2

    def flat(self, point: np.ndarray) -> np.ndarray:
        """(..., 3) heights -> (..., 2) pixels."""
        return point[..., :2] * self.height

    def on_torso(self, across: float, down: float, forward: float) -> np.ndarray:
        """Pixel (2,) of a place on the torso.

        across: in half shoulder widths to the person's left. down: 0 at the shoulder line, 1 at the hip line.
        forward: in heights.
        """
        left, _, ahead = self.body.torso_axes.T
        point = (
            self.middle_shoulders + across * self.shoulder_half * left + down * self.spine + forward * ahead
        )
        return self.flat(point)

    def patch(self, corners: list[tuple[float, float]], forward: float) -> np.ndarray:
        """Polygon of (across, down) places on the torso."""
        return np.array([self.on_torso(across, down, forward) for across, down in corners])

    def limb(
        self,
        start: np.ndarray,
        end: np.ndarray,
        radii: tuple[float, float],
        color: Color,
        joined: bool = False,
    ) -> list[Shape]:
        """A limb segment in three tones: the dark rim sets it off against clothes of the same color.

        A `joined` one leaves the rim out around its start, so that it grows out of the segment before.
        """
        a, b = self.flat(start), self.flat(end)
        ra, rb = (radius * self.height * self.body.girth for radius in radii)
        rim = min(0.9 * ra / max(np.hypot(*(b - a)), 1e-9), 1.0) if joined else 0.0
        towards_light = self.light * 0.13
        return [
            (capsule(a + rim * (b - a), b, ra + rim * (rb - ra), rb), shade(color, 0.72)),
            (capsule(a + towards_light * ra, b + towards_light * rb, 0.84 * ra, 0.84 * rb), color),
            (
                capsule(a + 3 * towards_light * ra, b + 3 * towards_light * rb, 0.3 * ra, 0.3 * rb),
                shade(color, 1.1),
            ),
        ]

    def arm(self, i: int) -> list[Part]:
        """Upper arm and forearm with the hand; i is 0 for the left one, 1 for the right one."""
        shoulder, elbow, wrist = (
            self.body.keypoints[5 + i],
            self.body.keypoints[7 + i],
            self.body.keypoints[9 + i],
        )
        sleeve = self.style.shirt
        forearm = sleeve if self.style.long_sleeves else self.style.skin
        upper = self.limb(
            shoulder, elbow, (0.038, 0.031), sleeve if self.style.long_sleeves else self.style.skin
        )
        if not self.style.long_sleeves:
            upper += self.limb(shoulder, shoulder + 0.5 * (elbow - shoulder), (0.042, 0.04), sleeve)
        lower = self.limb(wrist, self.body.hands[i], (0.02, 0.024), self.style.skin)
        lower += self.limb(elbow, wrist, (0.031, 0.022), forearm, joined=True)
        # The bias keeps an arm that hangs beside the torso in front of it.
        return [
            Part((shoulder[2] + elbow[2]) / 2 + 0.035, UPPER_ARMS[i], upper),
            Part((elbow[2] + wrist[2]) / 2 + 0.04, FOREARMS[i], lower),
        ]

    def leg(self, i: int) -> list[Part]:
        """Thigh and shin with the shoe."""
        hip, knee, ankle = (
            self.body.keypoints[11 + i],
            self.body.keypoints[13 + i],
            self.body.keypoints[15 + i],
        )
        thigh = self.limb(hip, knee, (0.06, 0.045), self.style.trousers)
        shin_color = self.style.skin if self.style.shorts else self.style.trousers
        shin = self.limb(knee, ankle, (0.044, 0.028), shin_color, joined=not self.style.shorts)
        heel = ankle + 0.015 * (ankle - knee) / np.linalg.norm(ankle - knee)
        shoe = self.limb(heel, self.body.toes[i], (0.03, 0.026), self.style.shoes)
        # Toes that point at the viewer cover the trouser leg's end; from behind it is the other way round.
        shapes = shin + shoe if self.body.toes[i, 2] > ankle[2] else shoe + shin
        return [
            Part((hip[2] + knee[2]) / 2, THIGHS[i], thigh),
            Part((knee[2] + ankle[2]) / 2 - 0.01, SHINS[i], shapes),
        ]

    def torso(self) -> list[Part]:
        """Trousers' top, neck and shirt, with what the front or the back of them shows."""
        body, style, unit = self.body, self.style, self.height * self.body.girth
        front = body.torso_axes[2, 2] > 0
        shoulders, hips = self.flat(body.keypoints[5:7]), self.flat(body.keypoints[11:13])
        waist = self.patch([(0.62, 0.6), (-0.62, 0.6)], 0)

        def hull(*circles: tuple[np.ndarray, float]) -> np.ndarray:
            points = np.concatenate([center + radius * unit * CIRCLE for center, radius in circles])
            return cv2.convexHull(points.astype(np.float32))[:, 0]

        neck_base = self.flat(body.neck)
        chest = hull(
            *((point, 0.035) for point in shoulders), (neck_base, 0.03), *((point, 0.045) for point in waist)
        )
        belly = hull(*((point, 0.045) for point in waist), *((point, 0.052) for point in hips))
        seat = hull(*((point, 0.058) for point in hips))
        hip_depth = body.keypoints[11:13, 2].mean()

        trim = shade(style.trousers, 0.6)
        surface = 0.04 if front else -0.04
        if front:
            seat_details = [(self.patch([(-0.05, 1.0), (0.05, 1.0), (0.03, 1.22)], surface), trim)]
        else:
            pockets = ([(s * 0.18, 1.0), (s * 0.5, 1.0), (s * 0.46, 1.16), (s * 0.22, 1.16)] for s in (1, -1))
            seat_details = [(self.patch(corners, surface), trim) for corners in pockets]

        halves = [0.9 * half + 0.1 * half.mean(axis=0) + self.light * 0.005 * unit for half in (belly, chest)]
        details = [(half, style.shirt) for half in halves] + self._pattern(halves)
        details += self._shirt_front() if front else self._shirt_back()
        skull = body.head_center + 0.6 * body.head_radii[1] * body.head_axes[:, 1]
        neck = self.limb(body.neck, skull, (0.03, 0.026), shade(style.skin, 0.9))
        return [
            Part(hip_depth + 0.005, TORSO, [(seat, style.trousers)], seat_details),
            Part(self.torso_depth - 0.01, TORSO, neck),
            Part(
                self.torso_depth + 0.012,
                TORSO,
                [(half, shade(style.shirt, 0.78)) for half in (belly, chest)],
                details,
            ),
        ]

    def _pattern(self, halves: list[np.ndarray]) -> list[Shape]:
        """The shirt's pattern, cut to its two convex halves."""
        style = self.style
        bands: list[list[tuple[float, float]]] = []
        if style.pattern in ("hoops", "plaid"):
            bands += [[(-2, v), (2, v), (2, v + 0.08), (-2, v + 0.08)] for v in np.arange(0.05, 1.1, 0.17)]
        if style.pattern in ("stripes", "plaid"):
            bands += [
                [(u, -0.3), (u + 0.12, -0.3), (u + 0.12, 1.4), (u, 1.4)] for u in np.arange(-1.0, 1.0, 0.3)
            ]
        if style.pattern == "two-tone":
            bands += [[(-2, 0.42), (2, 0.42), (2, 1.4), (-2, 1.4)]]
        shapes = []
        for band in bands:
            polygon = self.patch(band, 0).astype(np.float32)
            for half in halves:
                _, overlap = cv2.intersectConvexConvex(polygon, half.astype(np.float32))
                if overlap is not None and len(overlap) >= 3:
                    shapes.append((overlap[:, 0], style.accent))
        return shapes

    def _shirt_front(self) -> list[Shape]:
        style, dark = self.style, shade(self.style.shirt, 0.5)
        neckline = self.patch([(-0.34, -0.07), (0.34, -0.07), (0.16, 0.1), (0, 0.16), (-0.16, 0.1)], 0.03)
        shapes = [(neckline, shade(style.skin, 0.95))]
        if style.backpack:
            shapes += [
                (
                    self.patch([(s * 0.72, -0.1), (s * 0.56, -0.1), (s * 0.6, 0.6), (s * 0.74, 0.6)], 0.04),
                    style.bag,
                )
                for s in (1, -1)
            ]
        if style.front == "logo":
            shapes.append(
                (self.patch([(-0.4, 0.28), (0.4, 0.28), (0.34, 0.52), (-0.34, 0.52)], 0.05), style.accent)
            )
        if style.front == "buttons":
            shapes.append(
                (self.patch([(-0.03, 0.12), (0.03, 0.12), (0.03, 1.02), (-0.03, 1.02)], 0.05), dark)
            )
            buttons = (self.on_torso(0.1, down, 0.05) for down in (0.25, 0.45, 0.65, 0.85))
            shapes += [(button + 0.009 * self.height * CIRCLE, (235, 235, 235)) for button in buttons]
        return shapes

    def _shirt_back(self) -> list[Shape]:
        if not self.style.backpack:
            return []
        bag = self.patch(
            [(-0.62, 0.06), (0.62, 0.06), (0.7, 0.2), (0.66, 0.8), (-0.66, 0.8), (-0.7, 0.2)], -0.06
        )
        pocket = self.patch([(-0.45, 0.45), (0.45, 0.45), (0.45, 0.72), (-0.45, 0.72)], -0.07)
        return [(bag, shade(self.style.bag, 0.85)), (pocket, self.style.bag)]

    def head(self) -> list[Part]:
        """Head with its hair, face and ears."""
        body, style = self.body, self.style
        rx, ry, _ = body.head_radii * self.height
        _, down, ahead = body.head_axes.T
        up = -down[:2]
        center = self.flat(body.head_center)

        def on_head(x: float, y: float, z: float) -> np.ndarray:
            return self.flat(body.head_center + body.head_axes @ (np.array([x, y, z]) * body.head_radii))

        scalp = ellipse(center, 1.04 * rx, 1.02 * ry, up)
        details: list[Shape] = []
        if body.faces_viewer:
            face = on_head(0, 0.17, 0.24)
            width = (0.66 + 0.2 * ahead[2]) * rx
            details += [
                (ellipse(face, width, 0.82 * ry, up), shade(style.skin, 0.86)),
                (ellipse(face + self.light * 0.06 * rx, 0.93 * width, 0.77 * ry, up), style.skin),
            ]
            for eye, side in zip(body.keypoints[1:3], (1, -1), strict=True):
                place, squeeze = self.flat(eye), 0.5 + 0.5 * ahead[2]
                inner, outer = (on_head(side * x, y, 0.86) for x, y in ((0.2, -0.31), (0.58, -0.36)))
                details += [
                    (ellipse(place, 0.19 * rx * squeeze, 0.12 * ry, up), (240, 240, 240)),
                    (ellipse(place, 0.10 * rx, 0.10 * ry, up), (40, 30, 25)),
                    (capsule(inner, outer, 0.05 * rx, 0.04 * rx), shade(style.hair, 0.7)),
                ]
            nose = self.flat(body.keypoints[0])
            details += [
                (capsule(on_head(0, -0.05, 0.95), nose, 0.06 * rx, 0.13 * rx), shade(style.skin, 0.74)),
                (np.array([on_head(x, y, 0.84) for x, y in MOUTH]), (70, 60, 165)),
            ]
        depth = body.head_center[2] + 0.03
        parts = [Part(depth, HEAD, [(scalp, style.hair)], details)]
        for i, ear in enumerate(body.keypoints[3:5]):
            # An ear at the outline is in front of the hair; turned away by some twenty degrees it is behind.
            ear_depth = depth + (ear[2] - body.head_center[2]) + 0.36 * body.head_radii[0]
            place = self.flat(ear)
            shapes = [
                (ellipse(place, 0.19 * rx, 0.24 * ry, up), shade(style.skin, 0.85)),
                (ellipse(place, 0.1 * rx, 0.14 * ry, up), shade(style.skin, 0.65)),
            ]
            parts.append(Part(ear_depth, EARS[i], shapes))
        if style.long_hair:
            behind = body.head_center - 0.5 * body.head_radii[2] * ahead
            end = behind + 1.5 * body.head_radii[1] * down - 0.02 * ahead
            shapes = [
                (capsule(self.flat(behind), self.flat(end), 1.02 * rx, 0.95 * rx), shade(style.hair, 0.85))
            ]
            # It falls over the back: the torso covers it in a front view, and in a back view it covers both.
            hair_depth = self.torso_depth - 0.03 if body.faces_viewer else max(depth, self.torso_depth) + 0.02
            parts.append(Part(hair_depth, HAIR, shapes))
        return parts

    def in_drawing_order(self) -> list[Part]:
        """All parts, the far ones first."""
        parts = [*self.torso(), *self.head()]
        for i in (0, 1):
            parts += [*self.arm(i), *self.leg(i)]
        return sorted(parts, key=lambda part: part.depth)
