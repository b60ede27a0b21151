"""What an epoch feeds to the network: always the records that the run began with."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from model.run_folder import RunError, saved_epochs
from records.checking.damage import damage_reported
from records.errors import RecordsError
from records.manifest import MANIFEST, read_manifest
from records.reader import read_records
from tests.helpers.small_runs import make_records, small_options
from train import loop
from train.loop import train

pytestmark = pytest.mark.usefixtures("small_networks")


@pytest.fixture(scope="module")
def other_records(tmp_path_factory):
    """Another build of the same instances, in as many shards of the same names."""
    return make_records(tmp_path_factory.mktemp("other"), quality=80)


@pytest.fixture
def copied(records, tmp_path):
    """A copy of the records to be replaced."""
    return shutil.copytree(records, tmp_path / "records")


def exchange(folder, other):
    """Puts another build's files in the place of a folder's, the manifest last."""
    for path in Path(folder).iterdir():
        path.unlink()
    for path in sorted(other.iterdir(), key=lambda path: path.name == MANIFEST):
        shutil.copy(path, folder)


def test_records_that_are_replaced_between_two_epochs_end_the_run_and_keep_its_checkpoint(
    copied, other_records, tmp_path, monkeypatch
):
    options = small_options(copied, tmp_path / "run")
    batches = loop.epoch_batches

    def batches_of_others(run, epoch, start):
        if epoch == 1:
            exchange(options.paths.records, other_records / "train")
        return batches(run, epoch, start)

    monkeypatch.setattr("train.loop.epoch_batches", batches_of_others)
    with pytest.raises(RecordsError, match=r"no longer those .* another build has replaced them") as error:
        train(options)
    assert "\n" not in str(error.value)
    assert saved_epochs(tmp_path / "run/model_dump") == [1]
    monkeypatch.undo()
    with pytest.raises(RunError, match="records"):  # nor does it go on with them
        train(replace(options, resume=True))


def test_records_that_are_replaced_while_they_are_read_are_told_as_such(copied, other_records):
    folder = copied / "train"
    fingerprint = read_manifest(folder).fingerprint
    dataset = read_records(folder, 4, fingerprint=fingerprint)
    exchange(folder, other_records / "train")
    with (
        pytest.raises(RecordsError, match="no longer those"),
        damage_reported(folder, fingerprint=fingerprint),
    ):
        list(dataset)
    with pytest.raises(RecordsError, match=f"expected {fingerprint}"):
        read_records(folder, 4, fingerprint=fingerprint)
    read_records(folder, 4, fingerprint=read_manifest(folder).fingerprint)


def test_a_shard_of_another_build_under_the_old_manifest_is_not_read(copied, other_records):
    """An exchange that is half done."""
    folder = copied / "train"
    fingerprint = read_manifest(folder).fingerprint
    dataset = read_records(folder, 4, fingerprint=fingerprint)
    name = read_manifest(folder).shards[-1].name
    shutil.copy(other_records / "train" / name, folder)
    with (
        pytest.raises(RecordsError, match=rf"damaged \({name}: .*"),
        damage_reported(folder, fingerprint=fingerprint),
    ):
        list(dataset)
