"""The MPII release as a file: read, or refused with its path, whatever is in it."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from pipelines.annotations.mpii import coco_files
from pipelines.annotations.mpii_release import read_release
from pipelines.errors import BuildError
from tests.helpers.releases import EMPTY, POINT, rect, structs, write_release


@pytest.mark.parametrize("content", [b"", b"{}", b"\x89HDF\r\n\x1a\n" + bytes(600), b"x" * 4000, bytes(4000)])
def test_a_file_that_is_no_matlab_file_is_refused(tmp_path, content):
    path = tmp_path / "release.mat"
    path.write_bytes(content)
    with pytest.raises(BuildError, match=r"release\.mat.*expected mpii_human_pose_v1_u12_1\.mat"):
        read_release(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BuildError, match=r"none\.mat does not exist"):
        read_release(tmp_path / "none.mat")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annolist": EMPTY}, "annolist is missing or empty"),
        ({"annolist": 3.0}, "annolist is missing or empty"),
        ({"annolist": structs([{"image": EMPTY}])}, r"annolist\(1\) has no image\.name"),
        ({"annolist": structs([{"image": {"name": 3.0}}])}, r"annolist\(1\) has no image\.name"),
        ({"img_train": EMPTY}, "img_train needs a 0 or 1 for each of the 1 images"),
        ({"img_train": np.array([[1.0, 0.0]])}, "it has 2 values"),
        ({"img_train": np.array([[2.0]])}, "img_train needs"),
        ({"img_train": np.array([[math.nan]])}, "img_train needs"),
    ],
)
def test_a_release_without_its_parts_is_refused(tmp_path, changes, message):
    path = write_release(tmp_path, [("a.jpg", [rect([POINT])])], **changes)
    with pytest.raises(BuildError, match=message) as error:
        read_release(path)
    assert str(path) in str(error.value)


def test_another_matlab_file_is_refused(tmp_path):
    savemat(tmp_path / "other.mat", {"RELEASE2": 1.0})
    with pytest.raises(BuildError, match="no variable RELEASE"):
        read_release(tmp_path / "other.mat")


@settings(max_examples=25, deadline=None)  # a process each
@given(st.data())
def test_a_damaged_release_is_read_or_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    path = write_release(folder, [("a.jpg", [rect([POINT]), rect()]), ("b.jpg", [])])
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    try:
        entries = read_release(path)
    except BuildError as error:
        assert str(path) in str(error)  # noqa: PT017
        return
    for boxes in ("objpos", "keypoints"):
        json.dumps(coco_files(entries, lambda name: None, boxes), allow_nan=False)
