"""The codec against the official code's targets and predictions, and its accuracy."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st

from model.codecs import CODECS, codec
from model.codecs.heatmaps import flip_back
from records.geometry import affine_to_input, invert_affine, transform_points
from tests.helpers.shared import shared_data

INPUT_SIZE, HEATMAP_SIZE = (192, 256), (48, 64)
MSRA = codec("msra", sigma=2)


def one_map(values):
    """(1, h, w, 1) float32 of a table."""
    return np.float32(values)[None, :, :, None]


def in_graph(function, shape):
    """The function compiled for any number of instances."""
    return tf.function(function, input_signature=[tf.TensorSpec([None, *shape], tf.float32)])


# ---- targets


@pytest.fixture(scope="module")
def targets():
    with np.load(shared_data("golden", "targets.npz")) as file:
        return dict(file)


@pytest.mark.parametrize(
    ("prefix", "input_size", "sigma"),
    [("c48x64_s2", (192, 256), 2), ("c72x96_s3", (288, 384), 3), ("c64x64_s2", (256, 256), 2)],
)
def test_targets_are_the_official_ones(prefix, input_size, sigma, targets):
    points, visible = targets[f"{prefix}_joints"], targets[f"{prefix}_vis"]
    keypoints = np.concatenate([points[..., :2], visible[..., :1]], axis=-1)
    heatmap_size = input_size[0] // 4, input_size[1] // 4
    heatmaps, weights = codec("msra", sigma).encode(keypoints, input_size, heatmap_size)
    expected = targets[f"{prefix}_target"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(heatmaps, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(weights, targets[f"{prefix}_weight"][..., 0])
    odd = targets[f"{prefix}_empty_but_weighted"]
    assert odd.any()
    np.testing.assert_array_equal(np.array(weights)[odd], 1)
    np.testing.assert_array_equal(np.array(heatmaps).max((1, 2))[odd], 0)


def test_an_unlabeled_keypoint_has_no_map_and_no_weight_and_any_visibility_counts_alike():
    heatmaps, weights = MSRA.encode(
        np.float32([[[96, 128, 0], [96, 128, 1], [96, 128, 2]]]), INPUT_SIZE, HEATMAP_SIZE
    )
    heatmaps = np.array(heatmaps)
    np.testing.assert_array_equal(weights, [[0, 1, 1]])
    assert not heatmaps[..., 0].any()
    np.testing.assert_array_equal(heatmaps[..., 1], heatmaps[..., 2])
    assert heatmaps[0, 32, 24, 1] == heatmaps[..., 1].max() == 1


def test_the_gaussian_is_cut_to_a_square_of_three_sigma():
    heatmaps, _ = MSRA.encode(np.float32([[[96, 128, 1]]]), INPUT_SIZE, HEATMAP_SIZE)
    y, x = np.mgrid[:64, :48]
    inside = (abs(x - 24) <= 6) & (abs(y - 32) <= 6)
    expected = np.where(inside, np.exp(-((x - 24) ** 2 + (y - 32) ** 2) / 8), 0)
    np.testing.assert_allclose(heatmaps[0, :, :, 0], expected, rtol=0, atol=1e-6)
    assert np.count_nonzero(heatmaps) == 13 * 13


@pytest.mark.parametrize(
    ("x", "y", "weight"),
    [(-400, 100, 0), (100, -400, 0), (600, 100, 0), (100, 700, 0), (-27, 100, 1), (100, 255, 1)],
)
def test_a_keypoint_whose_square_misses_the_map_has_no_weight(x, y, weight):
    heatmaps, weights = MSRA.encode(np.float32([[[x, y, 2]]]), INPUT_SIZE, HEATMAP_SIZE)
    assert float(weights[0, 0]) == weight
    assert np.any(heatmaps) == bool(weight)


@pytest.mark.parametrize("name", CODECS)
def test_coding_is_the_same_inside_a_graph_of_any_number_of_instances(name):
    ours = codec(name)
    rng = np.random.default_rng(0)
    keypoints = np.concatenate([rng.uniform(-30, 280, (3, 5, 2)), rng.integers(0, 3, (3, 5, 1))], axis=-1)
    maps = rng.normal(size=(3, 64, 48, 5)).astype("float32")
    encode_graph = in_graph(lambda k: ours.encode(k, INPUT_SIZE, HEATMAP_SIZE), (5, 3))
    decode_graph = in_graph(ours.decode, (64, 48, 5))
    for instances in (3, 1, 0):
        heatmaps, weights = ours.encode(np.float32(keypoints[:instances]), INPUT_SIZE, HEATMAP_SIZE)
        graph_heatmaps, graph_weights = encode_graph(np.float32(keypoints[:instances]))
        np.testing.assert_allclose(graph_heatmaps, heatmaps, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(graph_weights, weights)
        decoded = decode_graph(maps[:instances])
        assert decoded.shape == (instances, 5, 3)
        tolerance = 0 if name == "msra" else 1e-3  # of steps that noise makes ill-conditioned
        np.testing.assert_allclose(decoded, ours.decode(maps[:instances]), rtol=0, atol=tolerance)
    assert encode_graph.get_concrete_function().structured_outputs[0].shape == [None, 64, 48, 5]
    assert decode_graph.get_concrete_function().structured_outputs.shape == [None, 5, 3]


# ---- there and back


@given(u=st.floats(-0.4375, 47.4375, width=32), v=st.floats(-0.4375, 63.4375, width=32))
@example(u=23.5, v=30.5)
@example(u=0, v=63)
def test_what_is_encoded_comes_back_within_half_a_cell(u, v):
    """The bound of the method, in heatmap pixels and per axis.

    The target is centered on the whole cell c = floor(u + 0.5), so |u - c| <= 1/2; it is symmetric about c,
    so that both neighbors of the maximum are equal and no quarter step is made; what comes back is c itself.
    In network-input pixels that is 2 for a quarter-size heatmap.
    """
    keypoints = np.float32([[[4 * u, 4 * v, 1]]])
    heatmaps, weights = MSRA.encode(keypoints, INPUT_SIZE, HEATMAP_SIZE)
    x, y, score = np.array(MSRA.decode(heatmaps))[0, 0]
    assert (float(weights[0, 0]), score) == (1, 1)
    assert (x, y) == (np.floor(np.float32(u) + np.float32(0.5)), np.floor(np.float32(v) + np.float32(0.5)))
    assert max(abs(x - u), abs(y - v)) <= 0.5 + 1e-5


def test_half_a_cell_is_reached():
    heatmaps, _ = MSRA.encode(np.float32([[[4 * 23.5, 4 * 30.5, 1]]]), INPUT_SIZE, HEATMAP_SIZE)
    np.testing.assert_array_equal(MSRA.decode(heatmaps)[0, 0], [24, 31, 1])


@given(
    u=st.floats(2.5, 44.5), v=st.floats(2.5, 60.5), sigma=st.floats(1, 4), peak=st.floats(0.05, 2)
)  # fmt: skip
def test_a_gaussian_between_cells_comes_back_within_a_quarter_cell(u, v, sigma, peak):
    """What the quarter step is for: rounding alone is up to half a cell off, with the step it is a quarter.

    With u = c + d and 0 < d <= 1/2, cell c is the highest and c + 1 the higher neighbor, so the answer is
    c + 1/4, and |d - 1/4| <= 1/4; the other side likewise.
    """
    y, x = np.mgrid[:64, :48]
    heatmaps = one_map(peak * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * sigma**2)))
    decoded = np.array(MSRA.decode(heatmaps))[0, 0]
    # float32 cannot tell neighbors whose distances differ by less than about 1e-5.
    assert np.abs(decoded[:2] - [u, v]).max() <= 0.25 + 1e-5
    assert decoded[2] == heatmaps.max()


# ---- predictions


@pytest.fixture(scope="module")
def predictions():
    with np.load(shared_data("golden", "decode.npz")) as file:
        return dict(file)


def to_image(points_heatmap, center, scale, heatmap_size):
    """Heatmap pixels to image pixels; the official scale is in units of 200 pixels."""
    affine = affine_to_input(center, np.float64(scale) * 200, 0, heatmap_size)
    return transform_points(points_heatmap, invert_affine(affine))


@pytest.mark.parametrize("group", ["a", "b", "c", "d"])
def test_predictions_are_the_official_ones(group, predictions):
    case = {name[2:]: array for name, array in predictions.items() if name.startswith(f"{group}_")}
    height, width = case["heatmaps"].shape[2:]
    decoded = np.array(MSRA.decode(case["heatmaps"].transpose(0, 2, 3, 1)))
    cells = np.round(decoded[..., :2])
    np.testing.assert_array_equal(cells, case["max_preds"])
    np.testing.assert_array_equal(decoded[..., 2:], case["maxvals"])
    for points, name in ((decoded[..., :2], "final_preds"), (cells, "final_preds_no_post")):
        image = to_image(points, case["center"], case["scale"], (width, height))
        np.testing.assert_allclose(image, case[name], rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["coco", "mpii"])
def test_the_flip_test_is_the_official_one(name, predictions):
    case = {key.removeprefix(f"flip_{name}_"): array for key, array in predictions.items()}
    output, mirrored = (case[key].transpose(0, 2, 3, 1) for key in ("output", "output_flipped_input"))
    permutation = np.arange(output.shape[-1])
    for left, right in case["pairs"]:
        permutation[[left, right]] = right, left
    plain = flip_back(mirrored, permutation, shift=False)
    np.testing.assert_allclose(np.transpose(plain, (0, 3, 1, 2)), case["flip_back"], rtol=0, atol=1e-6)
    average = (output + np.array(MSRA.flip_back(mirrored, permutation))) / 2
    np.testing.assert_allclose(average.transpose(0, 3, 1, 2), case["average_shift"], rtol=0, atol=1e-6)
    for heatmaps, key in ((average, "all_preds_shift"), ((output + plain) / 2, "all_preds_noshift")):
        decoded = np.array(MSRA.decode(heatmaps))
        decoded[..., :2] = to_image(decoded[..., :2], case["center"], case["scale"], heatmaps.shape[2:0:-1])
        np.testing.assert_allclose(decoded, case[key], rtol=0, atol=1e-3)


def test_flipping_back_twice_is_nothing_but_the_shift():
    heatmaps = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype("float32")
    twice = flip_back(flip_back(heatmaps, [0, 2, 1], shift=False), [0, 2, 1], shift=True)
    np.testing.assert_array_equal(twice[:, :, 1:], heatmaps[:, :, :-1])
    np.testing.assert_array_equal(twice[:, :, 0], heatmaps[:, :, 0])


def test_the_first_of_equal_cells_row_by_row_wins():
    values = np.zeros((8, 8))
    values[5, 2] = values[3, 6] = values[3, 7] = 1
    np.testing.assert_array_equal(MSRA.decode(one_map(values))[0, 0], [6.25, 3, 1])
    np.testing.assert_array_equal(MSRA.decode(one_map(np.ones((4, 4))))[0, 0], [0, 0, 1])


@pytest.mark.parametrize("highest", [0, -1e-3])
def test_a_map_without_a_positive_value_gives_the_origin(highest):
    values = np.full((8, 8), -1.0)
    values[4, 5] = highest
    np.testing.assert_array_equal(MSRA.decode(one_map(values))[0, 0], np.float32([0, 0, highest]))


@pytest.mark.parametrize(
    ("column", "row", "moved"),
    [(1, 4, False), (2, 4, True), (5, 4, True), (6, 4, True), (7, 4, False), (4, 1, False)],
)
def test_the_quarter_step_is_left_out_in_the_outer_cells(column, row, moved):
    """As the official code has it: for 1 < x < w - 1, so column 1 is not moved and column w - 2 is."""
    values = np.zeros((8, 8))
    values[row, column] = 1
    values[row, max(column - 1, 0)], values[row - 1, column] = 0.5, 0.5
    step = 0.25 if moved else 0
    np.testing.assert_array_equal(MSRA.decode(one_map(values))[0, 0], [column - step, row - step, 1])


@pytest.mark.parametrize("name", ["gaussian", "standard", "", None])
def test_an_unknown_codec_is_refused_with_those_there_are(name):
    with pytest.raises(ValueError, match=rf"{name!r} is not available; available: msra, dark, udp"):
        codec(name)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize(
    ("sigma", "says"),
    [
        (0, "0; expected heatmap pixels from 0.1 to 100"),
        (-2.0, "-2.0"),
        (1e-300, "1e-300"),
        (float("nan"), "nan"),
        (None, "None"),
    ],
)
def test_a_codec_of_a_senseless_sigma_is_refused(name, sigma, says):
    with pytest.raises(ValueError, match=f"^sigma: received {says}"):
        codec(name, sigma)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("msra", {"keypoints_input": np.zeros((17, 3))}, r"keypoints_input: received shape \(17, 3\)"),
        ("msra", {"keypoints_input": np.zeros((1, 17, 2))}, r"keypoints_input: received shape \(1, 17, 2\)"),
        ("msra", {"heatmap_size": (0, 64)}, r"heatmap_size: received \(0, 64\)"),
        ("udp", {"input_size": (1, 1)}, r"input_size: received \(1, 1\)"),
    ],
)
def test_targets_without_a_sensible_reading_are_refused(name, change, says):
    good = {"keypoints_input": np.zeros((1, 17, 3), "f"), "input_size": (192, 256), "heatmap_size": (48, 64)}
    with pytest.raises(ValueError, match=f"^{says}"):
        codec(name).encode(*(good | change).values())


def test_maps_without_a_sensible_reading_are_refused():
    maps = np.zeros((2, 8, 6, 3), "f")
    with pytest.raises(ValueError, match=r"^heatmaps: received shape \(8, 6, 3\); expected \(any, any,"):
        MSRA.decode(maps[0])
    for permutation in ([0, 1], [0, 1, 1], [0, 1, 3], [0, 1, -1]):
        with pytest.raises(ValueError, match=r"^flip_permutation: .* each index from 0 to 2 once"):
            MSRA.flip_back(maps, permutation)
