"""MATLAB files are read in a process of their own: what it says, and that its death is an error."""

import numpy as np
import pytest
from scipy.io import savemat

from evaluate.metrics.mpii_files import load_ground_truth
from pipelines.cli import command
from records.annotations import mat_files
from records.annotations.mat_files import CELLS, read_mat
from tests.helpers.releases import mpii_instances, write_mpii, write_release
from tests.helpers.shared import shared_data


def saved(tmp_path, compress=False, **variables):
    savemat(tmp_path / "a.mat", variables, do_compression=compress)
    return (tmp_path / "a.mat").read_bytes()


def test_values_come_back_as_plain_ones(tmp_path):
    cells = np.empty((1, 2), object)
    cells[0] = ["a b", np.arange(3)]
    content = saved(
        tmp_path,
        compress=True,
        numbers=np.array([[1.5, np.nan], [-np.inf, 2**-1074]]),
        small=np.uint8(7),
        cube=np.arange(8).reshape(2, 2, 2),
        empty=np.zeros((0, 3)),
        text="a name",
        cells=cells,
        struct={"x": 1.0, "inner": {"y": "z"}},
    )
    names = ["numbers", "small", "cube", "empty", "text", "cells", "struct", "absent"]
    found = read_mat(content, names)
    np.testing.assert_array_equal(found.pop("numbers"), [[1.5, np.nan], [-np.inf, 2**-1074]])
    assert found == {
        "small": [[7]],
        "cube": np.arange(8).reshape(2, 2, 2).tolist(),
        "empty": [],
        "text": "a name",
        "cells": {CELLS: ["a b", [[0, 1, 2]]]},
        "struct": {CELLS: [{"x": [[1.0]], "inner": {CELLS: [{"y": "z"}]}}]},
    }


def test_only_what_is_asked_for_is_read(tmp_path):
    assert read_mat(saved(tmp_path, a=1.0, b=2.0), ["b"]) == {"b": [[2.0]]}


@pytest.mark.parametrize("content", [b"", b"no matrix", b"\x89HDF\r\n\x1a\n" + bytes(600)])
def test_another_file_is_refused_with_the_reason(content):
    with pytest.raises(ValueError, match=r"\w"):
        read_mat(content, ["a"])


def crashing(tmp_path):
    """A release of which one byte was changed so that SciPy ends its process: a text's type."""
    path = write_release(tmp_path, [("a.jpg", mpii_instances((60, 60))), ("b.jpg", mpii_instances((80, 50)))])
    content = bytearray(path.read_bytes())
    content[492] = 10
    return bytes(content)


DYING = """
import os, signal, sys
os.kill(os.getpid(), signal.SIGSEGV)
"""


def test_a_process_that_dies_is_an_error_like_another(tmp_path, monkeypatch):
    child = tmp_path / "child.py"
    child.write_text(DYING)
    monkeypatch.setattr(mat_files, "__file__", str(child))
    with pytest.raises(ValueError, match="damaged: the process that read it ended with SIGSEGV"):
        read_mat(b"x" * (1 << 20), ["a"])


def test_a_process_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    child = tmp_path / "child.py"
    child.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(mat_files, "__file__", str(child))
    monkeypatch.setattr(mat_files, "_SECONDS", 0.2)
    with pytest.raises(ValueError, match=r"takes longer than 0\.2 seconds"):
        read_mat(b"", ["a"])


def test_the_memory_is_bounded(tmp_path, monkeypatch):
    # A file that promises more than there is: zeros that compress to nearly nothing.
    content = saved(tmp_path, compress=True, a=np.zeros((400, 1 << 20), np.uint8))
    assert len(content) < 1 << 20
    limited = tmp_path / "child.py"
    source = open(mat_files.__file__).read().replace("600, 8 << 30", "600, 640 << 20")  # noqa: PTH123, SIM115
    limited.write_text(source)
    monkeypatch.setattr(mat_files, "__file__", str(limited))
    with pytest.raises(ValueError, match=r"[Mm]emory|allocate"):
        read_mat(content, ["a"])


def test_a_working_directory_with_modules_of_its_own_does_not_matter(tmp_path, monkeypatch):
    content = saved(tmp_path, a=1.0)
    for name in ("numpy", "scipy", "json", "records"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('mine')")
    monkeypatch.chdir(tmp_path)
    assert read_mat(content, ["a"]) == {"a": [[1.0]]}


def test_a_release_that_ends_the_process_fails_in_one_line_that_names_it(tmp_path, capfd):
    write_mpii(tmp_path)
    path = tmp_path / "mpii_human_pose_v1_u12_1.mat"
    path.write_bytes(crashing(tmp_path))
    assert command(["--dataset=mpii", f"--dataset_dir={tmp_path}"]) == 1
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert f"{path} cannot be read as a MATLAB file" in said


def test_every_byte_of_a_ground_truth_may_be_changed(tmp_path):
    """Of an uncompressed file, at every so many places: none ends this process."""
    cells = np.empty((1, 1), object)
    cells[0, 0] = "rank"
    content = saved(tmp_path, dataset_joints=cells, pos_gt_src=np.zeros((2, 2)))
    for place in range(128, len(content), 61):
        changed = bytearray(content)
        changed[place] ^= 2
        (tmp_path / "gt_valid.mat").write_bytes(changed)
        with pytest.raises(ValueError, match=r"gt_valid\.mat"):
            load_ground_truth(tmp_path / "gt_valid.mat")


def test_the_release_of_the_shared_cases_is_refused(capfd, tmp_path):
    folder = shared_data("cases", "a03-mat-that-ends-the-process", "dataset")
    flags = [f"--dataset_dir={folder}", f"--records_dir={tmp_path}", f"--annotations_dir={tmp_path}/a"]
    assert command(["--dataset=mpii", *flags]) == 1
    said = capfd.readouterr().err
    assert "mpii_human_pose_v1_u12_1.mat cannot be read as a MATLAB file (damaged: " in said
    assert said.count("\n") == 1
