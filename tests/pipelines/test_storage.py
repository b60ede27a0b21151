"""What the build needs of Beam's file systems, on this host and in a store; and what goes wrong there."""

import http.server
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import google.auth
import pytest
from apache_beam.io.filesystem import FileSystem
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.localfilesystem import LocalFileSystem
from hypothesis import given
from hypothesis import strategies as st

from evaluate import cli as evaluate_cli
from hrpose.command import CommandError
from hrpose.storage import absolute, is_remote, path_of
from pipelines import cli as build_cli
from pipelines import storage, transforms
from pipelines.build import build_records
from pipelines.errors import BuildError
from pipelines.existing_build import clean_up
from pipelines.image_names import locate_image
from pipelines.images import read_image
from pipelines.instances import AnnotatedImage, Instance, Instances
from pipelines.shard_job import ShardJob
from pipelines.storage import (
    discard,
    exists,
    list_files,
    open_if_there,
    read_if_there,
    write_blocks,
    write_whole,
)
from pipelines.transforms import WriteShard
from records.annotations.image_ids import read_image_ids
from records.checking import cli as check_cli
from records.datasets import records_folder
from records.skeletons import COCO
from tests.helpers.builders import make_build, make_dataset, or_reason, shard_bytes, write_json
from tests.helpers.stores import BUCKET, put, store_of_this_process, stored, upload
from train import cli as train_cli

pytestmark = pytest.mark.timeout(60)

COMMANDS = {"build": build_cli, "check": check_cli, "train": train_cli, "evaluate": evaluate_cli}


@pytest.fixture(scope="module")
def requests(tmp_path_factory):
    """The emulator; the value lists what it was asked."""
    with store_of_this_process(tmp_path_factory.mktemp("cloud")) as requests:
        yield requests


@pytest.fixture(params=["here", "store"])
def folder(request, requests, tmp_path):
    """An empty folder, on this host and in a store."""
    return str(tmp_path) if request.param == "here" else f"{BUCKET}/{request.node.originalname}"


# ---- files


def test_a_file_appears_whole_replaces_an_earlier_one_and_leaves_no_other(folder):
    path = FileSystems.join(folder, "a", "file")
    for content in (b"first", b"", b"x" * (1 << 20)):
        write_whole(path, content)
        assert read_if_there(path) == content
    assert list_files(FileSystems.join(folder, "a")) == {"file": 1 << 20}


def test_what_cannot_be_put_in_its_place_leaves_no_other_either(folder, monkeypatch):
    def refusing(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FileSystems, "rename", refusing)
    with pytest.raises(OSError, match="No space"):
        write_whole(FileSystems.join(folder, "file"), b"content")
    assert list_files(folder) == {}


class FullDisk:
    """A file for which there is no room, as the system says it: without the file's name."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def write(self, content):
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_named_by_the_file_that_was_to_be_written(folder, monkeypatch):
    path = FileSystems.join(folder, "file")
    monkeypatch.setattr(FileSystems, "create", lambda *_, **__: FullDisk())
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_whole(path, b"content")
    assert caught.value.filename == path


def test_what_is_interrupted_while_it_is_written_leaves_nothing(folder, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(FileSystems, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(FileSystems.join(folder, "file"), b"content")
    assert list_files(folder) == {}


def test_several_writers_of_a_file_are_in_nobodys_way(folder):
    path = FileSystems.join(folder, "file")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: write_whole(path, b"the same" * 1000), range(40)))
    assert list_files(folder) == {"file": 8000}


def test_what_is_not_there_is_none_to_read_to_list_or_to_remove(folder):
    path = FileSystems.join(folder, "gone")
    assert open_if_there(path) is None
    assert read_if_there(path) is None
    assert list_files(path) == {}
    assert not exists(path)
    discard([path])
    discard([])
    storage.remove_folder(path)


def test_a_folder_with_something_in_it_is_there_and_goes_with_everything(folder):
    inner = FileSystems.join(folder, "inner")
    for name in ("a", "b/c"):
        write_whole(FileSystems.join(inner, *name.split("/")), b"x")
    write_whole(FileSystems.join(folder, "inner-other"), b"x")
    assert exists(inner)
    assert exists(FileSystems.join(inner, "b"))
    storage.remove_folder(inner)
    assert not exists(inner)
    assert list_files(folder) == {"inner-other": 1}


def test_a_folder_is_never_removed_nor_replaced_as_a_file(tmp_path):
    write_whole(str(tmp_path / "folder/inner"), b"x")
    for change in (lambda path: discard([path]), lambda path: write_whole(path, b"y")):
        with pytest.raises(BuildError, match="folder is a folder, and a file belongs there"):
            change(str(tmp_path / "folder"))
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "inner"]


def test_cleaning_up_leaves_files_that_are_not_ours(folder):
    for name in (
        ".build/plan-00000.json",
        "coco-val.tfrecord-00000-of-00001.0123456789ab.partial",
        "mine.partial",
        "notes",
    ):
        write_whole(FileSystems.join(folder, *name.split("/")), b"x")
    clean_up(folder)
    assert set(list_files(folder)) == {"mine.partial", "notes"}
    assert not exists(FileSystems.join(folder, ".build"))


def test_a_bucket_is_there_if_something_is_in_it(requests):
    put(f"{BUCKET}/bucket-test/a", b"")
    assert exists(BUCKET)
    assert exists(f"{BUCKET}/")


def test_paths_of_a_store_stay_what_they_are():
    assert str(records_folder("gs://a/b/", "val", "detections")) == "gs://a/b/val_detections"
    assert str(path_of("gs://a") / "b" / "c") == "gs://a/b/c"
    assert absolute("gs://a/b") == "gs://a/b"
    assert absolute("b") == str(Path.cwd() / "b")
    assert type(path_of("a/b")) is type(Path())
    assert [is_remote(path) for path in ("gs://a", "a:/b", "a//b", Path("gs://a"))] == [True] + 3 * [False]


# ---- images


NAMES = ("../a.jpg", "sub/../../a.jpg", "/a.jpg", "~/a.jpg", "", "..\\a.jpg")
NOWHERE = ("gs://other/a.jpg", "none.jpg", "a\nb.jpg", "\ud800.jpg", "x" * 1100, "sub", "*.jpg", "\0", " ")


def test_no_name_leads_out_of_an_image_folder_in_a_store_and_none_is_fatal(requests):
    images = f"{BUCKET}/pictures"
    put(f"{BUCKET}/a.jpg", b"secret")
    put(f"{images}/sub/a.jpg", b"no picture")
    for name in (*NAMES, *NOWHERE):
        image = AnnotatedImage(1, name, 4, 4)
        expected = "unsafe_path" if name in NAMES else "missing_image"
        assert or_reason(read_image, images, image)[:2] == (None, expected), name
    assert or_reason(read_image, images, AnnotatedImage(1, "sub/a.jpg", 4, 4))[1] == "unreadable_image"


@given(
    st.text(max_size=20) | st.lists(st.sampled_from(["..", "a", "/", "\\", "~", ".", "gs:"])).map("/".join)
)
def test_whatever_the_name_a_path_in_a_store_stays_below_the_folder(name):
    path, reason, _ = or_reason(locate_image, "gs://bucket/images", name)
    if path is None:
        assert reason in ("missing_image", "unsafe_path")
    else:
        assert path.startswith("gs://bucket/images/")
        assert ".." not in path.split("/")


# ---- shards


def job_of(tmp_path, folder, count=1):
    """A `ShardJob` of a few images whose plans are written."""
    data = make_dataset(tmp_path / "data", images=2)
    build = make_build(tmp_path / "data", folder)
    job = ShardJob(build.images, "", folder, "coco", "train", count, COCO, build.options)
    instances = {}
    for entry in data["annotations"]:
        instance = Instance(entry["id"], entry["bbox"], entry["keypoints"], entry["area"])
        instances.setdefault(entry["image_id"], Instances()).append(instance)
    images = [
        AnnotatedImage(i["id"], i["file_name"], i["width"], i["height"], instances[i["id"]])
        for i in data["images"]
    ]
    for index in range(count):
        write_whole(job.plan_path(index), job.plan_content(images))
    return job


def test_two_workers_on_the_same_shard_leave_one_shard(folder, tmp_path, monkeypatch):
    job, make_records = job_of(tmp_path, folder), transforms.make_records
    both = threading.Barrier(2, timeout=20)

    def together(*arguments):
        both.wait()  # neither has seen the other's shard
        return make_records(*arguments)

    monkeypatch.setattr(transforms, "make_records", together)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: list(WriteShard(job).process(0)), range(2)))
    side = job.finished(0)
    assert side["size"] == job.written()[0]
    assert set(list_files(folder)) - {"data"} == {Path(job.shard_path(0)).name}
    assert set(list_files(job.work_folder)) == {"plan-00000.json", "shard-00000.json"}


def test_a_worker_whose_build_is_over_meanwhile_writes_nothing(folder, tmp_path, monkeypatch):
    job, make_records = job_of(tmp_path, folder), transforms.make_records

    def late(*arguments):
        clean_up(folder)
        return make_records(*arguments)

    monkeypatch.setattr(transforms, "make_records", late)
    assert list(WriteShard(job).process(0)) == [0]
    assert job.written() == {}
    assert not exists(job.work_folder)


def test_looking_at_the_progress_takes_one_request_however_many_shards_wait(requests, tmp_path):
    job = job_of(tmp_path, f"{BUCKET}/progress", count=5)
    list(WriteShard(job).process(3))

    def of_objects():  # without those of the bucket itself, which the library makes when it likes
        return [line for line in requests if "/o" in line.split("?")[0]]

    before = len(of_objects())
    assert job.written().keys() == {3}
    assert len(of_objects()) == before + 1
    assert job.shard_result(3)["records"] > 0
    assert len(of_objects()) == before + 1 + 4


# ---- what goes wrong


def fails(capsys, command, *arguments, code=1):
    """Asserts that a command ends in one line, which is returned."""
    capsys.readouterr()
    assert COMMANDS[command].command([str(argument) for argument in arguments]) == code
    said = capsys.readouterr().err.strip()
    assert "Traceback" not in said
    return said.splitlines()[-1]


@pytest.fixture
def coco(tmp_path):
    make_dataset(tmp_path / "COCO", images=1)
    return tmp_path / "COCO"


def test_a_wrong_bucket_ends_in_one_line(requests, coco, capsys):
    line = fails(capsys, "build", "--dataset_dir=gs://nobody/COCO")
    assert "404" in line
    assert "nobody" in line
    assert "is there such a bucket?" in line
    line = fails(capsys, "build", f"--dataset_dir={coco}", "--records_dir=gs://nobody/records")
    assert "nobody" in line
    assert "bucket" in line
    line = fails(capsys, "check", "gs://nobody/records/train")
    assert "no records in gs://nobody/records/train" in line


def test_a_folder_or_file_that_is_not_in_the_bucket_is_named(requests, capsys):
    assert f"folder {BUCKET}/none does not exist" in fails(capsys, "build", f"--dataset_dir={BUCKET}/none")
    put(f"{BUCKET}/some/a", b"")
    line = fails(capsys, "build", f"--dataset_dir={BUCKET}/some", "--split=val")
    assert f"{BUCKET}/some/annotations/person_keypoints_val2017.json does not exist" in line


@pytest.fixture
def forbidden(requests, monkeypatch):
    """A store that lets nobody in."""

    class Forbidding(http.server.BaseHTTPRequestHandler):
        def refuse(self):
            content = b'{"error": {"code": 403, "message": "nobody has storage.objects.list access"}}'
            self.send_response(403)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    Forbidding.do_GET = Forbidding.do_POST = Forbidding.refuse
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forbidding)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
    type(path_of(BUCKET).fs).clear_instance_cache()
    yield
    server.shutdown()
    server.server_close()
    type(path_of(BUCKET).fs).clear_instance_cache()


def test_a_store_that_refuses_is_quoted(forbidden, coco, capsys):
    for arguments in (("--dataset_dir=gs://a/COCO",), (f"--dataset_dir={coco}", "--records_dir=gs://a/b")):
        line = fails(capsys, "build", *arguments)
        assert "nobody has storage.objects.list access" in line
        assert "gcloud auth application-default login" in line
    line = fails(capsys, "check", "gs://a/b")
    assert line.startswith("python records/check.py: gs://a/b/manifest.json cannot be read")
    assert "nobody has storage.objects.list access" in line


def test_without_credentials_nothing_is_tried(requests, monkeypatch, capsys):
    def none(*_, **__):
        raise google.auth.exceptions.DefaultCredentialsError("none")

    monkeypatch.setattr(google.auth, "default", none)
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    before = len(requests)
    line = fails(capsys, "build", "--dataset_dir=gs://a/COCO")
    assert line.startswith("python pipelines/build_records.py: no credentials for gs://a/COCO")
    assert "GOOGLE_APPLICATION_CREDENTIALS" in line
    assert len(requests) == before


@pytest.mark.parametrize("missing", ["upath", "s3fs"])
def test_a_reader_without_the_packages_says_what_to_install(missing, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    line = fails(capsys, "check", "s3://a/b")
    assert "pip install -r requirements-cloud.txt" in line


def test_a_build_without_the_packages_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(FileSystem, "get_all_subclasses", classmethod(lambda cls: [LocalFileSystem]))
    line = fails(capsys, "build", "--dataset_dir=gs://a/b")
    assert "pip install -r requirements-cloud.txt" in line


def test_paths_of_nobody_are_refused(capsys):
    for command, arguments in (("build", ["--dataset_dir=foo://a/b"]), ("check", ["foo://a/b"])):
        assert "foo://a/b" in fails(capsys, command, *arguments)
    with pytest.raises(BuildError, match="knows no foo://"):
        storage.check_reachable(None, "here", "foo://a/b")


def test_drawing_and_writing_results_into_a_store_is_refused(requests, capsys):
    line = fails(capsys, "build", "--dataset=synthetic", f"--dataset_dir={BUCKET}/drawn")
    assert "generated on this host" in line
    for command in ("train", "evaluate"):
        line = fails(capsys, command, f"--run_dir={BUCKET}/output", code=2)
        assert line.startswith(f"python {command}/main.py: --run_dir={BUCKET}/output")
    assert not [name for name in stored(BUCKET) if name.startswith(("drawn", "output"))]
    assert not os.path.exists("gs:")  # noqa: PTH110 - what pathlib would have made of it


def test_an_error_of_this_worker_is_not_said_to_be_a_stores(tmp_path):
    with pytest.raises(BuildError, match=r"No such file.*none") as caught, storage.store_errors():
        FileSystems.rename([str(tmp_path / "none")], [str(tmp_path / "a")])
    assert "store" not in str(caught.value)


def test_errors_of_our_own_and_of_this_worker_pass_through():
    for error in (BuildError("ours"), FileNotFoundError("here"), KeyError("a bug")):
        with pytest.raises(type(error)) as caught, storage.store_errors():
            raise error
        assert caught.value is error


def test_a_list_of_images_is_read_from_a_store(requests, tmp_path, capsys):
    make_dataset(tmp_path, images=3)
    upload(tmp_path, f"{BUCKET}/listed")
    put(f"{BUCKET}/listed/ids.txt", b"1\n2\n")
    arguments = (f"--dataset_dir={BUCKET}/listed", "--max_bad_fraction=1", "--input_size=64x96")
    assert build_cli.command([*arguments, f"--image_ids={BUCKET}/listed/ids.txt"]) == 0
    assert "image_not_listed" in capsys.readouterr().out
    with pytest.raises(CommandError, match="cannot be read"):
        read_image_ids(f"{BUCKET}/none.txt")


# ---- going on with other annotations


def test_a_shard_of_earlier_annotations_is_not_taken_for_one_of_the_mended(
    dataset_dir, tmp_path, monkeypatch
):
    data = json.loads((dataset_dir / "annotations/person_keypoints_train2017.json").read_text())
    write_json(tmp_path / "train.json", data)
    build = make_build(dataset_dir, tmp_path / "out", instances_per_shard=6)
    build = replace(build, annotations=str(tmp_path / "train.json"))
    written = []

    def stopping(path, blocks):
        """Stops before the second shard appears, whose side file is there already."""
        written.append(path)
        if len(written) == 2:
            raise OSError("stopped")
        write_blocks(path, blocks)

    with monkeypatch.context() as context:
        context.setattr(transforms, "write_blocks", stopping)
        with pytest.raises(BuildError, match="stopped"):
            build_records(build)
        (shard,) = (tmp_path / "out").glob("*.tfrecord-*")
        for one in data["annotations"]:
            one["keypoints"][0] += 1
        write_json(tmp_path / "train.json", data)
        written[:] = ["one"]  # stops before the first one now
        with pytest.raises(BuildError, match="stopped"):
            build_records(build)
    assert not shard.exists()
    build_records(build)
    build_records(replace(build, folder=str(tmp_path / "fresh")))
    assert shard_bytes(tmp_path / "out") == shard_bytes(tmp_path / "fresh")
