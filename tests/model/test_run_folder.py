"""The run folder: configuration and checkpoints."""

import errno
import json
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.best_epoch import BEST, read_best, write_best
from model.codecs import codec
from model.networks import NETWORKS
from model.run_config import (
    CONFIG,
    CONFIG_VERSION,
    RunConfig,
    read_config,
    read_known_config,
    write_config,
)
from model.run_folder import (
    DamagedCheckpointError,
    Progress,
    RunError,
    checkpoint_folder,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
    saved_epochs,
    saved_progress,
    write_checkpoint,
)
from model.weight_choice import best_epoch, choose_epoch, parse_epoch
from records.skeletons import COCO, Skeleton

CONFIGURATION = RunConfig(
    dataset="coco",
    records="0123abcd",
    skeleton=COCO.to_json(),
    model="w32",
    input_size=(192, 256),
    codec="msra",
    sigma=2.0,
    recipe={"batch_size": 32, "lr_steps": [170, 200], "seed": 0},
)


def make_model(units=3):
    """A tiny model with its optimizer, two updates old, and a 0-d variable beside Adam's own."""
    image = keras.Input((4,))
    normed = keras.layers.BatchNormalization(name="norm")(keras.layers.Dense(units, name="dense")(image))
    model = keras.Model(image, normed)
    optimizer = keras.optimizers.Adam(0.01, name="adam")  # otherwise a second one is "adam_1"
    optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(units)
    for _ in range(2):
        gradients = [
            rng.normal(size=variable.shape).astype("float32") for variable in model.trainable_variables
        ]
        optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in gradients])
    for variable in model.non_trainable_variables:
        variable.assign(rng.uniform(1, 2, variable.shape))
    return model, optimizer


def values(*keras_objects):
    return {variable.path: variable.numpy() for object_ in keras_objects for variable in object_.variables}


@pytest.fixture
def saved(tmp_path):
    """(folder with epoch 7 in it, its model, its optimizer)."""
    model, optimizer = make_model()
    save_checkpoint(tmp_path, 7, 1234, model, optimizer)
    return tmp_path, model, optimizer


# ---- the configuration


def test_a_configuration_comes_back_as_it_was_written(tmp_path):
    write_config(tmp_path, CONFIGURATION)
    read = read_config(tmp_path)
    assert read == CONFIGURATION
    assert isinstance(read.input_size, tuple)
    assert [path.name for path in tmp_path.iterdir()] == [CONFIG]


def test_a_configuration_knows_the_size_of_its_heatmaps_and_k():
    assert CONFIGURATION.heatmap_size == (48, 64)
    assert CONFIGURATION.num_keypoints == 17


def test_differences_name_every_setting_with_both_values():
    other = replace(
        CONFIGURATION,
        model="w48",
        input_size=(288, 384),
        skeleton=COCO.to_json() | {"name": "mpii"},
        recipe={"batch_size": 16, "lr_steps": (170, 200), "workers": 2},
    )
    assert sorted(CONFIGURATION.differences(other)) == [
        "batch_size: 32 → 16",
        "input_size: [192, 256] → [288, 384]",
        "model: w32 → w48",
        "seed: 0 → None",
        "skeleton: coco → mpii",
        "workers: None → 2",
    ]


def test_a_configuration_does_not_differ_from_its_copy_on_disk(tmp_path):
    config = replace(CONFIGURATION, recipe={"lr_steps": (170, 200)})
    write_config(tmp_path, config)
    assert config.differences(read_config(tmp_path)) == []


def test_a_configuration_that_cannot_be_saved_leaves_the_one_before_it(tmp_path, monkeypatch):
    write_config(tmp_path, CONFIGURATION)

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("hrpose.atomic_files.os.fsync", full_disk)
    with pytest.raises(RunError, match=r"config.json could not be saved: no space .* are intact"):
        write_config(tmp_path, replace(CONFIGURATION, sigma=3.0))
    assert read_config(tmp_path) == CONFIGURATION
    assert [path.name for path in tmp_path.iterdir()] == [CONFIG]


def test_a_run_of_the_first_version_is_read_in_today_s_words(tmp_path):
    config = replace(CONFIGURATION, recipe={"seed": 0, "gradient_accumulation_steps": 2})
    old = asdict(config) | {"codec": "standard", "recipe": {"seed": 0, "accumulate": 2}}
    (tmp_path / CONFIG).write_text(json.dumps(old))
    assert read_known_config(tmp_path) == replace(config, records="")
    write_config(tmp_path, read_config(tmp_path))
    assert json.loads((tmp_path / CONFIG).read_text())["codec"] == "msra"
    (tmp_path / CONFIG).write_text(json.dumps(old | {"version": CONFIG_VERSION}))
    with pytest.raises(RunError, match=r"of the codec 'standard'; there are msra, dark, udp"):
        read_known_config(tmp_path)


@pytest.mark.parametrize(
    ("version", "says"),
    [
        (CONFIG_VERSION + 1, r"is of version \d+, which a later HRPose wrote; this one reads up to \d"),
        (0, "version should be a number, received 0"),
        ("2", "version should be a number, received '2'"),
        (None, "version should be a number, received None"),
    ],
)
def test_a_configuration_of_another_version_is_named(tmp_path, version, says):
    (tmp_path / CONFIG).write_text(json.dumps(asdict(CONFIGURATION) | {"version": version}))
    with pytest.raises(RunError, match=f"config.json is not a run configuration .*{says}"):
        read_config(tmp_path)


def test_a_folder_without_a_run_says_what_starts_one(tmp_path):
    with pytest.raises(RunError, match=r"no run in .*config.json is missing.*train/main.py"):
        read_config(tmp_path)


def test_checkpoints_without_a_configuration_are_not_told_to_start_a_run(saved):
    with pytest.raises(RunError, match=r"config.json is missing, though there are .* epoch 7\); .* copy it"):
        read_config(saved[0])


def test_a_configuration_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / CONFIG).mkdir()
    with pytest.raises(RunError, match=r"config.json cannot be read: Is a directory$"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        "null",
        json.dumps({"dataset": "coco"}),
        json.dumps(vars(CONFIGURATION) | {"input_size": 5}),
        json.dumps(vars(CONFIGURATION) | {"input_size": [0, 0]}),
        json.dumps(vars(CONFIGURATION) | {"input_size": [True, 32]}),
        json.dumps(vars(CONFIGURATION) | {"input_size": [192.5, 256]}),
        json.dumps(vars(CONFIGURATION) | {"dataset": ["coco"]}),
        json.dumps(vars(CONFIGURATION) | {"model": ["w32"]}),
        json.dumps(vars(CONFIGURATION) | {"sigma": "2"}),
        json.dumps(vars(CONFIGURATION) | {"sigma": 1e-300}),
        json.dumps(vars(CONFIGURATION) | {"sigma": 1e300}),
        json.dumps(vars(CONFIGURATION) | {"recipe": []}),
        json.dumps(vars(CONFIGURATION) | {"skeleton": {"name": "coco", "keypoints": "abc"}}),
        json.dumps(vars(CONFIGURATION) | {"provenance": {"continued": 3}}),
        json.dumps(vars(CONFIGURATION) | {"recipe": {"note": "\ud800"}}),
        *(
            json.dumps(vars(CONFIGURATION) | {"skeleton": COCO.to_json() | change})
            for change in (
                {"flip_pairs": [[0, 17]]},
                {"flip_pairs": None},
                {"limbs": [[0]]},
                {"upper_body": [-1]},
                {"sigmas": [0.05] * 16},
                {"sigmas": [1e-300] * 17},
                {"keypoints": ["\ud800", *COCO.keypoints[1:]]},
                {"keypoints": [COCO.keypoints[1], *COCO.keypoints[1:]]},
            )
        ),
    ],
)
def test_a_damaged_configuration_is_named(tmp_path, text):
    (tmp_path / CONFIG).write_text(text)
    with pytest.raises(RunError, match=r"config.json is not a run configuration .* bring back") as raised:
        read_config(tmp_path)
    assert "Error(" not in str(raised.value)


#: Values that JSON can hold where something else is expected.
HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    name=st.sampled_from(sorted(asdict(CONFIGURATION))),
    value=HOSTILE | st.floats(1e-310, 1e308) | st.characters(categories=["Cs"]),
    within=st.booleans(),
    which=st.integers(0, 5),
)
def test_any_value_in_a_configuration_is_an_error_or_can_be_worked_with(name, value, within, which):
    data = asdict(CONFIGURATION)
    if within and isinstance(data[name], dict) and data[name]:
        data[name] = data[name] | {sorted(data[name])[which % len(data[name])]: value}
    else:
        data[name] = value
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / CONFIG).write_text(json.dumps(data))
        config, refused = None, ""
        try:
            config = read_config(folder)
        except RunError as error:
            refused = str(error)
    if config is None:
        assert len(refused.splitlines()) == 1
        return
    assert Skeleton.from_json(config.skeleton).num_keypoints == config.num_keypoints > 0
    if config.model in NETWORKS:
        assert min(config.heatmap_size) > 0
    targets, _ = codec("msra", config.sigma).encode(np.zeros((1, 1, 3)), config.input_size, (2, 2))
    assert np.isfinite(targets).all()
    assert f"{config}".encode()
    assert {config.model: config.dataset, config.codec: config.records}
    assert isinstance(config.differences(CONFIGURATION), list)


# ---- checkpoints


def test_a_checkpoint_brings_back_model_optimizer_and_progress(saved):
    folder, model, optimizer = saved
    other_model, other_optimizer = make_model()
    for variable in (*other_model.variables, *other_optimizer.variables):
        variable.assign(keras.ops.zeros_like(variable))
    assert load_checkpoint(folder, 7, other_model, other_optimizer) == 1234
    expected, loaded = values(model, optimizer), values(other_model, other_optimizer)
    assert expected.keys() == loaded.keys()
    for path, value in expected.items():
        np.testing.assert_array_equal(loaded[path], value, err_msg=path)
    assert int(other_optimizer.iterations) == 2
    assert other_optimizer.iterations.shape == ()
    assert float(other_optimizer.learning_rate) == pytest.approx(0.01)


def test_the_model_alone_can_be_loaded(saved):
    folder, model, _ = saved
    other, _ = make_model()
    other.get_layer("dense").kernel.assign(np.zeros((4, 3)))
    assert load_checkpoint(folder, 7, other) == 1234
    np.testing.assert_array_equal(other.get_layer("dense").kernel, model.get_layer("dense").kernel)


def test_saving_an_epoch_again_replaces_it_whole(saved):
    folder, model, optimizer = saved
    (checkpoint_folder(folder, 7) / "left over").touch()
    model.get_layer("dense").bias.assign([7, 8, 9])
    save_checkpoint(folder, 7, 1300, model, optimizer)
    other, _ = make_model()
    assert load_checkpoint(folder, 7, other) == 1300
    np.testing.assert_array_equal(other.get_layer("dense").bias, [7, 8, 9])
    assert sorted(path.name for path in checkpoint_folder(folder, 7).iterdir()) == [
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]
    assert [path.name for path in folder.iterdir()] == ["epoch-0007"]


def test_a_save_that_fails_leaves_the_checkpoint_before_it(saved, monkeypatch):
    folder, model, optimizer = saved
    expected = model.get_layer("dense").kernel.numpy()
    model.get_layer("dense").kernel.assign(np.zeros((4, 3)))

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("hrpose.atomic_files.os.fsync", full_disk)
    for epoch in (7, 8):
        with pytest.raises(RunError, match=r"could not be saved: no space .*before it are intact"):
            save_checkpoint(folder, epoch, 2000, model, optimizer)
    assert [path.name for path in folder.iterdir()] == ["epoch-0007"]
    assert load_checkpoint(folder, 7, model) == 1234
    np.testing.assert_array_equal(model.get_layer("dense").kernel, expected)


def test_an_interrupted_save_is_no_checkpoint_and_does_not_disturb_the_next(saved):
    folder, model, optimizer = saved
    partial = folder / "epoch-0008.partial"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"half")
    (partial / "junk").touch()
    assert saved_epochs(folder) == [7]
    with pytest.raises(RunError, match="epoch 8 was never saved"):
        load_checkpoint(folder, 8, model)
    save_checkpoint(folder, 8, 2000, model, optimizer)
    assert saved_epochs(folder) == [7, 8]
    assert not partial.exists()
    assert not (checkpoint_folder(folder, 8) / "junk").exists()


def test_epochs_are_in_the_order_of_numbers_also_above_9999(tmp_path):
    for epoch in (10000, 9999, 2, 123456, 10):
        checkpoint_folder(tmp_path, epoch).mkdir()
    for name in ("epoch-12", "epoch-final", "epoch-0003.partial", "epoch-0004-copy", CONFIG):
        (tmp_path / name).mkdir()
    assert saved_epochs(tmp_path) == [2, 10, 9999, 10000, 123456]


def test_a_folder_that_is_not_there_has_no_epochs(tmp_path):
    assert saved_epochs(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("epochs", "says"),
    [
        ((), "no epoch has been saved yet"),
        ((3,), "saved epochs: 3$"),
        ((1, 2, 3, 5, 8, 9), "saved epochs: 1-3, 5, 8-9$"),
    ],
)
def test_an_epoch_that_was_never_saved_names_those_there_are(tmp_path, epochs, says):
    for epoch in epochs:
        checkpoint_folder(tmp_path, epoch).mkdir()
    with pytest.raises(RunError, match=rf"epoch 210 was never saved in .*{says}"):
        load_checkpoint(tmp_path, 210, make_model()[0])


def test_a_changed_bit_is_damage(saved):
    folder, model, optimizer = saved
    path = checkpoint_folder(folder, 7) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"epoch-0007 is damaged: model.safetensors has a wrong checksum"):
        load_checkpoint(folder, 7, model, optimizer)


@pytest.mark.parametrize("change", [{"step": 1235}, {"epoch": 8}, {"update": 3}])
def test_a_changed_number_is_damage(saved, change):
    folder, model, optimizer = saved
    path = checkpoint_folder(folder, 7) / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunError, match=r"epoch-0007 is damaged: state.json has a wrong checksum"):
        load_checkpoint(folder, 7, model, optimizer)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_what_cannot_be_read_is_not_taken_for_damaged(saved, monkeypatch, number):
    folder, model, optimizer = saved
    read = Path.read_bytes

    def reading(path):
        if path.name == "optimizer.safetensors":
            raise OSError(number, os.strerror(number))
        return read(path)

    with monkeypatch.context() as context:
        context.setattr(Path, "read_bytes", reading)
        with pytest.raises(RunError, match=rf"epoch-0007 cannot be read \({os.strerror(number)}\)") as error:
            load_checkpoint(folder, 7, model, optimizer)
    assert not isinstance(error.value, DamagedCheckpointError)
    assert load_checkpoint(folder, 7, model, optimizer) == 1234


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_part_that_is_gone_or_no_file_is_damage(saved, name):
    folder, model, optimizer = saved
    path = checkpoint_folder(folder, 7) / name
    path.unlink()
    for make in (lambda: None, path.mkdir):
        make()
        with pytest.raises(DamagedCheckpointError, match=rf"epoch-0007 is damaged: .*{name}"):
            load_checkpoint(folder, 7, model, optimizer)


def test_a_folder_that_cannot_be_looked_into_is_not_taken_for_empty(saved, monkeypatch):
    folder, model, _ = saved

    def away(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("model.run_folder.os.scandir", away)
    for ask in (saved_progress, lambda folder: load_checkpoint(folder, 7, model)):
        with pytest.raises(RunError, match="cannot be read: Input/output error"):
            ask(folder)


@pytest.mark.parametrize("step", ["1234", 12.5, -1, None, [], True, float("inf")])
def test_a_number_of_updates_that_is_none_is_damage(saved, step):
    folder, model, _ = saved
    (checkpoint_folder(folder, 7) / "state.json").write_text(json.dumps({"epoch": 7, "step": step}))
    with pytest.raises(RunError, match="epoch-0007 is damaged: the number of updates"):
        load_checkpoint(folder, 7, model)


def test_progress_is_ordered_by_number_within_epochs_too(tmp_path):
    names = ("epoch-0010", "epoch-0009-update-000500", "epoch-0009", "epoch-0009-update-1000000")
    for name in (*names, "epoch-0009-update-5", "epoch-0011-update-000001.partial"):
        (tmp_path / name).mkdir()
    expected = [Progress(9), Progress(9, 500), Progress(9, 1000000), Progress(10)]
    assert saved_progress(tmp_path) == expected
    assert saved_epochs(tmp_path) == [9, 10]
    assert {checkpoint_folder(tmp_path, p.epoch, p.update).name for p in expected} == set(names)


def test_a_checkpoint_within_an_epoch_stands_beside_the_epochs_own(saved):
    folder, model, optimizer = saved
    model.get_layer("dense").bias.assign([7, 8, 9])
    ema = {path: value * 0 + 5 for path, value in values(model).items()}
    save_checkpoint(folder, 7, 1300, model, optimizer, update=66, ema=ema)
    other, other_optimizer = make_model()
    assert load_checkpoint(folder, 7, other, other_optimizer, update=66) == 1300
    np.testing.assert_array_equal(other.get_layer("dense").bias, [7, 8, 9])
    assert load_checkpoint(folder, 7, other, update=66, ema=True) == 1300
    np.testing.assert_array_equal(other.get_layer("dense").bias, [5, 5, 5])
    assert load_checkpoint(folder, 7, other) == 1234
    remove_checkpoint(folder, Progress(7, 66))
    assert [path.name for path in folder.iterdir()] == ["epoch-0007"]


def test_a_note_of_the_best_epoch_that_cannot_be_read_is_not_taken_for_none(tmp_path, monkeypatch):
    write_best(tmp_path, 12, "AP", 0.5)

    def away(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "read_bytes", away)
    with pytest.raises(RunError, match=r"best.json, which notes .* cannot be read: Input/output error; try"):
        read_best(tmp_path)


def test_the_best_epoch_is_remembered_and_a_damaged_note_is_none(tmp_path):
    assert read_best(tmp_path) == (None, None)
    write_best(tmp_path, 12, "AP", 0.5)
    assert read_best(tmp_path) == (12, 0.5)
    damaged = ("{", "[]", '{"epoch": Infinity, "value": 1}', '{"epoch": 1, "value": NaN}', '{"epoch": 1}')
    for text in damaged:
        (tmp_path / BEST).write_text(text)
        assert read_best(tmp_path) == (None, None)


def test_an_epoch_is_chosen_by_its_number_as_the_best_or_as_the_last(tmp_path):
    with pytest.raises(RunError, match="no epoch has been saved"):
        choose_epoch(tmp_path)
    for epoch in (3, 12, 20):
        write_checkpoint(tmp_path, Progress(epoch), 10 * epoch, {"model": {}})
    with pytest.raises(
        RunError, match=r"(?s)known to have validated best.*split val.*saved epochs: 3, 12, 20"
    ):
        best_epoch(tmp_path)
    write_best(tmp_path, 12, "AP", 0.5)
    assert (best_epoch(tmp_path), choose_epoch(tmp_path, "best")) == (12, 12)
    assert (choose_epoch(tmp_path), choose_epoch(tmp_path, 7)) == (20, 7)
    remove_checkpoint(tmp_path, Progress(12))
    with pytest.raises(RunError, match="epoch 12 validated best, but its checkpoint is not"):
        best_epoch(tmp_path)


def test_what_a_flag_says_of_an_epoch_is_read():
    assert (parse_epoch("210"), parse_epoch("best")) == (210, "best")
    for text in ("", "Best", "-1", "1.0", "²", "last"):
        with pytest.raises(ValueError, match="expected a number of epochs, or best"):
            parse_epoch(text)


def test_what_a_run_was_made_by_is_written_and_is_no_difference(tmp_path):
    made = replace(CONFIGURATION, provenance={"tensorflow": "2.0", "flags": {"gpus": 4}})
    write_config(tmp_path, made)
    assert read_config(tmp_path).provenance == made.provenance
    assert CONFIGURATION.differences(made) == []


def test_a_configuration_from_before_provenance_can_be_read(tmp_path):
    data = asdict(CONFIGURATION)
    del data["provenance"]
    (tmp_path / CONFIG).write_text(json.dumps(data))
    assert read_config(tmp_path) == replace(CONFIGURATION, records="")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut short", "empty", "gone"])
def test_a_damaged_checkpoint_is_named(saved, name, damage):
    folder, model, optimizer = saved
    path = checkpoint_folder(folder, 7) / name
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(content[: len(content) // 2] if damage == "cut short" else b"")
    with pytest.raises(RunError, match=r"the checkpoint .*epoch-0007 is damaged"):
        load_checkpoint(folder, 7, model, optimizer)


def test_a_checkpoint_of_another_network_is_refused_and_changes_nothing(saved):
    folder, _, _ = saved
    wider, optimizer = make_model(units=5)
    before = values(wider)
    with pytest.raises(RunError, match=r"model.safetensors belongs to another network; .*dense/bias"):
        load_checkpoint(folder, 7, wider, optimizer)
    renamed = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="other")])
    with pytest.raises(RunError, match="belongs to another network"):
        load_checkpoint(folder, 7, renamed)
    for path, value in values(wider).items():
        np.testing.assert_array_equal(value, before[path])


def test_an_optimizer_of_another_kind_is_refused(saved):
    folder, model, _ = saved
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    with pytest.raises(RunError, match=r"optimizer.safetensors belongs to another"):
        load_checkpoint(folder, 7, model, optimizer)
