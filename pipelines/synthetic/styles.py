"""What the people of the synthetic dataset wear and look like."""

from dataclasses import dataclass

import numpy as np

from pipelines.synthetic.shapes import Color, random_color

SKIN_TONES = (
    (198, 219, 246),
    (163, 193, 232),
    (125, 165, 214),
    (90, 130, 185),
    (60, 92, 141),
    (42, 62, 96),
)  # BGR
MIN_HAIR_CONTRAST = 40  # in mean brightness, between hair and skin
HAIR_TONES = ((28, 24, 22), (36, 48, 70), (50, 80, 125), (110, 170, 215), (50, 70, 150), (165, 165, 165))


@dataclass(frozen=True)
class Style:
    """What a person wears and looks like. Colors are BGR, 0 to 255."""

    skin: Color
    hair: Color
    shirt: Color
    accent: Color
    trousers: Color
    shoes: Color
    bag: Color
    long_hair: bool
    long_sleeves: bool
    shorts: bool
    backpack: bool
    front: str  # what the shirt's front carries: "logo", "buttons" or "plain"
    pattern: str  # of the whole shirt: "plain", "hoops", "stripes", "plaid" or "two-tone"


def random_style(rng: np.random.Generator) -> Style:
    """Clothes, skin and hair of one person."""
    skin = np.array(SKIN_TONES[rng.integers(len(SKIN_TONES))]) * rng.uniform(0.92, 1.04)
    bald = rng.random() < 0.04
    # The back of a head must not look like a face at a distance.
    tones = [tone for tone in HAIR_TONES if abs(np.mean(tone) - skin.mean()) > MIN_HAIR_CONTRAST]
    hair = skin * 0.93 if bald else np.array(tones[rng.integers(len(tones))]) * rng.uniform(0.85, 1.1)
    return Style(
        skin=tuple(np.clip(skin, 0, 255)),
        hair=tuple(np.clip(hair, 0, 255)),
        **{name: random_color(rng) for name in ("shirt", "accent", "trousers", "shoes", "bag")},
        long_hair=not bald and rng.random() < 0.35,
        long_sleeves=rng.random() < 0.5,
        shorts=rng.random() < 0.3,
        backpack=rng.random() < 0.15,
        front=str(rng.choice(["logo", "buttons", "plain"], p=[0.4, 0.4, 0.2])),
        pattern=str(
            rng.choice(["plain", "hoops", "stripes", "plaid", "two-tone"], p=[0.5, 0.15, 0.1, 0.1, 0.15])
        ),
    )
