"""Sampling one articulated person in three dimensions.

The axes are x to the image's right, y down and z towards the viewer; the unit is the person's height.
A person who faces the viewer has the left hand at positive x. Left and right, depth order and foreshortening
all follow from turning this body, so nothing that draws it needs to know which side is which.
"""

from dataclasses import dataclass

import numpy as np

SIDES = (1.0, -1.0)  # left, right: the sign of x for a person who faces the viewer

# Limb directions in degrees, as ranges (low, high). Elevation: 0 hangs straight down, 180 points straight up.
# Azimuth: 0 points away from the body's middle line, 90 forward, 180 towards the middle line, -90 backward.
# Arms: the pose's weight, then elevation and azimuth of the upper arm and those of the forearm.
ARM_POSES = {
    "hanging": (5, (5, 24), (-10, 50), (5, 35), (20, 90)),
    "raised": (3, (115, 160), (-10, 40), (125, 185), (0, 60)),
    "sideways": (3, (60, 105), (-15, 30), (40, 150), (-10, 40)),
    "on the hip": (1, (32, 50), (-30, 5), (38, 58), (165, 190)),
    "forward": (1, (40, 80), (50, 85), (50, 130), (50, 110)),
    "across the chest": (1, (10, 30), (10, 50), (85, 120), (115, 150)),
    "waving": (2, (20, 60), (0, 40), (140, 178), (-10, 50)),
}
# Legs: the same four ranges for one leg and for the other; which of them is the left one is drawn.
STANDING_LEG = ((1, 8), (-20, 20), (0, 5), (-60, 20))
LEG_POSES = {
    "standing": (5, STANDING_LEG, STANDING_LEG),
    "walking": (
        3,
        ((12, 32), (75, 100), (0, 14), (-100, -80)),
        ((5, 24), (-100, -75), (20, 50), (-100, -80)),
    ),
    "wide": (3, ((12, 28), (-10, 30), (6, 24), (-10, 10)), ((12, 28), (-10, 30), (6, 24), (-10, 10))),
    "sitting": (1, ((55, 80), (40, 80), (0, 14), (-90, 60)), ((55, 80), (40, 80), (0, 14), (-90, 60))),
    "lunging": (1, ((30, 60), (0, 40), (0, 25), (0, 40)), STANDING_LEG),
}

MAX_TURN = 40  # degrees: how far the body turns from a straight front or back view
MAX_HEAD_TURN = 48  # degrees: the same for the head; beyond it the far eye would leave the outline


@dataclass(frozen=True)
class Body:
    """One posed person. All points are float64 in heights (x right, y down, z towards the viewer).

    keypoints: (17, 3), in COCO's order. hands, toes: (2, 3), left then right.
    torso_axes, head_axes: (3, 3), columns: towards the person's left, down, forward.
    head_center: (3,). head_radii: (3,), half width, half height, half depth.
    neck: (3,), the base of the neck. girth: factor on the thickness of limbs and torso.
    """

    keypoints: np.ndarray
    hands: np.ndarray
    toes: np.ndarray
    torso_axes: np.ndarray
    head_axes: np.ndarray
    head_center: np.ndarray
    head_radii: np.ndarray
    neck: np.ndarray
    girth: float

    @property
    def faces_viewer(self) -> bool:
        """Whether the face is turned towards the viewer."""
        return bool(self.head_axes[2, 2] > 0)


def _turn(degrees: float) -> np.ndarray:
    """Rotation about the vertical: forward moves to the image's right."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _nod(degrees: float) -> np.ndarray:
    """Rotation about the x axis: forward moves down."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1, 0, 0], [0, c, s], [0, -s, c]])


def _roll(degrees: float) -> np.ndarray:
    """Rotation in the image plane, clockwise as seen."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _direction(side: float, elevation: float, azimuth: float) -> np.ndarray:
    """Unit vector (3,) of a limb of the given side; the angles are those of ARM_POSES."""
    e, a = np.radians(elevation), np.radians(azimuth)
    return np.array([side * np.sin(e) * np.cos(a), np.cos(e), np.sin(e) * np.sin(a)])


def _choose(rng: np.random.Generator, poses: dict[str, tuple]) -> tuple:
    """One entry of a pose table by weight, without its weight."""
    entries = list(poses.values())
    weights = np.array([entry[0] for entry in entries], dtype=np.float64)
    return entries[rng.choice(len(entries), p=weights / weights.sum())][1:]


def _bounded_normal(rng: np.random.Generator, sigma: float, bound: float) -> float:
    return float(np.clip(rng.normal(0, sigma), -bound, bound))


def _limb(rng: np.random.Generator, start: np.ndarray, side: float, lengths: tuple, ranges: tuple):
    """Middle keypoint, end keypoint and the last segment's unit direction (each (3,)) of a limb from
    `start`.
    """
    upper_elevation, upper_azimuth, lower_elevation, lower_azimuth = (rng.uniform(*pair) for pair in ranges)
    middle = start + lengths[0] * _direction(side, upper_elevation, upper_azimuth)
    along = _direction(side, lower_elevation, lower_azimuth)
    return middle, middle + lengths[1] * along, along


def sample_body(rng: np.random.Generator, back_view: bool) -> Body:
    """A person of random proportions and pose; the hip center is the origin."""
    torso_length = rng.uniform(0.26, 0.31)
    shoulder_half, hip_half = rng.uniform(0.10, 0.13), rng.uniform(0.055, 0.07)
    arm_lengths = (rng.uniform(0.15, 0.185), rng.uniform(0.135, 0.165))
    leg_lengths = (rng.uniform(0.22, 0.26), rng.uniform(0.21, 0.25))
    head_half = rng.uniform(0.084, 0.104)
    head_radii = head_half * np.array([rng.uniform(0.76, 0.86), 1.0, 0.85])

    spine = _roll(_bounded_normal(rng, 5, 15)) @ _nod(rng.uniform(-6, 14))
    neck = spine @ np.array([0, -torso_length - 0.015, 0])
    head_center = spine @ np.array([0, -torso_length - rng.uniform(0.02, 0.045) - head_half, 0.015])

    turn = _bounded_normal(rng, 20, MAX_TURN)
    head_turn = np.clip(turn + _bounded_normal(rng, 14, 30), -MAX_HEAD_TURN, MAX_HEAD_TURN) - turn
    head = spine @ _turn(head_turn) @ _nod(rng.uniform(-12, 18)) @ _roll(_bounded_normal(rng, 6, 15))

    def on_head(x: float, y: float, z: float) -> np.ndarray:
        return head_center + head @ (np.array([x, y, z]) * head_radii)

    keypoints = np.zeros((17, 3))
    hands, toes = np.zeros((2, 3)), np.zeros((2, 3))
    keypoints[0] = on_head(0, 0.16, 1.0)
    first_arm = _choose(rng, ARM_POSES)
    arms = (first_arm, first_arm if rng.random() < 0.4 else _choose(rng, ARM_POSES))
    legs = _choose(rng, LEG_POSES)
    legs = legs[::-1] if rng.random() < 0.5 else legs
    for i, side in enumerate(SIDES):
        keypoints[1 + i] = on_head(0.38 * side, -0.10, 0.86)
        keypoints[3 + i] = on_head(1.02 * side, 0.02, -0.05)
        keypoints[5 + i] = spine @ np.array([side * shoulder_half, -torso_length, 0])
        keypoints[7 + i], keypoints[9 + i], along = _limb(rng, keypoints[5 + i], side, arm_lengths, arms[i])
        hands[i] = keypoints[9 + i] + 0.05 * along
        keypoints[11 + i] = (side * hip_half, 0, 0)
        keypoints[13 + i], keypoints[15 + i], along = _limb(
            rng, keypoints[11 + i], side, leg_lengths, legs[i]
        )
        toes[i] = keypoints[15 + i] + 0.03 * along + 0.075 * _direction(side, 80, rng.uniform(60, 90))

    # The camera looks down a little, so that limbs which point at it still show their length.
    view = _roll(_bounded_normal(rng, 7, 24)) @ _nod(rng.uniform(2, 16)) @ _turn(turn + 180 * back_view)
    return Body(
        keypoints=keypoints @ view.T,
        hands=hands @ view.T,
        toes=toes @ view.T,
        torso_axes=view @ spine,
        head_axes=view @ head,
        head_center=view @ head_center,
        head_radii=head_radii,
        neck=view @ neck,
        girth=rng.uniform(1.05, 1.45),
    )
