"""A contact sheet of records: the stored crops, what the network sees of them, and the annotation."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from hrpose.drawing import TILE_PAPER, contact_sheet, draw_skeleton, encode, keypoint_sides
from records.checking.verify import decode_crop
from records.errors import RecordsError
from records.geometry import compose_affine, transform_points
from records.manifest import Manifest
from records.schema import Record

TILE_SIZE = (240, 280)
COLUMNS = 6

FRAME_COLOR, BOX_COLOR = (255, 255, 255), (120, 220, 120)
OUTLINE = (20, 20, 20)
#: How much of the paper shines through where the network does not look without augmentation.
_FADE = 0.35
_BORDER = 6
_SUBPIXEL_BITS = 4


def write_sheet(path: Path, records: Sequence[Record], manifest: Manifest) -> Path:
    """Draws some records and writes the PNG.

    Args:
        path: of the file.
        records: good ones.
        manifest: of their folder.

    Returns:
        The path.

    Raises:
        RecordsError: if the file cannot be written.
    """
    skeleton = manifest.skeleton
    sides = keypoint_sides(skeleton.keypoints)
    tiles = [render_record(record, skeleton.limbs, sides) for record in records]
    captions = []
    for record in records:
        width, height = record["box"][2:]
        labeled = np.count_nonzero(record["keypoints"][:, 2])
        captions.append(f"{record['instance_id']}: {width:.0f}x{height:.0f} px, {labeled} keypoints")
    title = (
        f"{manifest.dataset} {manifest.split}, {len(records)} of {manifest.records:,} instances. "
        f"White: network input; green: box"
    )
    sheet = contact_sheet(tiles, captions, COLUMNS, TILE_SIZE, title)
    png = encode(sheet, ".png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png)
    except OSError as error:
        raise RecordsError(
            f"{path} cannot be written: {error.strerror or error}; --contact_sheet names another file, "
            "--num_images=0 renders none"
        ) from error
    return path


def render_record(
    record: Record,
    limbs: Sequence[tuple[int, int]],
    sides: Sequence[str],
    tile_size: tuple[int, int] = TILE_SIZE,
) -> npt.NDArray[np.uint8]:
    """The stored crop with the network-input frame, the instance's box and the labeled keypoints.

    Inside the frame the tile is what the network sees, black where the image ends; the rest is faded.

    Args:
        record: a good one.
        limbs, sides: see `hrpose.drawing.draw_skeleton`.
        tile_size: (width, height) in pixels that the crop and the frame shall fit into.

    Returns:
        (h, w, 3) RGB, no larger than `tile_size`.
    """
    stored = decode_crop(record["crop"])
    assert stored is not None  # what is no image is nobody's sample
    crop = cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)
    half = record["scale"] / 2
    frame_image = np.stack([record["center"] - half, record["center"] + half])
    frame_crop = transform_points(frame_image, record["crop_affine"])
    low = np.minimum(frame_crop[0], -0.5)
    high = np.maximum(frame_crop[1], (crop.shape[1] - 0.5, crop.shape[0] - 0.5))
    room = np.array(tile_size) - 2 * _BORDER
    factor = min(room / (high - low))
    size = np.rint((high - low) * factor).astype(int) + 2 * _BORDER
    crop_to_tile = np.concatenate([np.eye(2) * factor, (_BORDER - 0.5 - low * factor)[:, None]], axis=1)

    # The crop is resized on its own, since a warp that downscales would alias.
    scaled = np.maximum(1, np.rint(np.array([crop.shape[1], crop.shape[0]]) * factor)).astype(int)
    left, top = np.rint((-0.5 - low) * factor).astype(int) + _BORDER
    downscaled = cv2.resize(
        crop, scaled.tolist(), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    )
    tile = np.full((size[1], size[0], 3), TILE_PAPER, np.uint8)
    (x1, y1), (x2, y2) = np.rint((frame_crop - low) * factor).astype(int) + _BORDER
    tile[y1:y2, x1:x2] = 0
    part = tile[top : top + scaled[1], left : left + scaled[0]]
    part[:] = downscaled[: part.shape[0], : part.shape[1]]
    faded = np.rint((1 - _FADE) * tile + _FADE * np.array(TILE_PAPER)).astype(np.uint8)
    faded[y1:y2, x1:x2] = tile[y1:y2, x1:x2]
    tile = faded

    image_to_tile = compose_affine(crop_to_tile, record["crop_affine"])
    x, y, width, height = record["box"]
    _rectangle(tile, [[x, y], [x + width, y + height]], image_to_tile, BOX_COLOR)
    _rectangle(tile, frame_image, image_to_tile, FRAME_COLOR)
    keypoints = record["keypoints"]
    points_tile = transform_points(keypoints[:, :2], image_to_tile)
    on_tile = np.concatenate([points_tile, keypoints[:, 2:]], axis=1)
    return draw_skeleton(tile, on_tile, limbs, sides, threshold=0)


def _rectangle(
    tile: npt.NDArray[np.uint8],
    corners_image: npt.ArrayLike,
    image_to_tile: npt.NDArray[np.float64],
    color: tuple[int, int, int],
) -> None:
    """Draws a rectangle, given by two corners in image pixels, into the tile."""
    corners = transform_points(np.asarray(corners_image, np.float64), image_to_tile).clip(-1e5, 1e5)
    start, end = np.rint(corners * 2**_SUBPIXEL_BITS).astype(int).tolist()
    for line, thickness in ((OUTLINE, 3), (color, 1)):
        cv2.rectangle(tile, start, end, line, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
