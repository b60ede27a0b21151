"""A run that goes on: what it does with checkpoints that are damaged, half there or of another worker."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hrpose.command import CommandError
from hrpose.lock import only_one
from model.best_epoch import read_best, write_best
from model.networks import NETWORKS
from model.run_config import read_config, write_config
from model.run_folder import Progress, RunError, saved_progress
from tests.helpers.small_runs import SMALL, elsewhere, small_network, small_options
from train import checkpoints
from train.loop import train

pytestmark = pytest.mark.usefixtures("small_networks")


@pytest.fixture(scope="module")
def three_epochs(records, tmp_path_factory):
    """The options of a run of three epochs, done."""
    options = small_options(records, tmp_path_factory.mktemp("three") / "run", epochs=3)
    with pytest.MonkeyPatch.context() as context:
        context.setitem(NETWORKS, SMALL.name, SMALL)
        train(options)
    return options


@pytest.fixture
def options(three_epochs, tmp_path):
    """Those of a copy of it."""
    shutil.copytree(three_epochs.paths.run_dir, tmp_path / "run")
    return elsewhere(three_epochs, tmp_path / "run")


def folder_of(options):
    return options.paths.checkpoints


def damage(options, *epochs):
    for epoch in epochs:
        path = folder_of(options) / f"epoch-{epoch:04d}/optimizer.safetensors"
        path.write_bytes(path.read_bytes()[:-20])


def names(options):
    return sorted(path.name for path in folder_of(options).glob("epoch-*"))


class KilledError(BaseException):
    """As SIGKILL: nobody catches it."""


def killed(*_):
    raise KilledError


# ---- of an earlier version


def test_a_run_of_the_first_version_goes_on_with_its_records_built_again(options, caplog):
    path = folder_of(options) / "config.json"
    now = json.loads(path.read_text())
    old = {name: value for name, value in now.items() if name != "version"}
    path.write_text(json.dumps(old | {"codec": "standard", "records": "of schema 1"}))
    train(replace(options, epochs=4, resume=True))
    assert names(options)[-1] == "epoch-0004"
    assert any("is of an earlier version, and so were its records" in line for line in caplog.messages)
    after = json.loads(path.read_text())
    assert {name: after[name] for name in now if name != "provenance"} == {
        name: value for name, value in now.items() if name != "provenance"
    }
    write_config(folder_of(options), replace(read_config(folder_of(options)), records="others"))
    with pytest.raises(RunError, match=r"other settings \(records: "):  # from here on they are known
        train(replace(options, epochs=5, resume=True))


# ---- two at the same time


def test_a_second_training_in_the_folder_ends_with_one_line_and_writes_nothing(options, records, tmp_path):
    def files(folder):
        return {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*") if path.is_file()}

    new = small_options(records, tmp_path / "new")
    for second in (replace(options, resume=True, epochs=4), new):
        with only_one(folder_of(second), "training"):
            before = files(second.paths.run_dir)
            with pytest.raises(
                CommandError,
                match=r"^another training is running: .*/model_dump; wait until it is done, end it, or give "
                r"another --run_dir$",
            ):
                train(second)
            assert files(second.paths.run_dir) == before
    assert train(new) == 8
    assert train(replace(options, resume=True, epochs=4)) == 16


# ---- damaged checkpoints


def test_keep_spares_what_was_saved_after_damaged_checkpoints(options, capsys):
    damage(options, 2, 3)
    train(replace(options, resume=True, max_to_keep=1, epochs=2))
    assert names(options) == ["epoch-0002", "epoch-0002.damaged", "epoch-0003.damaged"]
    assert "epoch-0003.damaged" in capsys.readouterr().err
    assert train(replace(options, resume=True, max_to_keep=1)) == 12
    assert names(options) == ["epoch-0002.damaged", "epoch-0003", "epoch-0003.damaged"]


def test_keep_never_removes_the_checkpoint_just_saved_even_if_a_later_one_stands_there(options):
    saving = checkpoints.Checkpoints(
        folder_of(options), small_network((32, 64), 17), Nothing(), max_to_keep=1
    )
    saving.save(Progress(2), 8)
    assert saved_progress(folder_of(options)) == [Progress(2), Progress(3)]


class Nothing:
    variables = ()


@pytest.mark.parametrize("place", ["set_aside", "write_checkpoint", "remove_checkpoint"])
@pytest.mark.parametrize("calls", [0, 1])
def test_a_run_that_is_killed_over_damaged_checkpoints_goes_on_all_the_same(
    options, monkeypatch, place, calls
):
    damage(options, 2, 3)
    going_on = replace(options, resume=True, max_to_keep=1)
    with monkeypatch.context() as context:
        original, done = getattr(checkpoints, place), []

        def deadly(*arguments):
            if len(done) == calls:
                killed()
            done.append(original(*arguments))
            return done[-1]

        context.setattr(checkpoints, place, deadly)
        with pytest.raises(KilledError):
            train(going_on)
    assert saved_progress(folder_of(options))
    assert train(going_on) == 12
    assert saved_progress(folder_of(options))[-1] == Progress(3)


def test_a_last_checkpoint_that_cannot_be_read_for_a_moment_is_neither_set_aside_nor_trained_again(
    options, monkeypatch
):
    read, before = Path.read_bytes, names(options)

    def away(path):
        if path.parent.name == "epoch-0003":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(path)

    with monkeypatch.context() as context:
        context.setattr(Path, "read_bytes", away)
        with pytest.raises(RunError, match=r"epoch-0003 cannot be read \(Input/output error\)"):
            train(replace(options, resume=True, epochs=4))
    assert names(options) == before
    assert train(replace(options, resume=True, epochs=4)) == 16


def test_a_new_run_does_not_inherit_the_best_epoch_of_one_that_was_removed(options):
    write_best(folder_of(options), 3, "AP", 0.9)
    for path in folder_of(options).glob("epoch-*"):
        shutil.rmtree(path)
    train(options)
    assert read_best(folder_of(options)) == (None, None)


def test_damage_within_an_epoch_is_set_aside_too(options):
    shutil.copytree(folder_of(options) / "epoch-0003", folder_of(options) / "epoch-0003-update-000002")
    (folder_of(options) / "epoch-0003-update-000002/model.safetensors").write_bytes(b"")
    train(replace(options, resume=True, epochs=4))
    expected = [f"epoch-000{epoch}" for epoch in (1, 2, 3)]
    assert names(options) == [*expected, "epoch-0003-update-000002.damaged", "epoch-0004"]


def test_a_best_epoch_that_was_given_up_is_the_best_no_longer(options):
    write_best(folder_of(options), 3, "AP", 0.9)
    damage(options, 3)
    train(replace(options, resume=True))
    assert read_best(folder_of(options)) == (None, None)
    write_best(folder_of(options), 3, "AP", 0.9)
    train(replace(options, resume=True, epochs=4))
    assert read_best(folder_of(options)) == (3, 0.9)


def test_the_best_epoch_before_one_that_was_given_up_is_the_best_again(options):
    for epoch, value in ((1, 0.5), (2, 0.7), (3, 0.9)):
        write_best(folder_of(options), epoch, "AP", value)
    damage(options, 3)
    train(replace(options, resume=True))
    assert read_best(folder_of(options)) == (2, 0.7)
    write_best(folder_of(options), 3, "AP", 0.8)
    shutil.rmtree(folder_of(options) / "epoch-0002")
    damage(options, 3)
    train(replace(options, resume=True))
    assert read_best(folder_of(options)) == (1, 0.5)


def test_what_a_kill_left_is_removed_once_the_run_goes_on_and_not_by_a_start_that_is_refused(options):
    left = [folder_of(options) / f"epoch-0001{kind}.partial" for kind in ("", "-update-000003")]
    for path in left:
        path.mkdir()
        (path / "model.safetensors").write_bytes(b"half")
    with pytest.raises(RunError, match="already holds a run"):
        train(options)
    assert all(path.exists() for path in left)
    train(replace(options, resume=True, epochs=3))
    assert names(options) == ["epoch-0001", "epoch-0002", "epoch-0003"]
    shutil.rmtree(folder_of(options))
    left[0].mkdir(parents=True)
    train(replace(options, epochs=1))
    assert names(options) == ["epoch-0001"]


# ---- what a run was continued with


def test_what_a_run_was_continued_with_is_noted_beside_what_it_was_started_with(options):
    first = {"flags": {"max_to_keep": None, "seed": 0}, "commit": "a", "weights": "w.pth"}
    write_config(folder_of(options), replace(read_config(folder_of(options)), provenance=first))
    second = {"flags": {"max_to_keep": 2, "seed": 0}, "commit": "b", "weights": None}
    going_on = replace(options, resume=True, provenance=second)
    train(going_on)  # nothing is left to do, so nothing is noted
    assert read_config(folder_of(options)).provenance == first
    train(replace(going_on, epochs=4))
    damage(options, 4)
    train(replace(going_on, epochs=4, provenance={}))
    assert read_config(folder_of(options)).provenance == first | {
        "continued": [
            {"from": "epoch-0003", "updates": 12, "flags": {"max_to_keep": 2}, "commit": "b"},
            {"from": "epoch-0003", "updates": 12, "flags": {}},
        ]
    }


def test_initial_weights_are_not_used_again_and_others_are_refused(options, tmp_path, capsys):
    def started_from(provenance):
        write_config(folder_of(options), replace(read_config(folder_of(options)), provenance=provenance))

    def go_on(weights, given=True):
        train(replace(options, resume=True, initial_weights=weights, weights_given=given))
        return capsys.readouterr().err

    note = "is not used, the run goes on from its checkpoints"
    started_from({"weights": str(tmp_path / "a.pth")})
    assert f"note: --initial_weights={tmp_path}/a.pth {note}" in go_on(f"{tmp_path}/a.pth")
    assert note in go_on(os.path.relpath(tmp_path / "a.pth"))
    assert note not in go_on("found.pth", given=False)
    for other in ("b.pth", None):
        with pytest.raises(
            RunError, match=rf"^--initial_weights={other or 'none'}: .* started from .*a\.pth"
        ):
            go_on(other)
    started_from({"weights": None})
    assert note in go_on(None)
    with pytest.raises(RunError, match="started from random weights"):
        go_on("b.pth")
    started_from({})  # of a version that did not note it
    assert note in go_on("b.pth")
