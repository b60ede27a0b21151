"""Commands in surroundings that are not ours: encodings, settings for Keras, modules of the user's own."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from hrpose.command import run
from pipelines.cli import command
from pipelines.watchdog import DRIVER, is_gone
from records.manifest import read_manifest
from tests.helpers.builders import make_dataset
from tests.helpers.engines import wait_for
from tests.helpers.large_builds import start, wait_for_shards, write_dataset
from tests.helpers.shared import ROOT


def call(folder, program, *flags, **environment):
    return subprocess.run(
        [sys.executable, str(ROOT / program), *map(str, flags)],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        timeout=240,
        check=False,
    )


def build_flags(folder):
    return [f"--dataset_dir={folder}", "--split=train", "--input_size=64x96", "--max_bad_fraction=1"]


# ---- output


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_an_encoding_that_lacks_a_sign_does_not_end_a_build(encoding, tmp_path):
    make_dataset(tmp_path / "Köln", images=2)
    result = call(
        tmp_path, "pipelines/build_records.py", *build_flags(tmp_path / "Köln"), PYTHONIOENCODING=encoding
    )
    assert result.returncode == 0, result.stderr
    assert rb"\u2192" in result.stderr  # the arrow
    assert read_manifest(tmp_path / "Köln/records/train").records


def test_a_name_that_is_no_text_can_be_shown(tmp_path):
    result = call(tmp_path, "records/check.py", os.fsdecode(b"caf\xe9"))
    assert result.returncode == 1
    assert b"Traceback" not in result.stderr
    assert rb"no records in caf\udce9" in result.stderr


# ---- Keras


CHECK = """
from hrpose.command import import_tensorflow
import_tensorflow()
from model.networks import NETWORKS
model = NETWORKS["w24_tiny"].build((64, 96), 3)
print(model.output_shape)
"""


def test_a_users_settings_of_keras_do_not_matter(tmp_path):
    settings = {"backend": "jax", "image_data_format": "channels_first", "floatx": "float32", "epsilon": 1e-7}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    result = subprocess.run(
        [sys.executable, "-c", CHECK],
        cwd=ROOT,
        env=os.environ | {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.strip() == "(None, 24, 16, 3)"


# ---- paths and flags


def test_a_tilde_is_the_home_folder_in_every_path(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    make_dataset(tmp_path / "data", images=2)
    flags = ["--split=train", "--input_size=64x96", "--max_bad_fraction=1"]
    assert command(["--dataset_dir=~/data", "--records_dir=~/records", *flags]) == 0
    assert read_manifest(tmp_path / "records/train").records
    assert not (tmp_path / "~").exists()
    from records.checking import cli as check_cli

    capsys.readouterr()
    assert check_cli.command(["~/records/train", "--num_images=0"]) == 0


def called(capsys, *arguments, positional=()):
    from absl import flags

    def define(values):
        flags.DEFINE_bool("flip_test", True, "Whether.", flag_values=values)
        flags.DEFINE_integer("gpus", 1, "How many.", flag_values=values)
        flags.DEFINE_float("factor", 1.0, "By what.", flag_values=values)

    code = run("python a.py", "", define, lambda *_: 0, arguments, positional=positional)
    return code, capsys.readouterr().err


def test_a_word_after_a_switch_is_explained(capsys):
    code, said = called(capsys, "--flip_test", "False")
    assert code == 2
    assert "--flip_test False: a switch has no word after it" in said
    assert "--noflip_test or --flip_test=false" in said
    assert "switch" in called(capsys, "--flip_test", "no", "photos", positional=("DIR",))[1]
    assert called(capsys, "--flip_test", "false", positional=("DIR",)) == (0, "")  # a folder's name
    assert "unexpected argument 'photos'" in called(capsys, "--flip_test", "photos")[1]
    assert called(capsys, "--flip_test=false") == (0, "")


def test_a_list_of_gpus_is_explained(capsys):
    code, said = called(capsys, "--gpus=0,1")
    assert code == 2
    assert "--gpus=0,1: expected how many GPUs; the environment variable CUDA_VISIBLE_DEVICES" in said


@pytest.mark.parametrize(
    ("argument", "expected"), [("--gpus=two", "a whole number"), ("--factor=much", "a number")]
)
def test_what_is_no_number_is_told_without_python_s_words(capsys, argument, expected):
    code, said = called(capsys, argument)
    assert code == 2
    assert f"{argument}: expected {expected}\n" in said


# ---- worker processes


@pytest.mark.slow
def test_workers_pass_over_modules_in_the_working_directory(tmp_path):
    make_dataset(tmp_path / "data", images=2)
    (tmp_path / "records.py").write_text("raise SystemExit('mine')")
    (tmp_path / "pipelines.py").write_text("raise SystemExit('mine')")
    result = call(tmp_path, "pipelines/build_records.py", *build_flags(tmp_path / "data"), "--workers=2")
    assert result.returncode == 0, result.stderr
    assert read_manifest(tmp_path / "data/records/train").records


@pytest.mark.slow
def test_a_build_of_several_processes_does_not_ask_a_proxy(tmp_path):
    make_dataset(tmp_path / "data", images=2)
    flags = [*build_flags(tmp_path / "data"), "--workers=2"]
    result = call(
        tmp_path, "pipelines/build_records.py", *flags, http_proxy="http://127.0.0.1:9", no_proxy=""
    )
    assert result.returncode == 0, result.stderr
    assert read_manifest(tmp_path / "data/records/train").records


@pytest.mark.slow
def test_workers_of_a_driver_that_was_killed_end_with_it(tmp_path):
    (tmp_path / "out").mkdir()
    process = start(write_dataset(tmp_path / "data"), tmp_path / "out", "--workers=2")
    try:
        wait_for_shards(process, tmp_path / "out", 2)
        workers = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if child.environ().get(DRIVER) == str(process.pid)
        ]
        assert len(workers) >= 2
        process.kill()
        process.wait()
        wait_for(lambda: all(map(is_gone, workers)), "workers live on", seconds=10)
    finally:
        for worker in workers:
            if not is_gone(worker):
                worker.kill()


def test_a_process_that_ended_is_gone_also_before_anybody_asked_for_its_exit_code():
    process = subprocess.Popen(["sleep", "60"])
    watched = psutil.Process(process.pid)
    assert not is_gone(watched)
    process.send_signal(signal.SIGKILL)
    end = time.monotonic() + 20
    while not is_gone(watched):
        assert time.monotonic() < end
    process.wait()
    assert is_gone(watched)
