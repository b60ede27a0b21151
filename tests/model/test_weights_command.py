"""``python model/weights.py import``, from another directory."""

import json
import os
import shutil
import subprocess
import sys

import keras
import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from model.best_epoch import forget_best, write_best
from model.networks import NETWORKS
from model.official_weights import load_state_dict, official_shapes
from model.run_config import write_config
from model.run_folder import (
    Progress,
    RunError,
    checkpoint_folder,
    save_checkpoint,
    variable_arrays,
    write_checkpoint,
)
from model.weight_import.cli import command
from model.weight_import.importing import checkpoint_of, import_weights
from model.weight_import.initial_weights import find_initial_weights, load_initial_weights
from model.weight_import.readers import WeightsError, sha256
from tests.helpers import commands
from tests.helpers.full_disk import full_disk_at
from tests.helpers.networks import (
    classifier_state,
    make_config,
    network,
    official_case,
    published,
    random_state,
)
from tests.helpers.shared import ROOT


def call(folder, *arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "model/weights.py"), *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"},
    )


def call_here(folder, *arguments):
    return commands.call_here(folder, "model/weights.py", *arguments)


def imported(folder, source, target, *options, call=call_here):
    """What a successful import prints."""
    result = call(folder, "import", "--from", source, "--to", target, *options)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def refused(exit_code, folder, *arguments):
    result = call_here(folder, *arguments)
    assert result.returncode == exit_code, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    return result.stderr


@pytest.fixture(scope="module")
def state():
    return random_state(network("w24_tiny"))


@pytest.mark.slow
def test_a_classifier_is_imported_without_its_head_and_the_source_is_on_record(tmp_path, state):
    source = tmp_path / "hrnet_w24.safetensors"
    save_file({f"module.{name}": value for name, value in classifier_state(state).items()}, source)
    printed = imported(tmp_path, source.name, "dataset/imagenet_weights/hrnet_w24_tiny", call=call)
    target = tmp_path / "dataset" / "imagenet_weights" / "hrnet_w24_tiny.safetensors"
    assert printed.splitlines()[:2] == [
        "hrnet_w24.safetensors: backbone of w24_tiny, no head for keypoints",
        "left out 25 arrays: classifier (2), downsamp_modules (9), final_layer (3), incre_modules (8), "
        "stage4.2.fuse_layers.1 (1), stage4.2.fuse_layers.2 (1), stage4.2.fuse_layers.3 (1)",
    ]
    assert printed.splitlines()[2:] == ["wrote dataset/imagenet_weights/hrnet_w24_tiny.safetensors (11 MB)"]
    written = load_file(target)
    assert written.keys() == official_shapes(network("w24_tiny")).keys() - {
        "final_layer.weight",
        "final_layer.bias",
    }
    for name, value in written.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, state[name], err_msg=name)
    with safe_open(target, "np") as file:
        metadata = file.metadata()
    assert metadata.pop("format").startswith("hrpose")
    assert metadata == {
        "network": "w24_tiny",
        "num_keypoints": "0",
        "source": "hrnet_w24.safetensors",
        "source_sha256": sha256(source),
    }
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    (tmp_path / "plain").touch()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode  # others may read it as usual
    assert find_initial_weights(target.parent, "w24_tiny") == target


@pytest.mark.slow
def test_a_checkpoint_of_ours_becomes_a_file_with_official_names(tmp_path, state):
    tiny = network("w24_tiny")
    load_state_dict(tiny, state)
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(tiny.trainable_variables)
    save_checkpoint(tmp_path, 7, 100, tiny, optimizer)
    printed = imported(tmp_path, checkpoint_folder(tmp_path, 7), "mine.safetensors")
    assert "backbone of w24_tiny, head for 17 keypoints" in printed
    assert "note: train/main.py --model=w24_tiny looks for files named hrnet_w24_tiny*" in printed
    written = load_file(tmp_path / "mine.safetensors")
    assert written.keys() == state.keys()
    for name, value in written.items():
        np.testing.assert_array_equal(value, state[name], err_msg=name)


@pytest.fixture(scope="module")
def run(tmp_path_factory, state):
    """A run's folder with epochs 3 and 7 and an average of each, of which 3 validated best."""
    folder = tmp_path_factory.mktemp("weights") / "output"
    (folder / "model_dump").mkdir(parents=True)
    write_config(folder / "model_dump", make_config(recipe={"ema_decay": 0.9}))
    tiny = network("w24_tiny")
    load_state_dict(tiny, state)
    arrays = variable_arrays(tiny)
    for epoch in (3, 7):
        parts = {
            name: arrays | {"head.conv/bias": np.full(17, value + epoch, "float32")}
            for name, value in (("model", 10), ("average", 20))
        }
        write_checkpoint(folder / "model_dump", Progress(epoch), 10, parts)
    write_best(folder / "model_dump", 3, "AP", 0.5)
    return folder


@pytest.mark.parametrize(
    ("source", "choice", "bias"),
    [
        (lambda run: checkpoint_of(run, None), {}, 27),
        (lambda run: checkpoint_of(run, "best"), {}, 23),
        (lambda run: checkpoint_of(run, 3), {"averaged": False}, 13),
        (lambda run: run / "model_dump/epoch-0007", {"averaged": True}, 27),
        (lambda run: run / "model_dump/epoch-0007", {"averaged": False}, 17),
        (lambda run: run / "model_dump/epoch-0007/model.safetensors", {}, 17),
    ],
)
def test_of_a_run_the_average_is_taken_unless_told_otherwise(tmp_path, run, source, choice, bias):
    target, checkpoint = tmp_path / "mine.safetensors", source(run)
    averaged = import_weights(checkpoint, target, **choice).averaged
    assert load_file(target)["final_layer.bias"].tolist() == [bias] * 17
    with safe_open(target, "np") as file:
        metadata = file.metadata()
    assert metadata["averaged"] == str(averaged).lower() == str(bias > 20).lower()
    assert metadata["checkpoint"] == ("epoch-0003" if bias % 10 == 3 else "epoch-0007")


def test_training_starts_from_the_average_of_a_checkpoint_too(run):
    model = network("w24_tiny")
    load_initial_weights(model, run / "model_dump/epoch-0007", NETWORKS["w24_tiny"])
    assert model.get_layer("head.conv").bias.numpy().tolist() == [27] * 17


def test_what_a_run_or_a_file_does_not_have_is_said(tmp_path, run, state):
    with pytest.raises(RunError, match=r"no epoch in .* is known to have validated best"):
        checkpoint_of(copy_without_best(run, tmp_path), "best")
    with pytest.raises(RunError, match=r"no run in .*epoch-0007/model_dump: config.json is missing"):
        checkpoint_of(run / "model_dump/epoch-0007", 3)
    with pytest.raises(WeightsError, match=r"a run's own folder is --run_dir"):
        import_weights(run, tmp_path / "out.safetensors")
    with pytest.raises(RunError, match=r"epoch 5 was never saved in .*; saved epochs: 3, 7$"):
        checkpoint_of(run, 5)
    save_file(state, tmp_path / "in.safetensors")
    with pytest.raises(WeightsError, match=r"nothing to choose; leave out --averaged or --noaveraged"):
        import_weights(tmp_path / "in.safetensors", tmp_path / "out.safetensors", averaged=True)
    (tmp_path / "epoch-0001").mkdir()
    save_file(state, tmp_path / "epoch-0001/model.safetensors")
    with pytest.raises(WeightsError, match=r"epoch-0001 has no moving average .* as learned are taken"):
        import_weights(tmp_path / "epoch-0001", tmp_path / "out.safetensors", averaged=True)


def test_a_full_disk_is_named_and_leaves_what_was_there(tmp_path, monkeypatch, capsys, run):
    target = tmp_path / "mine.safetensors"
    target.write_bytes(b"before")
    full_disk_at("mine", monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert command(["import", f"--run_dir={run}", f"--to={target}", "--overwrite"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"python model/weights.py import: {target} could not be written: ")
    assert "No space left on device; see to it" in said
    assert list(tmp_path.iterdir()) == [target]
    assert target.read_bytes() == b"before"


def copy_without_best(run, folder):
    shutil.copytree(run, folder / "copy")
    forget_best(folder / "copy/model_dump")
    return folder / "copy"


@pytest.mark.slow
def test_a_file_that_is_there_is_replaced_only_when_asked(tmp_path, state):
    halves = {name: value.astype(ml_dtypes.bfloat16) for name, value in state.items()}
    save_file(halves, tmp_path / "in.safetensors")
    target = tmp_path / "hrnet_w24_tiny.safetensors"
    target.write_bytes(b"precious")
    message = refused(1, tmp_path, "import", "--from", "in.safetensors", "--to", target)
    assert "is there already; --overwrite replaces it" in message
    assert target.read_bytes() == b"precious"
    imported(tmp_path, "in.safetensors", target, "--overwrite")
    written = load_file(target)
    assert written.keys() == state.keys()
    for name, value in halves.items():
        np.testing.assert_array_equal(written[name], value.astype(np.float32), err_msg=name)


def test_wrong_usage_exits_with_2_and_says_what_is_expected(tmp_path):
    assert "nothing is given, expected import" in refused(2, tmp_path)
    assert "--from is missing" in refused(2, tmp_path, "import")
    assert "--to is missing" in refused(2, tmp_path, "import", "--run_dir=output")
    assert "both say what to read" in refused(2, tmp_path, "import", "--from=a", "--run_dir=b", "--to=c")
    assert "received --from=a" in refused(2, tmp_path, "import", "--from=a", "--epoch=3", "--to=c")
    assert "received 'export', expected import" in refused(2, tmp_path, "export")


@pytest.mark.parametrize("content", [None, b"", b"not a safetensors file"])
def test_what_cannot_be_read_exits_with_1_and_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "in.safetensors").write_bytes(content)
    message = refused(1, tmp_path, "import", "--from", "in.safetensors", "--to", "out")
    assert message.startswith("python model/weights.py import: ")
    assert "in.safetensors" in message
    assert len(message.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ([] if content is None else ["in.safetensors"])


def test_weights_of_another_network_exit_with_1_and_write_nothing(tmp_path):
    save_file({"layer1.0.conv1.weight": np.ones((64, 64, 1, 1), "float32")}, tmp_path / "resnet.safetensors")
    message = refused(1, tmp_path, "import", "--from", "resnet.safetensors", "--to", "out/hrnet_w32")
    assert "no weights of a network here" in message
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("to", ["", "folder"])
def test_a_target_that_is_no_file_is_refused(tmp_path, to):
    (tmp_path / "folder").mkdir()
    save_file({"a": np.ones(1, "float32")}, tmp_path / "in.safetensors")
    assert "expected a file to write" in refused(
        1, tmp_path, "import", "--from", "in.safetensors", "--to", to
    )
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "in.safetensors"}


@pytest.mark.slow
def test_weights_are_not_named_for_another_network(tmp_path, state):
    save_file(state, tmp_path / "in.safetensors")
    message = refused(1, tmp_path, "import", "--from", "in.safetensors", "--to", "hrnet_w32")
    assert message.startswith("python model/weights.py import: in.safetensors: it holds a w24_tiny")
    assert "name it hrnet_w24_tiny" in message
    assert not (tmp_path / "hrnet_w32.safetensors").exists()


def test_help_teaches_by_example(tmp_path):
    for arguments in (["--help"], ["import", "--help"]):
        result = call(tmp_path, *arguments)
        assert result.returncode == 0
        assert "python model/weights.py import --from hrnet_w32-36af842e.pth" in result.stdout
    assert "--[no]overwrite" in result.stdout


def test_importing_the_command_is_light():
    ask = (
        "import json, sys, model.weight_import.cli;"
        "print(json.dumps([name for name in ('tensorflow', 'keras', 'torch') if name in sys.modules]))"
    )
    run = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == []


# ---- the published networks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "classifier"),
    [
        ("w30_256x192_j17", False),
        ("w32_256x192_j17", False),
        ("w32_256x256_j16", True),
        ("w48_384x288_j17", True),
    ],
)
def test_an_imported_file_makes_the_official_network(tmp_path, name, classifier):
    """From pose weights with DataParallel's prefix, or from a classifier's, with the head loaded after it."""
    arrays, weights, image = official_case(name)
    architecture = name.split("_")[0]
    source = classifier_state(weights) if classifier else {f"module.{n}": v for n, v in weights.items()}
    save_file(source, tmp_path / "source.safetensors")
    imported(tmp_path, "source.safetensors", f"weights/hrnet_{architecture}")
    model = published(name)
    load_state_dict(model, random_state(model))
    fit = load_initial_weights(
        model, find_initial_weights(tmp_path / "weights", architecture), NETWORKS[architecture]
    )
    if classifier:
        head = {entry: weights[entry] for entry in fit.missing}
        assert len(head) == 2
        load_state_dict(model, head, strict=False)
    else:
        assert fit.missing == ()
    heatmaps = np.transpose(model(image, training=False), (0, 3, 1, 2))
    np.testing.assert_allclose(heatmaps, arrays["output"], rtol=0, atol=2e-5)
