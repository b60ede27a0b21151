"""Weights to start from: the whole backbone or nothing, the head where it fits, and a report."""

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from model.networks import NETWORKS
from model.official_weights import HRNET_HEAD as HEAD
from model.official_weights import load_state_dict, official_name, official_shapes
from model.run_folder import checkpoint_folder, save_checkpoint
from model.weight_import.initial_weights import (
    find_initial_weights,
    fit_backbone,
    head_size,
    load_initial_weights,
    network_of,
    summarize,
)
from model.weight_import.readers import WeightsError
from tests.helpers.networks import classifier_state, network, random_state

TINY = NETWORKS["w24_tiny"]


@pytest.fixture
def tiny():
    """A small network, its weights known."""
    model = network("w24_tiny")
    load_state_dict(model, random_state(model, seed=1))
    return model


@pytest.fixture(scope="module")
def state():
    return random_state(network("w24_tiny"), seed=2)


def snapshot(model):
    return {official_name(variable.path): variable.numpy().copy() for variable in model.variables}


def as_loaded(value):
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value


def check_backbone_is(model, state):
    for name, value in snapshot(model).items():
        if name not in HEAD:
            np.testing.assert_array_equal(value, as_loaded(state[name]), err_msg=name)


def test_shapes_by_official_name_are_pytorch_s(tiny):
    shapes = official_shapes(tiny)
    assert len(shapes) == len(tiny.variables)
    assert shapes["final_layer.weight"] == (17, 24, 1, 1)
    assert shapes["conv1.weight"] == (16, 3, 3, 3)
    assert shapes["bn1.running_var"] == (16,)


def test_a_pose_file_of_the_same_keypoints_gives_all(tmp_path, tiny, state):
    path = tmp_path / "pose.safetensors"
    save_file(state, path)
    fit = load_initial_weights(tiny, path, TINY)
    assert (fit.missing, fit.unused) == ((), ())
    for name, value in snapshot(tiny).items():
        np.testing.assert_array_equal(value, as_loaded(state[name]), err_msg=name)
    assert fit.report() == f"{len(state)} arrays used; head: from the file"


def test_a_classifier_gives_its_backbone_and_the_report_names_the_rest(tmp_path, tiny, state):
    path = tmp_path / "imagenet.safetensors"
    save_file(classifier_state(state), path)
    before = snapshot(tiny)
    fit = load_initial_weights(tiny, path, TINY)
    check_backbone_is(tiny, state)
    for name in HEAD:
        np.testing.assert_array_equal(snapshot(tiny)[name], before[name])
    assert fit.missing == HEAD
    assert fit.report().splitlines() == [
        f"{len(state) - 2} arrays used; head: as initialized (the file has none for keypoints)",
        "left out 25 arrays: classifier (2), downsamp_modules (9), final_layer (3), incre_modules (8), "
        "stage4.2.fuse_layers.1 (1), stage4.2.fuse_layers.2 (1), stage4.2.fuse_layers.3 (1)",
    ]


def test_a_head_for_other_keypoints_stays_out_and_both_shapes_are_named(tmp_path, tiny, state):
    other = state | {
        "final_layer.weight": np.ones((16, 24, 1, 1), "float32"),
        "final_layer.bias": np.ones(16, "f"),
    }
    path = tmp_path / "mpii.safetensors"
    save_file(other, path)
    before = snapshot(tiny)
    fit = load_initial_weights(tiny, path, TINY)
    check_backbone_is(tiny, state)
    for name in HEAD:
        np.testing.assert_array_equal(snapshot(tiny)[name], before[name])
    assert fit.missing == HEAD
    assert fit.unused == tuple(sorted(HEAD))
    assert (
        "head: as initialized (final_layer.weight is (16, 24, 1, 1), the network's (17, 24, 1, 1))"
        in fit.report()
    )


def test_a_run_on_other_keypoints_starts_from_a_checkpoint_of_ours(tmp_path, tiny):
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(tiny.trainable_variables)
    save_checkpoint(tmp_path, 3, 10, tiny, optimizer)
    fewer = network("w24_tiny", (64, 96), 14)
    fit = load_initial_weights(fewer, checkpoint_folder(tmp_path, 3), TINY)
    check_backbone_is(fewer, random_state(tiny, seed=1))
    assert fit.missing == HEAD


def test_half_a_head_is_no_head(tiny, state):
    without_bias = {name: value for name, value in state.items() if name != "final_layer.bias"}
    fit = fit_backbone(without_bias, official_shapes(tiny), HEAD)
    assert fit.missing == HEAD
    assert fit.unused == ("final_layer.weight",)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"stage4.1.branches.3.0.bn2.bias": None},
            r"weights.safetensors: no weights of this network: 1 of its \d+ .*stage4.1.branches.3.0.bn2.bias",
        ),
        (
            {"transition1.0.0.weight": np.ones((48, 64, 3, 3), "float32")},
            r"another network: transition1.0.0.weight .*\(48, 64, 3, 3\), .*'s has \(24, 64, 3, 3\)",
        ),
    ],
)
def test_a_backbone_that_does_not_fit_is_refused_and_changes_nothing(tmp_path, tiny, state, change, says):
    path = tmp_path / "weights.safetensors"
    save_file({n: value for n, value in {**state, **change}.items() if value is not None}, path)
    before = snapshot(tiny)
    with pytest.raises(WeightsError, match=says):
        load_initial_weights(tiny, path, TINY)
    for name, value in snapshot(tiny).items():
        np.testing.assert_array_equal(value, before[name])


def test_a_file_without_anything_of_an_hrnet_says_what_it_has(tiny):
    with pytest.raises(
        WeightsError, match=r"are missing, for example .*; the file has fc \(2\), layer9 \(1\)"
    ):
        fit_backbone(dict.fromkeys(["fc.weight", "fc.bias", "layer9.0.weight"]), official_shapes(tiny), HEAD)
    with pytest.raises(WeightsError, match="the file has nothing"):
        fit_backbone({}, official_shapes(tiny), HEAD)


def test_names_are_counted_by_part_and_fusions_by_their_target():
    names = [
        "bn1.weight",
        "stage4.2.fuse_layers.3.0.1.weight",
        "bn1.bias",
        "stage4.2.fuse_layers.3.1.1.weight",
    ]
    assert summarize(names) == "bn1 (2), stage4.2.fuse_layers.3 (2)"
    assert summarize(f"part{n}.weight" for n in range(30)).endswith("part15 (1) and 22 other parts")


# ---- which network, which file


def test_the_network_is_known_by_the_width_of_its_backbone(state):
    assert network_of(state) is TINY
    shapes = official_shapes(network("w24_tiny"))
    assert head_size(state, shapes, HEAD) == 17
    assert head_size(classifier_state(state), shapes, HEAD) == 0
    name = "stage2.0.branches.0.0.conv1.weight"
    for width in (30, 32, 48):
        assert network_of({name: np.ones((width, width, 3, 3))}) is NETWORKS[f"w{width}"]


@pytest.mark.parametrize("shape", [(18, 18, 3, 3), (0, 32), ()])
def test_a_width_that_no_network_here_has_is_refused_with_those_there_are(shape):
    with pytest.raises(
        WeightsError, match=r"widths of the networks here are 30 \(w30\), 32 \(w32\), 48 \(w48\)"
    ):
        network_of({"stage2.0.branches.0.0.conv1.weight": np.ones(shape)})


def test_weights_of_no_hrnet_have_no_network():
    with pytest.raises(WeightsError, match=r"no weights of a network here: .*the file has fc \(1\)"):
        network_of({"fc.weight": np.ones(3)})


def test_the_file_is_found_by_the_network_s_name_and_safetensors_are_preferred(tmp_path):
    assert find_initial_weights(tmp_path / "nowhere", "w32") is None
    for name in (
        "hrnet_w320.safetensors",
        "hrnet_w48.safetensors",
        "readme_hrnet_w32.safetensors",
        "hrnet_w32.txt",
    ):
        (tmp_path / name).touch()
    (tmp_path / "hrnet_w32_folder.safetensors").mkdir()
    assert find_initial_weights(tmp_path, "w32") is None
    pickled, safe = tmp_path / "hrnet_w32-36af842e.pth", tmp_path / "hrnet_w32.ms_in1k.safetensors"
    pickled.touch()
    assert find_initial_weights(tmp_path, "w32") == pickled
    safe.touch()
    assert find_initial_weights(tmp_path, "w32") == safe
    assert find_initial_weights(tmp_path, "w48") == tmp_path / "hrnet_w48.safetensors"


def test_several_files_for_a_network_are_named_and_none_is_guessed(tmp_path):
    for name in ("hrnet_w32.safetensors", "hrnet_w32_coco.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(
        WeightsError, match=r"several files for w32: hrnet_w32\.safetensors, hrnet_w32_coco\.safe"
    ):
        find_initial_weights(tmp_path, "w32")
