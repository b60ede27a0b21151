"""Images of predicted instances: a skeleton over a crop, and a sheet of such crops with captions.

Pure functions of arrays; nothing here knows about datasets or models. Images are (h, w, 3) uint8 RGB.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from hrpose.command import CommandError

SIDE_COLORS = {"left": (86, 180, 233), "right": (230, 159, 0), "center": (240, 240, 240)}
"""RGB of the instance's own left and right: the sky blue and orange of Okabe and Ito's palette (2008), which
people with any common color blindness tell apart, and a near-white for what is in the middle."""

OUTLINE = (20, 20, 20)
PAPER, INK = (255, 255, 255), (32, 32, 32)
TILE_PAPER = (228, 228, 228)

FONT = cv2.FONT_HERSHEY_SIMPLEX
MARGIN = 12
CAPTION_HEIGHT = 22
CAPTION_SCALE, SMALLEST_SCALE = 0.45, 0.38
TITLE_HEIGHT, TITLE_SCALE = 40, 0.65

SUBPIXEL_BITS = 4  # OpenCV draws at fixed-point coordinates; 4 bits are sixteenths of a pixel
FAR = 1e5  # pixels; keypoints farther out are drawn from here, well inside OpenCV's integers


def keypoint_sides(names: Sequence[str]) -> tuple[str, ...]:
    """The side of each keypoint by its name, as the skeletons spell it: ("nose", "l_hip") -> ("center",
    "left").

    Args:
        names: keypoint names; ``left_``, ``l_``, ``right_`` and ``r_`` in front tell the side.

    Returns:
        "left", "right" or "center" for each.
    """
    prefixes = {"left": "left", "l": "left", "right": "right", "r": "right"}
    return tuple(prefixes.get(name.lower().split("_")[0], "center") for name in names)


def draw_skeleton(
    image: npt.NDArray[np.uint8],
    keypoints: npt.ArrayLike,
    limbs: Sequence[tuple[int, int]],
    sides: Sequence[str],
    threshold: float = 0.2,
) -> npt.NDArray[np.uint8]:
    """A copy of the image with the skeleton over it, outlined so that it shows on any background.

    A limb has the color of its side, and the center's where it joins two sides (such as the shoulders).

    Args:
        image: (h, w, 3) RGB.
        keypoints: (K, 3) x and y in pixels of this image, and score or visibility.
        limbs: (i, j), keypoint indices.
        sides: K of them, see `keypoint_sides`.
        threshold: keypoints with a score above it are drawn, and limbs between two of them. Keypoints that
            are not finite are left out.

    Returns:
        (h, w, 3) RGB.

    Raises:
        ValueError: on an image of another kind, or keypoints and sides that do not match.
    """
    _check_image("image", image)
    keypoints = np.asarray(keypoints, np.float64)
    if keypoints.ndim != 2 or keypoints.shape[1] != 3 or len(keypoints) != len(sides):
        raise ValueError(
            f"keypoints: received shape {keypoints.shape}; expected ({len(sides)}, 3), one per side"
        )

    shown = np.isfinite(keypoints).all(axis=1) & (keypoints[:, 2] > threshold)
    points = np.nan_to_num(keypoints[:, :2]).clip(-FAR, FAR)
    points = np.rint(points * 2**SUBPIXEL_BITS).astype(int).tolist()
    line = max(2, round(max(image.shape[:2]) / 130))

    canvas = np.ascontiguousarray(image).copy()
    lines = [
        (points[i], points[j], SIDE_COLORS[_limb_side(sides[i], sides[j])])
        for i, j in limbs
        if shown[i] and shown[j]
    ]
    dots = [(points[k], SIDE_COLORS[sides[k]]) for k in np.flatnonzero(shown).tolist()]
    # All outlines before all colors, so that no limb's outline cuts through another limb.
    for start, end, _ in lines:
        cv2.line(canvas, start, end, OUTLINE, line + 2, cv2.LINE_AA, SUBPIXEL_BITS)
    for start, end, color in lines:
        cv2.line(canvas, start, end, color, line, cv2.LINE_AA, SUBPIXEL_BITS)
    for center, color in dots:
        radius = int((line + 1) * 2**SUBPIXEL_BITS)
        cv2.circle(canvas, center, radius + 2**SUBPIXEL_BITS, OUTLINE, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)
        cv2.circle(canvas, center, radius, color, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)
    return canvas


def contact_sheet(
    tiles: Sequence[npt.NDArray[np.uint8]],
    captions: Sequence[str],
    columns: int,
    tile_size: tuple[int, int],
    title: str | None = None,
) -> npt.NDArray[np.uint8]:
    """One image of all tiles in rows, a caption under each, and a title line with the legend of the colors.

    Args:
        tiles: (h, w, 3) RGB images of any size; each is scaled to fit and centered in its place.
        captions: as many short texts, such as "img 123  score .87  OKS .91". Text too long for its
            tile is set smaller and, if that is not enough, cut with "...". ASCII only; the rest becomes "?".
        columns: >= 1, tiles per row; fewer tiles make a narrower sheet.
        tile_size: (width, height) in pixels of a tile without its caption.
        title: text over the tiles; None: no title line and no legend.

    Returns:
        (H, W, 3) RGB.

    Raises:
        ValueError: without tiles, or when tiles and captions do not match.
    """
    if not tiles or len(tiles) != len(captions):
        raise ValueError(
            f"tiles: received {len(tiles)} with {len(captions)} captions; expected as many, and any"
        )
    if columns < 1:
        raise ValueError(f"columns: received {columns}; expected at least 1")
    for number, tile in enumerate(tiles):
        _check_image(f"tiles[{number}]", tile)

    width, height = tile_size
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    top = MARGIN if title is None else TITLE_HEIGHT + MARGIN
    step_x, step_y = width + MARGIN, height + CAPTION_HEIGHT + MARGIN
    sheet = np.full((top + rows * step_y, MARGIN + columns * step_x, 3), PAPER, np.uint8)

    if title is not None:
        sheet[:TITLE_HEIGHT] = _title_line(title, sheet.shape[1])
    for number, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        x = MARGIN + number % columns * step_x
        y = top + number // columns * step_y
        sheet[y : y + height, x : x + width] = _fit(tile, width, height)
        sheet[y + height : y + height + CAPTION_HEIGHT, x : x + width] = _text_line(
            caption, width, CAPTION_HEIGHT, CAPTION_SCALE
        )
    return sheet


def _limb_side(first: str, second: str) -> str:
    """The side of a limb: that of both keypoints, of the one that is not in the center, or else the
    center.
    """
    if first == "center":
        return second
    return first if second in (first, "center") else "center"


def _check_image(name: str, image: npt.NDArray[np.uint8]) -> None:
    received = (getattr(image, "dtype", type(image).__name__), np.shape(image))
    if received[0] != np.uint8 or len(received[1]) != 3 or received[1][2] != 3 or 0 in received[1]:
        raise ValueError(
            f"{name}: received {received[0]} of shape {received[1]}; expected uint8 (h, w, 3) RGB"
        )


def _fit(tile: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """The tile scaled to fit (height, width), centered on a plain ground."""
    scale = min(width / tile.shape[1], height / tile.shape[0])
    size = (max(1, round(tile.shape[1] * scale)), max(1, round(tile.shape[0] * scale)))
    scaled = cv2.resize(tile, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    placed = np.full((height, width, 3), TILE_PAPER, np.uint8)
    x, y = (width - size[0]) // 2, (height - size[1]) // 2
    placed[y : y + size[1], x : x + size[0]] = scaled
    return placed


def _text_line(text: str, width: int, height: int, scale: float) -> npt.NDArray[np.uint8]:
    """(height, width, 3): the text on paper, from the left and centered in height, made to fit."""
    text, scale = _fitting_text(text, width, scale)
    line = np.full((height, width, 3), PAPER, np.uint8)
    baseline = (height + _text_size("0", scale)[1]) // 2
    cv2.putText(line, text, (0, baseline), FONT, scale, INK, 1, cv2.LINE_AA)
    return line


def _fitting_text(text: str, width: int, scale: float) -> tuple[str, float]:
    """(text, scale) that fit the width in pixels: first smaller, then shorter."""
    text = text.encode("ascii", "replace").decode()
    scale = max(SMALLEST_SCALE, min(scale, scale * width / max(1, _text_size(text, scale)[0])))
    kept = text
    while kept and _text_size(text, scale)[0] > width:
        kept = kept[:-1]
        text = kept.rstrip() + "..."
    return text, scale


def _text_size(text: str, scale: float) -> tuple[int, int]:
    """(width, height) in pixels."""
    (width, height), _ = cv2.getTextSize(text, FONT, scale, 1)
    return width, height


def _title_line(title: str, width: int) -> npt.NDArray[np.uint8]:
    """(TITLE_HEIGHT, width, 3): the title at the left, what the colors mean at the right."""
    line = np.full((TITLE_HEIGHT, width, 3), PAPER, np.uint8)
    middle, swatch = TITLE_HEIGHT // 2, 14
    right = width - MARGIN
    for side in ("right", "left"):  # from the right edge inwards
        label = _text_line(side, _text_size(side, CAPTION_SCALE)[0] + 2, CAPTION_HEIGHT, CAPTION_SCALE)
        x = right - label.shape[1]
        if x - swatch - 6 < MARGIN:
            break  # a sheet too narrow for the legend
        top = middle - CAPTION_HEIGHT // 2
        line[top : top + CAPTION_HEIGHT, x:right] = label
        corner = (x - swatch - 6, middle - swatch // 2)
        cv2.rectangle(line, (*corner, swatch, swatch), SIDE_COLORS[side], cv2.FILLED)
        cv2.rectangle(line, (*corner, swatch, swatch), OUTLINE, 1)
        right = corner[0] - MARGIN
    room = right - MARGIN
    if room > 0:
        line[:, MARGIN:right] = _text_line(title, room, TITLE_HEIGHT, TITLE_SCALE)
    return line


def encode(image: npt.NDArray[np.uint8], ending: str, quality: int = 95) -> bytes:
    """The bytes of an image's file.

    Args:
        image: (h, w, 3) RGB.
        ending: ".png" or ".jpg".
        quality: of a JPEG, 1 to 100; the default is OpenCV's.

    Raises:
        CommandError: if the format has no room for it: a JPEG has at most 65,535 pixels a side.
    """
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality] if ending == ".jpg" else []
    try:
        encoded, content = cv2.imencode(ending, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)
    except cv2.error:
        encoded = False
    if not encoded:
        raise CommandError(f"OpenCV could not encode an image of shape {image.shape}")
    return content.tobytes()
