"""Files are written whole or not at all."""

import json
import os
import re

import pytest

from hrpose.atomic_files import WriteError, replacing, write_json, write_whole
from hrpose.command import CommandError
from hrpose.storage import irregular_kind
from tests.helpers.full_disk import full_disk_at


@pytest.mark.parametrize("content", [b"\x00\xff", "ä\n"])
def test_what_is_written_is_there_and_nothing_else(tmp_path, content):
    path = write_whole(tmp_path / "a.b", "before")
    assert write_whole(str(path), content) == path
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert list(tmp_path.iterdir()) == [path]
    plain = tmp_path / "plain"
    plain.write_text("")
    assert path.stat().st_mode == plain.stat().st_mode  # as readable to others as any file


def test_a_full_disk_is_named_with_the_path_and_leaves_what_was_there(tmp_path, monkeypatch):
    path = write_json(tmp_path / "a.json", {"b": 1}, indent=1)
    full_disk_at("a.json", monkeypatch)
    with pytest.raises(WriteError, match=rf"^{re.escape(str(path))} could not be written: No space left on "):
        write_json(path, {"b": 2})
    assert json.loads(path.read_text()) == {"b": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_where_a_file_is_to_go_is_refused_and_stays(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    with pytest.raises(WriteError, match=r"a could not be written: Is a directory"):
        write_whole(tmp_path / "a", b"")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b"]


def fill(path, kind, content):
    if kind == "file":
        path.write_text(content)
    else:
        path.mkdir()
        (path / "inside").write_text(content)


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("after", ["file", "folder"])
@pytest.mark.parametrize("before", ["file", "folder", "nothing"])
def test_a_file_or_folder_takes_the_place_of_another_as_a_whole(tmp_path, before, after, durable):
    path = tmp_path / "a"
    if before != "nothing":
        fill(path, before, "before")
    if before not in (after, "nothing"):
        with pytest.raises(OSError, match="directory"), replacing(path, durable) as temporary:
            fill(temporary, after, "after")
        assert (path if before == "file" else path / "inside").read_text() == "before"
    with replacing(path, durable, any_kind=True) as temporary:
        fill(temporary, after, "after")
        assert temporary.parent == tmp_path
    assert (path if after == "file" else path / "inside").read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_of_a_body_that_fails_nothing_is_left_and_what_was_there_stays(tmp_path, kind):
    fill(tmp_path / "a", kind, "before")

    def fail(temporary):
        fill(temporary, kind, "half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a") as temporary:
        fail(temporary)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert "before" in (tmp_path / "a" if kind == "file" else tmp_path / "a/inside").read_text()


def test_a_folder_that_is_none_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("nowhere", "file"):
        with pytest.raises(CommandError, match=rf"{folder}/a could not be written: No"):
            write_whole(tmp_path / folder / "a", b"")


def test_two_who_write_the_same_file_do_not_meet(tmp_path, monkeypatch):
    path, replace = tmp_path / "a", os.replace
    seen = []

    def other_in_between(source, target):
        if not seen:
            seen.append(source)
            assert write_whole(path, "other").read_text() == "other"
        return replace(source, target)

    monkeypatch.setattr("pathlib.Path.replace", other_in_between)
    assert write_whole(path, "mine").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_text_may_name_a_file_whose_name_is_no_utf_8(tmp_path):
    write_whole(tmp_path / "a", f"of {os.fsdecode(b'a' + bytes([255]))}")
    assert (tmp_path / "a").read_text() == "of a\\udcff"


@pytest.mark.parametrize("name", ["n" * 255, "🐈" * 63])
def test_a_name_as_long_as_the_file_system_takes_is_written(tmp_path, name):
    assert write_whole(tmp_path / name, b"content").read_bytes() == b"content"
    with pytest.raises(WriteError, match="could not be written: File name too long"):
        write_whole(tmp_path / f"{name}nnnn", b"content")
    assert [path.name for path in tmp_path.iterdir()] == [name]


# ---- what is no file


@pytest.mark.timeout(20)
def test_what_is_no_regular_file_is_told_by_its_kind(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a").write_text("file")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "circle").symlink_to("circle")
    kinds = {
        "pipe": "a pipe",
        ".": "a folder",
        "a": None,
        "link": None,
        "circle": None,
        "none": None,
        "\0": None,
    }
    assert {name: irregular_kind(tmp_path / name) for name in kinds} == kinds
    assert irregular_kind("/dev/zero") == "a device"
    assert irregular_kind("gs://bucket/a") is None
