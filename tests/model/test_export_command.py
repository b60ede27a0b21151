"""The command model/export.py: its files, its help and what it refuses."""

import io
import os
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from model.best_epoch import write_best
from model.exporting.cli import command
from model.run_config import write_config
from model.run_folder import Progress, save_checkpoint, variable_arrays, write_checkpoint
from model.weight_import.cli import command as weights_command
from tests.helpers.commands import call_here
from tests.helpers.exports import description, make_images, random_network
from tests.helpers.full_disk import full_disk_at
from tests.helpers.networks import make_config
from tests.helpers.shared import ROOT


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A folder `output` with a run of epochs 1 and 2, and images beside it."""
    folder = tmp_path_factory.mktemp("work")
    dumps = folder / "output" / "model_dump"
    dumps.mkdir(parents=True)
    write_config(dumps, make_config())
    model = random_network(17)
    optimizer = keras.optimizers.SGD()
    for epoch in (1, 2):
        save_checkpoint(dumps, epoch, 10 * epoch, model, optimizer)
    (folder / "pictures").mkdir()
    for number, image in enumerate(make_images(4)):
        cv2.imwrite(str(folder / "pictures" / f"{number}.png"), image)
    return folder


def call(folder, program, *arguments):
    return subprocess.run(
        [sys.executable, program, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        env={name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"},
    )


@pytest.mark.smoke
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter")  # the converter's own, while it measures
@pytest.mark.parametrize(
    ("arguments", "name", "shape"),
    [
        (["--format=saved_model", "--decode"], "export", "(1, 17, 3)"),
        (["--format=onnx", "--decode", "--batch_size=2", "--epoch=1"], "export.onnx", "(2, 17, 3)"),
        (["--format=litert", "--precision=int8", "--images=pictures"], "export.tflite", "(1, 24, 16, 17)"),
    ],
)
def test_the_command_writes_what_its_own_example_runs(run_folder, arguments, name, shape):
    """The first in a process of its own."""
    if "--format=saved_model" in arguments:
        result = call(run_folder, ROOT / "model/export.py", *arguments, "--to=export")
    else:
        result = call_here(run_folder, "model/export.py", *arguments, "--to=export")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    *summary, first, second, third, fourth, fifth = result.stdout.splitlines()
    epoch = 1 if "--epoch=1" in arguments else 2
    assert summary[0] == f"epoch {epoch} of output (w24_tiny, coco, 17 keypoints of coco)"
    assert summary[1].startswith(f"wrote {name} (")
    (run_folder / "example.py").write_text("\n".join(map(str.strip, (first, second, third, fourth, fifth))))
    example = call(run_folder, "example.py")
    assert example.returncode == 0, example.stderr
    assert example.stdout.splitlines()[-1] == shape
    file_format = arguments[0].removeprefix("--format=")
    assert description(file_format, run_folder / name)["epoch"] == epoch


@pytest.mark.slow
def test_the_command_s_help_teaches_and_is_light(tmp_path):
    result = call(tmp_path, ROOT / "model/export.py", "--help")
    assert result.returncode == 0
    assert "python model/export.py --run_dir output --format onnx --decode --to hrpose.onnx" in result.stdout
    assert result.stdout.count("import numpy as np") == 3
    assert max(map(len, result.stdout.splitlines())) <= 115


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--to=x"], "--format is missing"),
        (["--format=onnx"], "--to is missing"),
        (["--format=onnx", "--to="], "expected a file to write, for example hrpose.onnx"),
        (["--format=coreml", "--to=x"], "--format=coreml: value should be one of <saved_model|onnx|litert>"),
        (
            ["--format=onnx", "--to=x", "--epoch=last"],
            "expected a number of epochs, or best; received 'last'",
        ),
        (
            ["--format=onnx", "--to=x", "--batch_size=0"],
            "a whole number from 1 to 65,536, or any; received",
        ),
        (
            ["--format=onnx", "--to=x", f"--batch_size={10**20}"],
            "65,536, or any; received '1000000",
        ),
        (["--format=onnx", "--to=x", "--batch_size=²"], "from 1 to 65,536, or any; received '²'"),
        (["--format=onnx", "--to=x", "--precision=float16"], "--precision=float16 is for --format=litert"),
        (
            ["--format=litert", "--to=x", "--precision=int8"],
            "--precision=int8 and --images=DIR go together",
        ),
        (["--format=litert", "--to=x", "--images=x"], "--precision=int8 and --images=DIR go together"),
        (
            ["--format=litert", "--to=x", "--precision=int8", "--images=x", "--decode"],
            "--precision=int8 is not available with --decode",
        ),
    ],
)
def test_wrong_usage_exits_with_2(capsys, arguments, says):
    assert command(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert says in output.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--run_dir=nowhere", "--to=x"], "no run in nowhere/model_dump: config.json is missing"),
        (["--averaged", "--to=x"], "the run in output/model_dump keeps no moving average of its weights"),
        (["--epoch=best", "--to=x"], "no epoch in output/model_dump is known to have validated best"),
        (["--epoch=7", "--to=x"], "epoch 7 was never saved in output/model_dump; saved epochs: 1-2"),
        (["--to=pictures/0.onnx"], "pictures/0.onnx is there already; --overwrite replaces it"),
    ],
)
def test_what_the_user_can_cause_is_one_line_and_exits_with_1(
    run_folder, monkeypatch, capfd, arguments, says
):
    monkeypatch.chdir(run_folder)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (run_folder / "pictures" / "0.onnx").touch()
    assert command(["--format=onnx", *arguments]) == 1
    output = capfd.readouterr()
    assert output.out == ""
    assert says in output.err
    assert output.err.count("\n") == 1


def full_disk_of_tensorflow(monkeypatch):
    def save(module, folder, signatures):
        text = (
            f"{{{{function_node __wrapped__SaveV2}}}} {folder}/variables; No space left on device [Op:SaveV2]"
        )
        raise tf.errors.ResourceExhaustedError(None, None, text)

    monkeypatch.setattr(tf.saved_model, "save", save)


@pytest.mark.parametrize("file_format", ["onnx", "saved_model"])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(
    run_folder, tmp_path, monkeypatch, capfd, file_format
):
    monkeypatch.chdir(run_folder)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    full_disk_at(".partial", monkeypatch)
    full_disk_of_tensorflow(monkeypatch)
    target = tmp_path / {"onnx": "x.onnx", "saved_model": "x"}[file_format]
    assert command([f"--format={file_format}", f"--to={target}"]) == 1
    said = capfd.readouterr().err
    assert said.startswith(f"python model/export.py: {target} could not be written: ")
    assert "No space left on device; see to it that there is room" in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "taken"),
    [
        ([], ("average", 2)),
        (["--averaged"], ("average", 2)),
        (["--noaveraged"], ("model", 2)),
        (["--epoch=best"], ("average", 1)),
    ],
)
def test_the_average_is_exported_where_the_run_keeps_one(tmp_path, monkeypatch, capfd, flags, taken):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    folder, biases = (
        tmp_path / "model_dump",
        {("model", 1): 1, ("average", 1): 2, ("model", 2): 3, ("average", 2): 4},
    )
    folder.mkdir()
    write_config(folder, make_config(recipe={"ema_decay": 0.9}))
    arrays = variable_arrays(random_network(17))
    for epoch in (1, 2):
        parts = {
            name: arrays | {"head.conv/bias": np.full(17, biases[name, epoch], "float32")}
            for name in ("model", "average")
        }
        write_checkpoint(folder, Progress(epoch), epoch, parts)
    write_best(folder, 1, "AP", 0.5)
    exported = []

    def export(**arguments):
        bias = arguments["model"].get_layer("head.conv").bias.numpy()[0]
        exported.append((bias, arguments["epoch"], arguments["averaged"]))
        arguments["path"].touch()

    monkeypatch.setattr("model.exporting.formats.export_onnx", export)
    assert command(["--format=onnx", f"--run_dir={tmp_path}", f"--to={tmp_path / 'x'}", *flags]) == 0
    weights, epoch = taken
    assert exported == [(biases[taken], epoch, weights == "average")]
    words = ", averaged weights" * (weights == "average")
    assert capfd.readouterr().out.startswith(f"epoch {epoch} of {tmp_path}{words} (w24_tiny")


def test_without_tf2onnx_the_command_says_what_to_install(run_folder, monkeypatch, capfd):
    monkeypatch.chdir(run_folder)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("model.exporting.formats.importlib.util.find_spec", lambda name: None)
    assert command(["--format=onnx", "--to=x"]) == 1
    assert "writing ONNX needs tf2onnx, which is not installed: pip install" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(model="w64"), "is of the network 'w64'; there are w30, w32"),
        (dict(codec="simcc"), "is of the codec 'simcc'; there are msra, dark, udp"),
    ],
)
def test_a_run_of_an_unknown_network_or_codec_is_named(tmp_path, monkeypatch, capfd, changes, says):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "model_dump" / "epoch-0001").mkdir(parents=True)
    write_config(tmp_path / "model_dump", make_config(**changes))
    assert command(["--format=onnx", f"--run_dir={tmp_path}", "--to=x"]) == 1
    assert says in capfd.readouterr().err


def test_what_a_terminal_cannot_show_does_not_end_the_command(tmp_path, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), "latin-1")
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("model.exporting.cli.main", lambda values: print(values.to))
    assert command(["--format=onnx", f"--to=ż{os.fsdecode(bytes([255]))}"]) == 0
    out.flush()
    assert out.buffer.getvalue() == b"\\u017c\\udcff\n"


def test_a_tilde_is_the_user_s_folder_whatever_the_shell_makes_of_it(tmp_path, monkeypatch):
    seen = []
    for cli in ("exporting", "weight_import"):
        monkeypatch.setattr(f"model.{cli}.cli.main", lambda values: seen.append(values))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert command(["--run_dir=~/a", "--to=~/b", "--format=onnx", "--images=~/c"]) == 0
    assert weights_command(["import", "--from=~/a", "--to=~/b"]) == 0
    names = [("run_dir", "a"), ("to", "b"), ("images", "c")], [("from", "a"), ("to", "b")]
    for values, expected in zip(seen, names, strict=True):
        for flag, name in expected:
            assert values[flag].value == f"{tmp_path}/{name}"
