"""Readers of weight files: every origin becomes one form, and what is not weights is refused by name."""

import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import model.weight_import.readers
from model.official_weights import load_state_dict
from model.run_folder import (
    DamagedCheckpointError,
    Progress,
    checkpoint_folder,
    save_checkpoint,
    write_checkpoint,
)
from model.weight_import.readers import WeightsError, read_weights, sha256
from tests.helpers.networks import classifier_state, network, random_state


def check_equal(received, expected):
    assert received.keys() == expected.keys()
    for name, value in expected.items():
        assert received[name].dtype == np.float32
        np.testing.assert_array_equal(received[name], value, err_msg=name)


@pytest.fixture(scope="module")
def state():
    """Official weights of a small network."""
    return random_state(network("w24_tiny"))


# ---- safetensors


def test_a_safetensors_file_comes_back_as_it_is_without_counters(tmp_path, state):
    path = tmp_path / "weights.safetensors"
    whole = classifier_state(state)
    save_file(whole, path)
    expected = {name: value for name, value in whole.items() if not name.endswith("num_batches_tracked")}
    assert len(expected) == len(whole) - 2
    check_equal(read_weights(path), expected)


@pytest.mark.parametrize("prefix", ["module.", "module.module."])
def test_the_prefix_of_data_parallel_is_taken_off(tmp_path, state, prefix):
    path = tmp_path / "weights.safetensors"
    save_file({prefix + name: value for name, value in state.items()}, path)
    check_equal(read_weights(path), state)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floating_point_types_become_float32(tmp_path, dtype):
    path = tmp_path / "weights.safetensors"
    value = np.array([[1.0, -2.5], [1 / 3, 1e-3]]).astype(dtype)
    save_file({"bn1.weight": value}, path)
    check_equal(read_weights(path), {"bn1.weight": value.astype(np.float32)})


@pytest.mark.parametrize("dtype", [np.int8, np.int64, bool])
def test_what_is_no_floating_point_number_is_refused(tmp_path, dtype):
    path = tmp_path / "weights.safetensors"
    save_file({"bn1.weight": np.ones(3, dtype)}, path)
    with pytest.raises(WeightsError, match=r"weights.safetensors: bn1.weight is of type .*; expected one of"):
        read_weights(path)


@pytest.mark.parametrize("value", [np.float32(np.nan), np.float32(np.inf), 1e300])
def test_numbers_that_are_not_finite_in_float32_are_refused_by_name(tmp_path, value):
    path = tmp_path / "weights.safetensors"
    save_file({"bn1.weight": np.ones(3, "float32"), "bn1.bias": np.array([0, value])}, path)
    with pytest.raises(WeightsError, match=r"bn1.bias holds NaN or infinite"):
        read_weights(path)


@pytest.mark.parametrize("damage", ["cut short", "noise", "text", "lies"])
def test_a_damaged_safetensors_file_is_refused(tmp_path, state, damage):
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    content = path.read_bytes()
    header = b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4]}}'
    path.write_bytes(
        {
            "cut short": content[:-7],
            "noise": np.random.default_rng(0).bytes(5000),
            "text": b"these are no weights\n",
            "lies": len(header).to_bytes(8, "little") + header + bytes(4),
        }[damage]
    )
    with pytest.raises(WeightsError, match=r"weights.safetensors is not a safetensors file, or is damaged: "):
        read_weights(path)


# ---- our own checkpoints


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_checkpoint_of_ours_is_read_in_the_official_form(tmp_path, state, what):
    tiny = network("w24_tiny")
    load_state_dict(tiny, state)
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(tiny.trainable_variables)
    save_checkpoint(tmp_path, 7, 100, tiny, optimizer)
    folder = checkpoint_folder(tmp_path, 7)
    check_equal(read_weights(folder if what == "folder" else folder / "model.safetensors"), state)


@pytest.mark.parametrize("name", ["model", "average"])
@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_changed_bit_of_a_checkpoint_is_not_taken_for_a_weight(tmp_path, state, name, what):
    arrays = {"head.conv/bias": np.ones(17, "float32")}
    write_checkpoint(tmp_path, Progress(7), 100, {"model": arrays, name: arrays})
    path = checkpoint_folder(tmp_path, 7) / f"{name}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        DamagedCheckpointError, match=rf"epoch-0007 is damaged: {name}.safetensors has a wrong"
    ):
        read_weights(path if what == "file" else path.parent)


def test_an_average_that_was_saved_and_is_gone_is_not_silently_replaced(tmp_path):
    arrays = {"head.conv/bias": np.ones(17, "float32")}
    write_checkpoint(tmp_path, Progress(7), 100, {"model": arrays, "average": arrays})
    folder = checkpoint_folder(tmp_path, 7)
    (folder / "average.safetensors").unlink()
    with pytest.raises(
        WeightsError, match=r"epoch-0007 is damaged: the moving average .* --noaveraged takes"
    ):
        read_weights(folder)
    assert list(read_weights(folder, averaged=False)) == ["final_layer.bias"]


def test_a_checkpoint_of_another_kind_of_network_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"dense/kernel": np.ones((2, 2), "float32")}, path)
    with pytest.raises(
        WeightsError, match=r"is not a checkpoint of a network here: 'dense/kernel' is not the name"
    ):
        read_weights(path)


# ---- what is no weight file


def test_a_missing_file_a_folder_and_another_name_are_told_apart(tmp_path):
    with pytest.raises(WeightsError, match=r"no weights at .*nowhere.pth: no such file"):
        read_weights(tmp_path / "nowhere.pth")
    with pytest.raises(WeightsError, match=r"is a folder without model.safetensors; .*epoch-"):
        read_weights(tmp_path)
    (tmp_path / "weights.h5").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"weights.h5: expected a file named \*.safetensors or \*.pth, "):
        read_weights(tmp_path / "weights.h5")


def test_a_file_that_is_too_large_is_not_opened(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(bytes(101))
    monkeypatch.setattr(model.weight_import.readers, "MAX_BYTES", 100)
    with pytest.raises(WeightsError, match="has 101 bytes; expected at most 100"):
        read_weights(path)


def test_the_digest_is_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# ---- PyTorch's files


def test_without_pytorch_the_message_says_what_to_do(tmp_path, monkeypatch):
    path = tmp_path / "hrnet_w32-36af842e.pth"
    path.write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "torch", None)  # what `import torch` finds where it is not installed
    with pytest.raises(WeightsError, match=r"needs PyTorch: pip install 'torch>=2.6' .*weights.py import"):
        read_weights(path)


@pytest.mark.parametrize("version", ["1.13.1", "2.5.1+cpu"])
def test_a_pytorch_that_does_not_protect_is_not_used(tmp_path, monkeypatch, version):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__version__=version))
    with pytest.raises(
        WeightsError, match=rf"PyTorch {version.replace('+', '.')} does not read .*torch>=2.6"
    ):
        read_weights(path)


@pytest.fixture
def torch():
    return pytest.importorskip(
        "torch", reason="reading .pth files needs PyTorch, which is optional: pip install 'torch>=2.6'"
    )


def tensors(torch, arrays):
    return {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "as of 2019"])
@pytest.mark.parametrize("nested", [None, "state_dict", "model"])
def test_a_pytorch_file_of_every_published_form_is_read(tmp_path, torch, state, nested, legacy):
    path = tmp_path / "weights.pth"
    content = {f"module.{name}": value for name, value in tensors(torch, classifier_state(state)).items()}
    if nested:
        # The authors' training checkpoints; "model" is the name of the model's kind there.
        content = {"epoch": 210, "model": "pose_hrnet", "perf": 0.7, nested: content}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    whole = classifier_state(state)
    check_equal(
        read_weights(path), {name: v for name, v in whole.items() if not name.endswith("num_batches_tracked")}
    )


def test_half_precision_and_other_memory_orders_of_pytorch_are_read(tmp_path, torch):
    path = tmp_path / "weights.pth.tar"
    value = torch.arange(24.0).reshape(2, 3, 2, 2)
    content = {"half": value.bfloat16(), "last": value.to(memory_format=torch.channels_last)}
    torch.save(content, path)
    check_equal(read_weights(path), {"half": value.numpy(), "last": value.numpy()})


class Danger:
    def __reduce__(self):
        return print, ("this must never run",)


@pytest.mark.parametrize(
    "case", ["code", "cut short", "text", "page", "empty", "no tensors", "integers", "huge"]
)
def test_a_hostile_pytorch_file_is_refused_and_nothing_runs(tmp_path, torch, capsys, case):
    path = tmp_path / "weights.pth"
    content = {
        "code": {"a": torch.ones(2), "b": Danger()},
        "no tensors": {"state_dict": {}, "epoch": 3},
        "integers": {"a": torch.ones(2, dtype=torch.int32)},
        "huge": {"a": torch.ones(1).expand(10**6, 10**6)},  # one number in the file
    }.get(case, {"a": torch.ones(1000)})
    torch.save(content, path)
    whole = path.read_bytes()
    others = {"cut short": whole[: len(whole) // 2], "text": b"weights", "page": b"<html>", "empty": b""}
    path.write_bytes(others.get(case, whole))
    says = {
        "page": "weights.pth is a web page",
        "empty": "weights.pth is empty",
        "no tensors": "holds no weights: expected a dict of tensors",
        "integers": "a is of type torch.int32",
        "huge": "describes more numbers than",
    }.get(case, r"weights.pth cannot be read: .*weights_only=True\)$")
    with pytest.raises(WeightsError, match=says):
        read_weights(path)
    assert "must never run" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.pt"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html><title>Sign in", "is a web page"),
        (b"\xef\xbb\xbf\n  <HTML lang='en'>", "is a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied", "is a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 114123\n",
            "is a pointer of Git LFS to the file, which is not here yet; git lfs pull",
        ),
        (b"", "is empty; download it again"),
    ],
)
def test_what_a_download_left_in_place_of_weights_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=f"{name} {message}"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_weights_that_cannot_be_read_are_not_called_damaged(tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(b"weights")

    def away(path, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", away)
    with pytest.raises(WeightsError, match=f"{name} cannot be read: Permission denied$"):
        read_weights(tmp_path / name)
