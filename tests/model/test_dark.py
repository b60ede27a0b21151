"""The codecs DARK and UDP: accuracy, what no heatmap can do to them, and their flip test."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from model.codecs import CODECS, codec
from model.codecs.refine import modulate
from records.geometry import affine_to_input, invert_affine, transform_points

INPUT_SIZE, HEATMAP_SIZE, SIGMA = (192, 256), (48, 64), 2

unquantized = pytest.mark.parametrize("method", ["dark", "udp"])


def one_map(values):
    """(1, h, w, 1) float32 of a table."""
    return np.float32(values)[None, :, :, None]


def on_heatmap(method, points, input_size=INPUT_SIZE, heatmap_size=HEATMAP_SIZE):
    """(N, K, 3) keypoints in network-input pixels, all visible, that lie at (N, K, 2) heatmap points."""
    points_input = np.float64(points) / codec(method).to_heatmap(input_size, heatmap_size)
    return np.concatenate([points_input, np.ones_like(points_input[..., :1])], axis=-1)


def test_a_heatmap_pixel_is_where_the_paper_of_each_method_has_it():
    for method in ("msra", "dark"):
        assert codec(method).to_heatmap((192, 256), (48, 64)) == (1 / 4, 1 / 4)
    assert codec("udp").to_heatmap((192, 256), (48, 64)) == (47 / 191, 63 / 255)
    assert tuple(CODECS) == ("msra", "dark", "udp")


@unquantized
@given(
    part=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    sigma=st.sampled_from([1, 1.5, 2, 3, 4]),
    sizes=st.sampled_from([((192, 256), (48, 64)), ((288, 384), (72, 96)), ((256, 256), (64, 64))]),
)
@example(part=(0, 0), sigma=4, sizes=(INPUT_SIZE, HEATMAP_SIZE))
def test_two_sigma_inside_a_keypoint_comes_back_to_a_twentieth_of_a_cell(method, part, sigma, sizes):
    input_size, heatmap_size = sizes
    point = 2 * sigma + np.multiply(part, np.subtract(heatmap_size, 1) - 4 * sigma)
    keypoints = on_heatmap(method, point[None, None], input_size, heatmap_size)
    heatmaps, weights = codec(method, sigma).encode(keypoints, input_size, heatmap_size)
    decoded = np.array(codec(method, sigma).decode(heatmaps))[0, 0]
    assert float(weights[0, 0]) == 1
    assert np.abs(decoded[:2] - point).max() <= 0.05
    assert decoded[2] == np.max(heatmaps)


@unquantized
@given(u=st.floats(6, 41), v=st.floats(6, 57))
def test_at_the_usual_sigma_a_hundredth_of_a_cell_is_reached(method, u, v):
    heatmaps, _ = codec(method, SIGMA).encode(on_heatmap(method, [[[u, v]]]), INPUT_SIZE, HEATMAP_SIZE)
    assert np.abs(np.array(codec(method).decode(heatmaps))[0, 0, :2] - [u, v]).max() <= 0.01


@unquantized
def test_targets_are_whole_gaussians_about_the_keypoint_itself(method):
    heatmaps, _ = codec(method, SIGMA).encode(on_heatmap(method, [[[20.3, 31.6]]]), INPUT_SIZE, HEATMAP_SIZE)
    y, x = np.mgrid[:64, :48]
    expected = np.exp(-((x - 20.3) ** 2 + (y - 31.6) ** 2) / 8)
    np.testing.assert_allclose(heatmaps[0, :, :, 0], expected, rtol=0, atol=1e-5)


@unquantized
@pytest.mark.parametrize(
    ("point", "weight"),
    [((-6.1, 30), 0), ((-5.9, 30), 1), ((20, 70.1), 0), ((20, 69.9), 1), ((54.1, 30), 0), ((20, -6.1), 0)],
)
def test_a_keypoint_three_sigma_outside_has_no_weight(method, point, weight):
    heatmaps, weights = codec(method, SIGMA).encode(on_heatmap(method, [[point]]), INPUT_SIZE, HEATMAP_SIZE)
    assert float(weights[0, 0]) == weight
    assert np.any(heatmaps) == bool(weight)


@unquantized
@given(
    u=st.floats(12, 35), v=st.floats(12, 51), peak=st.floats(0.05, 2),
    long=st.floats(1.5, 3), short=st.floats(1, 1.5), tilt=st.floats(0, np.pi),
)  # fmt: skip
def test_the_summit_of_a_tilted_gaussian_is_found(method, u, v, peak, long, short, tilt):
    """The off-diagonal of the Hessian counts: without it a tilted one would be missed by half a cell."""
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    precision = turn @ np.diag([long**-2, short**-2]) @ turn.T
    y, x = np.mgrid[:64, :48]
    away = np.stack([x - u, y - v], axis=-1)
    heatmaps = one_map(peak * np.exp(-0.5 * np.einsum("hwi,ij,hwj->hw", away, precision, away)))
    decoded = np.array(codec(method).decode(heatmaps))[0, 0]
    assert np.abs(decoded[:2] - [u, v]).max() <= 0.01
    assert decoded[2] == heatmaps.max()


@pytest.mark.parametrize(("sigma", "cells"), [(2, 11), (3, 17), (0.3, 3)])
def test_modulation_is_a_gaussian_filter_of_the_authors_size(sigma, cells):
    maps = np.random.default_rng(0).normal(size=(2, 24, 20, 3)).astype("float32")
    expected = gaussian_filter(maps, sigma, axes=(1, 2), mode="constant", radius=cells // 2)
    np.testing.assert_allclose(modulate(maps, sigma), expected, rtol=0, atol=1e-6)


@unquantized
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["noise", "steps", "flat", "negative", "line"]))
def test_no_map_moves_a_keypoint_further_than_two_cells(method, seed, kind):
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(2, 16, 12, 3)).astype("float32")
    if kind == "steps":
        maps = np.round(maps)
    elif kind == "flat":
        maps[:] = rng.uniform(0, 1)
    elif kind == "negative":
        maps = -np.abs(maps)
    elif kind == "line":
        maps[:] = (np.arange(12) == 5)[None, None, :, None]
    decoded, cells = np.array(codec(method).decode(maps)), np.array(codec("msra").decode(maps))
    assert np.isfinite(decoded).all()
    step = np.linalg.norm(decoded[..., :2] - np.round(cells[..., :2]), axis=-1)
    assert step.max() <= 2 + 1e-5
    np.testing.assert_array_equal(decoded[..., 2], cells[..., 2])


@unquantized
@pytest.mark.parametrize(("column", "moved"), [(1, False), (2, True), (9, True), (10, False)])
def test_within_two_cells_of_the_border_the_cell_itself_is_taken(method, column, moved):
    x = np.arange(12)
    row = np.exp(-((x - column - 0.3) ** 2) / 8)
    maps = one_map(row[None] * np.exp(-((np.arange(16)[:, None] - 8) ** 2) / 8))
    assert (float(codec(method).decode(maps)[0, 0, 0]) != column) == moved


@pytest.mark.parametrize(
    ("method", "left_over"), [("msra", None), ("dark", 0.25), ("udp", 0.0)]
)  # fmt: skip
def test_the_flip_test_lines_the_two_images_up_as_well_as_the_method_allows(method, left_over):
    """A network that is right about image and mirror image: how far apart are its two answers?

    Counting pixels they are 0.75 cells apart and the shift makes that a quarter; rounding to cells, which
    "msra" does, makes it anything up to that.
    """
    u = np.linspace(10, 37, 50)
    keypoints = on_heatmap(method, np.stack([u, 0 * u + 30], axis=-1)[:, None])
    mirrored = keypoints * [-1, 1, 1] + [INPUT_SIZE[0] - 1, 0, 0]
    maps, mirrored_maps = (
        codec(method, SIGMA).encode(points, INPUT_SIZE, HEATMAP_SIZE)[0] for points in (keypoints, mirrored)
    )
    back = codec(method).flip_back(mirrored_maps, [0])
    apart = np.array(codec(method).decode(back))[:, 0, 0] - np.array(codec(method).decode(maps))[:, 0, 0]
    if left_over is None:
        assert np.abs(apart.mean() - 0.25) < 0.05
    else:
        np.testing.assert_allclose(apart, left_over, rtol=0, atol=5e-3)
    if method == "udp":
        np.testing.assert_allclose(back, maps, rtol=0, atol=1e-5)


@given(seed=st.integers(0, 2**32 - 1), method=st.sampled_from([*CODECS]))
def test_a_point_of_the_image_comes_back_through_all_maps_of_its_method(seed, method):
    rng = np.random.default_rng(seed)
    center, width = rng.uniform(0, 500, 2), rng.uniform(30, 600)
    scale = np.array([width, width * 4 / 3])
    point = center + scale * rng.uniform(-0.35, 0.35, 2)
    unbiased = codec(method).unbiased
    to_input, to_heatmap = (
        affine_to_input(center, scale, 0, size, unbiased=unbiased) for size in (INPUT_SIZE, HEATMAP_SIZE)
    )
    keypoints = np.append(transform_points([point], to_input)[0], 1)[None, None]
    heatmaps, _ = codec(method, SIGMA).encode(keypoints, INPUT_SIZE, HEATMAP_SIZE)
    decoded = np.array(codec(method).decode(heatmaps))[0, :, :2]
    received = transform_points(decoded, invert_affine(to_heatmap))[0]
    cell = width / HEATMAP_SIZE[0]
    assert np.abs(received - point).max() <= (0.501 if method == "msra" else 0.02) * cell
