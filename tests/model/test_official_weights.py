"""Official weights, by the official names."""

import numpy as np
import pytest

from model.official_weights import load_state_dict, official_name
from tests.helpers.networks import PUBLISHED, network, official_state, published, random_state

HEAD = "final_layer.weight"


def official_names(model):
    return [official_name(variable.path) for variable in model.variables]


def snapshot(model):
    return {official_name(variable.path): variable.numpy().copy() for variable in model.variables}


def check_equal(before, after):
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)


@pytest.fixture
def model():
    """A small network, its weights known."""
    model = network("w24_tiny")
    load_state_dict(model, random_state(model, seed=1))
    return model


@pytest.mark.parametrize(
    "case",
    [("w24_tiny",), *(pytest.param(case[:3], marks=pytest.mark.slow) for case in PUBLISHED.values())],
    ids=str,
)
def test_every_variable_has_an_official_name_of_its_own(case):
    names = official_names(network(*case))
    assert len(set(names)) == len(names) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_variables_are_one_to_one_the_entries_of_the_official_state(name):
    expected = {
        entry: tuple(np.array(shape)[[2, 3, 1, 0]]) if len(shape) == 4 else tuple(shape)
        for entry, shape in official_state(name)
        if not entry.endswith("num_batches_tracked")
    }
    variables = published(name).variables
    assert len(variables) == len(expected)
    assert {official_name(variable.path): tuple(variable.shape) for variable in variables} == expected


def test_the_small_network_uses_the_official_names_too():
    names = {name for name, _ in official_state("w32_256x192_j17")}
    assert set(official_names(network("w24_tiny"))) < names


@pytest.mark.parametrize(
    "path", ["dense/kernel", "stage2.module0.branch1.block3.conv2x/kernel", "stem.conv/kernel"]
)
def test_a_variable_of_another_network_has_no_official_name(path):
    with pytest.raises(ValueError, match=f"'{path}' is not the name of a variable of the network"):
        official_name(path)


def test_weights_arrive_with_convolutions_transposed(model):
    state = random_state(model)
    state["bn1.num_batches_tracked"] = np.int64(7)
    assert load_state_dict(model, state) == ([], [])
    loaded = snapshot(model)
    kernel = loaded["layer1.0.conv2.weight"]
    assert kernel[0, 2, 3, 4] == state["layer1.0.conv2.weight"][4, 3, 0, 2]
    np.testing.assert_array_equal(loaded["bn2.running_var"], state["bn2.running_var"])
    np.testing.assert_array_equal(loaded["bn2.weight"], model.get_layer("stem.bn2").gamma)


def test_a_missing_entry_is_named_and_nothing_changes(model):
    before, state = snapshot(model), random_state(model)
    del state[HEAD]
    with pytest.raises(ValueError, match=rf"1 not found \['{HEAD}'\], 0 not used .*strict=False"):
        load_state_dict(model, state)
    check_equal(before, snapshot(model))


def test_an_unused_entry_is_named_and_nothing_changes(model):
    before, state = snapshot(model), random_state(model)
    state["classifier.weight"] = np.zeros((1000, 2048))
    with pytest.raises(ValueError, match=r"0 not found \[\], 1 not used \['classifier.weight'\]"):
        load_state_dict(model, state)
    check_equal(before, snapshot(model))


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        # The head of another skeleton; the last variable, so that all others had been read before.
        (
            HEAD,
            (16, 24, 1, 1),
            r"final_layer.weight .*\(1, 1, 24, 16\).* head.conv/kernel .*\(1, 1, 24, 17\)",
        ),
        ("bn1.bias", (64,), r"bn1.bias .*\(64,\).* stem.bn1/beta has \(16,\)"),
    ],
)
def test_a_clash_names_both_shapes_and_changes_nothing(model, strict, name, shape, says):
    before, state = snapshot(model), random_state(model)
    state[name] = np.zeros(shape)
    with pytest.raises(ValueError, match=says):
        load_state_dict(model, state, strict=strict)
    check_equal(before, snapshot(model))


def test_not_strict_loads_what_fits_and_tells_the_rest(model):
    before, state = snapshot(model), random_state(model)
    del state[HEAD]
    state["classifier.weight"] = np.zeros(3)
    assert load_state_dict(model, state, strict=False) == ([HEAD], ["classifier.weight"])
    after = snapshot(model)
    np.testing.assert_array_equal(after.pop(HEAD), before[HEAD])
    for name, value in after.items():
        loaded = state[name].transpose(2, 3, 1, 0) if value.ndim == 4 else state[name]
        np.testing.assert_array_equal(value, loaded, err_msg=name)
