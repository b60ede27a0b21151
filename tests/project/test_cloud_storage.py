"""Records built from and to gs://, and read from there, with an emulator in the place of Google's servers."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from evaluate.metrics.posetrack_files import frame_ids
from hrpose.command import CommandError
from hrpose.storage import copies_folder, path_of
from pipelines import cli as build_cli
from pipelines import transforms
from pipelines.build import build_records
from pipelines.storage import discard
from records.augment import Augmentation
from records.checking import cli as check_cli
from records.checking.damage import find_damage
from records.errors import RecordsError
from records.manifest import read_manifest
from records.reader import read_records
from tests.helpers.builders import make_build, shard_bytes
from tests.helpers.commands import succeeds
from tests.helpers.messages import messages
from tests.helpers.releases import write_mpii, write_posetrack
from tests.helpers.small_evaluations import small_evaluation
from tests.helpers.small_runs import small_options
from tests.helpers.stores import BUCKET, put, store_of_this_process, stored, upload

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def requests(tmp_path_factory):
    """The emulator; the value lists what it was asked."""
    with store_of_this_process(tmp_path_factory.mktemp("cloud")) as requests:
        yield requests


@pytest.fixture(scope="module")
def cloud_dataset(requests, dataset_dir):
    """The path of the test dataset in the store."""
    upload(dataset_dir, f"{BUCKET}/COCO")
    return f"{BUCKET}/COCO"


def cloud_build(dataset, folder, **changes):
    """The `Build` of `make_build`, of a dataset in the store."""
    build = make_build("/", folder, instances_per_shard=6)
    return replace(
        build,
        annotations=f"{dataset}/annotations/person_keypoints_train2017.json",
        images=f"{dataset}/images/train2017",
        **changes,
    )


@pytest.fixture(scope="module")
def cloud_records(cloud_dataset):
    """The path of the dataset's records in the store, in 4 shards."""
    folder = f"{BUCKET}/built/train"
    build_records(cloud_build(cloud_dataset, folder))
    return folder


def build_command(*arguments):
    return build_cli.command([*map(str, arguments)])


# ---- building


def test_a_build_from_and_to_a_store_has_the_bytes_of_a_local_one_and_leaves_nothing_else(
    cloud_records, finished
):
    there = stored(cloud_records)
    assert there.keys() == {path.name for path in finished.iterdir()}
    for name, content in shard_bytes(finished).items():
        assert hashlib.sha256(there[name]).digest() == hashlib.sha256(content).digest()
    manifests = [json.loads(content) for content in (there["manifest.json"], _bytes(finished))]
    places = manifests[0].pop("source")
    assert {path.split("COCO/")[0] for path in places.values()} == {f"{BUCKET}/"}
    del manifests[1]["source"]
    assert manifests[0] == manifests[1]


def _bytes(folder):
    return (folder / "manifest.json").read_bytes()


def test_a_finished_build_in_a_store_says_so_and_removes_what_a_killed_one_left(cloud_dataset, cloud_records):
    before = stored(cloud_records)
    put(f"{cloud_records}/.build/plan-00000.json", b"[]")
    put(f"{cloud_records}/coco-train.tfrecord-00000-of-00004.0123456789ab.partial", b"half")
    with messages([]) as said:
        build_records(cloud_build(cloud_dataset, cloud_records))
    assert ["already built" in line for line in said] == [True]
    assert stored(cloud_records) == before


def test_an_interrupted_build_in_a_store_goes_on_and_leaves_nothing(
    cloud_dataset, cloud_records, requests, monkeypatch
):
    folder = f"{BUCKET}/interrupted"
    make_records, started = transforms.make_records, []

    def failing(*arguments):
        started.append(arguments)
        if len(started) == 3:
            raise OSError("no more")
        return make_records(*arguments)

    monkeypatch.setattr(transforms, "make_records", failing)
    with pytest.raises(Exception, match="no more"):
        build_records(cloud_build(cloud_dataset, folder))
    monkeypatch.undo()
    done = {name for name in stored(folder) if name.startswith("coco-train")}
    assert len(done) == 2
    put(f"{folder}/.build/shard-00003.json.0123456789ab.partial", b"half")
    put(f"{folder}/coco-train.tfrecord-00003-of-00004.0123456789ab.partial", b"half")
    put(f"{folder}/manifest.json.0123456789ab.partial", b"half")
    before = len(requests)
    build_records(cloud_build(cloud_dataset, folder))
    moved = [line for line in requests[before:] if "/o/" in line and line.startswith("DELETE")]
    assert not any(name in line for name in done for line in moved)
    assert stored(folder) == stored(cloud_records)


def test_a_mended_annotation_file_in_a_store_makes_only_its_shards_again(cloud_dataset, cloud_records):
    folder, broken = f"{BUCKET}/mended", f"{BUCKET}/Broken"
    data = json.loads(stored(cloud_dataset)["annotations/person_keypoints_train2017.json"])
    bad = data["annotations"][0] | {"keypoints": [1]}
    for entries in ([bad, *data["annotations"][1:]], data["annotations"]):
        changed = json.dumps(data | {"annotations": entries}).encode()
        put(f"{broken}/annotations/person_keypoints_train2017.json", changed)
        build = replace(cloud_build(broken, folder), images=f"{cloud_dataset}/images/train2017")
        if bad in entries:
            with pytest.raises(Exception, match="1 bad_keypoints"):
                build_records(replace(build, max_bad_fraction=0))
        else:
            build_records(replace(build, max_bad_fraction=0))
    assert shards(stored(folder)) == shards(stored(cloud_records))
    build_records(replace(build, overwrite=True))
    assert shards(stored(folder)) == shards(stored(cloud_records))


def shards(there):
    return {name: content for name, content in there.items() if ".tfrecord-" in name}


@pytest.mark.slow
def test_two_workers_build_the_same_by_the_real_command(cloud_dataset, cloud_records, tmp_path):
    options = ("--instances_per_shard=6", "--input_size=64x96", "--boxes=ground_truth", "--split=train")
    command = ("pipelines/build_records.py", "--dataset=coco", *options)
    succeeds(tmp_path, *command, f"--dataset_dir={cloud_dataset}", "--workers=2")
    shutil.rmtree(tmp_path, ignore_errors=True)
    tmp_path.mkdir()
    upload_free = tmp_path / "COCO"
    for name, content in stored(cloud_dataset).items():
        if not name.startswith("records/"):
            (upload_free / name).parent.mkdir(parents=True, exist_ok=True)
            (upload_free / name).write_bytes(content)
    succeeds(tmp_path, *command, f"--dataset_dir={upload_free}")
    there = stored(f"{cloud_dataset}/records/train")
    assert shards(there) == shard_bytes(upload_free / "records/train")
    assert there.keys() == {path.name for path in (upload_free / "records/train").iterdir()}


@pytest.mark.parametrize(("dataset", "write"), [("mpii", write_mpii), ("posetrack", write_posetrack)])
def test_mpii_and_posetrack_are_converted_and_built_in_a_store_as_here(
    requests, dataset, write, tmp_path, capsys
):
    write(tmp_path / "data")
    upload(tmp_path / "data", f"{BUCKET}/{dataset}")
    command = ("--dataset", dataset, "--max_bad_fraction=1", "--dataset_dir")
    assert build_command(*command, tmp_path / "data") == 0
    assert build_command(*command, f"{BUCKET}/{dataset}/") == 0
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    here = {path.relative_to(tmp_path / "data").as_posix(): path.read_bytes() for path in files}
    there = stored(f"{BUCKET}/{dataset}")
    assert here.keys() == there.keys()
    assert {n for n in here if here[n] != there[n]} == {n for n in here if n.endswith("manifest.json")}
    capsys.readouterr()
    assert build_command(*command, f"{BUCKET}/{dataset}") == 0
    said = "".join(capsys.readouterr())
    assert said.count("already converted") == 1
    assert "→" not in said  # every folder is "already built"
    if dataset == "posetrack":
        originals = "original_annotations/train"
        assert frame_ids(f"{BUCKET}/{dataset}/{originals}") == frame_ids(tmp_path / "data" / originals)


# ---- reading


def test_the_reader_gives_the_same_batches_and_copies_the_shards_once(cloud_records, finished, requests):
    assert read_manifest(cloud_records).fingerprint == read_manifest(finished).fingerprint
    options = {"augmentation": Augmentation(), "seed": 3, "epoch": 1, "shuffle_buffer": 8}
    shutil.rmtree(copies_folder(), ignore_errors=True)
    counts = []
    for _ in range(2):
        before = len(requests)
        batches = [
            list(read_records(folder, 5, **options).as_numpy_iterator())
            for folder in (cloud_records, finished)
        ]
        counts.append(sum("tfrecord" in line for line in requests[before:]))
        for there, here in zip(*batches, strict=True):
            assert there.keys() == here.keys()
            for name in there:
                np.testing.assert_array_equal(there[name], here[name])
    assert counts[0] >= 4
    assert counts[1] == 0
    copied = [path for path in copies_folder().rglob("*") if path.is_file()]
    assert {path.name: path.read_bytes() for path in copied} == shard_bytes(finished)


def test_a_copy_that_is_cut_off_is_made_again(cloud_records, finished):
    list(read_records(cloud_records, 5))
    (copy,) = copies_folder().rglob("*-00002-of-*")
    copy.write_bytes(b"half")
    list(read_records(cloud_records, 5))
    assert copy.read_bytes() == shard_bytes(finished)[copy.name]


def test_the_check_reads_a_store_and_names_what_is_damaged_there(
    cloud_records, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    damaged = f"{BUCKET}/damaged/train"
    for name, content in stored(cloud_records).items():
        changed = content[:500] + b"!" + content[501:]
        put(f"{damaged}/{name}", changed if "00001-of" in name else content)
    assert check_cli.command([cloud_records, "--num_images=2"]) == 0
    assert stored(cloud_records)["contact_sheet.png"].startswith(b"\x89PNG")
    discard([f"{cloud_records}/contact_sheet.png"])
    assert check_cli.command([damaged, "--num_images=0"]) == 1
    said = capsys.readouterr()
    assert "1 damaged" in said.out
    assert "coco-train.tfrecord-00001-of-00004: SHA-256" in said.err
    with pytest.raises(CommandError, match="00001-of-00004 is not what the manifest"):
        read_records(damaged, 5)
    (damage,) = find_damage(damaged)
    assert (damage.shard[-14:], damage.usable) == ("00001-of-00004", 0)
    instances = len(list(read_records(damaged, 1, damage=(damage,))))
    assert instances == read_manifest(damaged).records - damage.lost


def test_a_shard_that_is_missing_in_a_store_is_named(cloud_records, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = f"{BUCKET}/incomplete"
    for name, content in stored(cloud_records).items():
        if "00002-of" not in name:
            put(f"{folder}/{name}", content)
    with pytest.raises(RecordsError, match="00002-of-00004 is missing"):
        read_manifest(folder)
    assert [part.shard[-14:] for part in find_damage(folder)] == ["00002-of-00004"]


def test_a_run_is_trained_and_evaluated_from_a_store_as_from_here(
    records, requests, small_networks, tmp_path
):
    from evaluate.run import evaluate_run
    from train.loop import train

    upload(records.parent, f"{BUCKET}/small")
    results = []
    for place in (str(records.parent), f"{BUCKET}/small"):
        output = tmp_path / str(len(results))
        options = small_options(path_of(f"{place}/records"), output, epochs=1, deterministic=True)
        train(options)
        evaluate_run(small_evaluation(options))
        (written,) = (output / "result").glob("*_results.json")
        weights = output / "model_dump/epoch-0001/model.safetensors"
        results.append((weights.read_bytes(), written.read_bytes()))
    assert results[0] == results[1]
