"""One writer of a folder at a time."""

import os
import signal
import subprocess
import sys

import pytest

from hrpose.command import CommandError
from hrpose.lock import only_one
from tests.helpers.shared import ROOT

HOLD = """
import sys, time
from hrpose.lock import only_one
with only_one(sys.argv[1], "test"):
    print("held", flush=True)
    time.sleep(120)
"""


def test_the_lock_of_a_process_ends_with_it_however_that_ends(tmp_path):
    folder = tmp_path / "parts/coco"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(
                CommandError,
                match=r"^another test is running: .*parts/coco; wait until it is done, or end it$",
            ),
            only_one(folder, "test"),
        ):
            pass
        with only_one(tmp_path / "parts/mpii", "test"):
            pass
    finally:
        os.kill(other.pid, signal.SIGKILL)
        other.communicate()
    with only_one(folder, "test"):
        assert [path.name for path in folder.iterdir()] == ["lock"]


def test_the_lock_ends_with_the_body(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), only_one(tmp_path, "test"):
            raise KeyError
    with (
        only_one(tmp_path, "test"),
        pytest.raises(CommandError, match="another"),
        only_one(tmp_path, "test"),
    ):
        pass


def test_a_file_system_without_locks_is_warned_of(tmp_path, monkeypatch, caplog):
    def no_locks(file, how):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("hrpose.lock.fcntl.flock", no_locks)
    with only_one(tmp_path, "test"):
        assert "cannot be locked (No locks available); see to it that no other test runs" in caplog.text


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with (
            pytest.raises(CommandError, match=f"{name} cannot be used .*: File exists"),
            only_one(tmp_path / name, "test"),
        ):
            pass
