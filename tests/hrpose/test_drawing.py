"""What is drawn, where, and in which color."""

import numpy as np
import pytest

from hrpose.drawing import (
    CAPTION_HEIGHT,
    MARGIN,
    PAPER,
    SIDE_COLORS,
    TITLE_HEIGHT,
    contact_sheet,
    draw_skeleton,
    keypoint_sides,
)

SIDES = ("left", "left", "right", "right", "center")
LIMBS = ((0, 1), (2, 3), (0, 2), (1, 4))
GRAY = np.full((120, 160, 3), 100, np.uint8)


def looks(pixel, side):
    """Whether the pixel has the side's color, but for antialiasing."""
    return np.abs(pixel.astype(int) - SIDE_COLORS[side]).max() < 30


def keypoints(score=0.9):
    points = [[20, 20], [20, 100], [140, 20], [140, 100], [80, 60]]
    return np.concatenate([points, np.full((5, 1), score)], axis=1)


def test_limbs_have_the_color_of_their_side():
    image = draw_skeleton(GRAY, keypoints(), LIMBS, SIDES)
    assert looks(image[60, 20], "left")
    assert looks(image[60, 140], "right")
    assert looks(image[20, 80], "center")  # from left to right
    assert looks(image[80, 50], "left")  # from left to center
    assert looks(image[60, 80], "center")  # the keypoint itself
    assert tuple(image[100, 80]) == (100, 100, 100)
    assert (GRAY == 100).all()


def test_hidden_and_broken_keypoints_take_their_limbs_with_them():
    points = keypoints()
    points[1, 2] = 0.2  # at the threshold, not above
    points[2, 0] = np.nan
    image = draw_skeleton(GRAY, points, LIMBS, SIDES, threshold=0.2)
    for x, y in ((20, 60), (20, 100), (140, 60), (80, 20), (50, 80)):
        assert tuple(image[y, x]) == (100, 100, 100), (x, y)
    assert looks(image[100, 140], "right")
    assert (draw_skeleton(GRAY, keypoints(0.1), LIMBS, SIDES) == GRAY).all()


def test_keypoints_far_outside_are_no_trouble():
    points = keypoints()
    points[3, 1] = 1e30
    image = draw_skeleton(GRAY, points, LIMBS, SIDES)
    assert looks(image[110, 140], "right")


def test_read_only_views_are_rendered_on_a_copy():
    view = np.broadcast_to(np.uint8(100), (3, 120, 160)).transpose(1, 2, 0)
    assert (
        draw_skeleton(view, keypoints(), LIMBS, SIDES) == draw_skeleton(GRAY, keypoints(), LIMBS, SIDES)
    ).all()


def test_sides_come_from_the_names():
    names = ("nose", "left_eye", "R_Wrist", "l_hip", "right_knee", "head_top", "lower_neck")
    assert keypoint_sides(names) == ("center", "left", "right", "left", "right", "center", "center")


def test_sheet_has_its_size_and_every_tile_its_place():
    tiles = [np.full((64, 48, 3), 40 * (n + 1), np.uint8) for n in range(5)]
    sheet = contact_sheet(tiles, [f"img {n}" for n in range(5)], columns=2, tile_size=(96, 128), title="Five")
    step_x, step_y = 96 + MARGIN, 128 + CAPTION_HEIGHT + MARGIN
    assert sheet.shape == (TITLE_HEIGHT + MARGIN + 3 * step_y, MARGIN + 2 * step_x, 3)
    assert sheet.dtype == np.uint8
    for number in range(5):
        x = MARGIN + number % 2 * step_x
        y = TITLE_HEIGHT + MARGIN + number // 2 * step_y
        assert (sheet[y : y + 128, x : x + 96] == 40 * (number + 1)).all()
        assert (sheet[y + 128 : y + 128 + CAPTION_HEIGHT, x : x + 96] < 128).any()  # the caption's ink
    untitled = contact_sheet(tiles, [""] * 5, columns=9, tile_size=(96, 128))
    assert untitled.shape == (MARGIN + step_y, MARGIN + 5 * step_x, 3)


def test_captions_and_title_stay_within_their_tiles():
    tiles = [np.full((128, 96, 3), 150, np.uint8)] * 4
    sheet = contact_sheet(tiles, ["gjpqy score .87 OKS .91 " * 9] * 4, 2, (96, 128), title="long title " * 20)
    paper = np.ones(sheet.shape[:2], bool)
    for x in (MARGIN, 96 + 2 * MARGIN):
        paper[TITLE_HEIGHT:, x : x + 96] = False
    paper[:TITLE_HEIGHT, MARGIN:-MARGIN] = False
    assert (sheet[paper] == PAPER).all()
    captions = sheet[TITLE_HEIGHT + MARGIN + 128 :][:CAPTION_HEIGHT, MARGIN : MARGIN + 96]
    assert (captions[[0, -1]] == PAPER).all()  # nothing cut off above or below
    assert (captions[:, -1] == PAPER).all()  # nor at the right, as the text ends in "..." before the edge
    assert (captions < 128).any()


def test_title_line_explains_the_colors():
    sheet = contact_sheet([GRAY] * 2, ["a", "b"], 2, (160, 120), title="Validation")
    title_line = sheet[:TITLE_HEIGHT].reshape(-1, 3)
    for side in ("left", "right"):
        assert (title_line == SIDE_COLORS[side]).all(axis=1).sum() > 100
    contact_sheet([GRAY], ["a"], 1, (20, 20), title="Too narrow for legend and title")


def test_tiles_of_other_shapes_keep_their_proportions():
    wide = np.full((10, 40, 3), 7, np.uint8)
    sheet = contact_sheet([wide], ["wide"], 1, (80, 100))
    tile = sheet[MARGIN : MARGIN + 100, MARGIN : MARGIN + 80]
    assert (tile[40:60] == 7).all()
    assert (tile[:40] != 7).all()
    assert (tile[60:] != 7).all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: draw_skeleton(GRAY.astype(float), keypoints(), LIMBS, SIDES), "^image: received float64"),
        (lambda: draw_skeleton(GRAY, keypoints(), LIMBS, SIDES[:3]), r"^keypoints: .* expected \(3, 3\)"),
        (lambda: contact_sheet([], [], 2, (96, 128)), "^tiles: received 0"),
        (lambda: contact_sheet([GRAY], [], 2, (96, 128)), "^tiles: received 1 with 0 captions"),
        (lambda: contact_sheet([GRAY], ["a"], 0, (96, 128)), "^columns: received 0"),
        (lambda: contact_sheet([GRAY[:, :, 0]], ["a"], 1, (96, 128)), r"^tiles\[0\]: .* shape \(120, 160\)"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
