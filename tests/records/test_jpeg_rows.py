"""Rows of blocks cut out of a JPEG decode to the same pixels; what has no such rows is left alone."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.crops import CropOptions, encode_crop
from records.jpeg_rows import cut_rows, find_rows, restart_interval

OPTIONS = CropOptions(input_size=(48, 64))
FULL_COLOR = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)


def noise(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(pixels, interval, *flags):
    flags = (cv2.IMWRITE_JPEG_RST_INTERVAL, interval, *(flags or FULL_COLOR))
    return cv2.imencode(".jpg", pixels, flags)[1].tobytes()


def decode(jpeg):
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_UNCHANGED)


def test_rows_of_an_example():
    jpeg = encode(noise(20, 19), 3)
    rows = find_rows(jpeg)
    assert rows.height == 19
    assert len(rows.starts) - 1 == 3
    assert jpeg[rows.starts[1] - 2 : rows.starts[1]] == b"\xff\xd0"
    assert jpeg[rows.starts[2] - 2 : rows.starts[2]] == b"\xff\xd1"
    np.testing.assert_array_equal(decode(cut_rows(jpeg, rows, 1, 3)), decode(jpeg)[8:])
    assert cut_rows(jpeg, rows, 0, 3).tobytes() == jpeg


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 200),
    stored_scale=st.floats(0.1, 2),
    gray=st.booleans(),
    seed=st.integers(0, 9),
    data=st.data(),
)
def test_cut_rows_have_the_same_pixels(width, height, stored_scale, gray, seed, data):
    pixels = noise(width, height, seed)
    jpeg = encode_crop(pixels[..., 0] if gray else pixels, stored_scale, OPTIONS)
    rows = find_rows(jpeg)
    count = len(rows.starts) - 1
    assert count == -(-height // 8)
    first = data.draw(st.integers(0, count - 1))
    last = data.draw(st.integers(first + 1, count))
    part = decode(cut_rows(jpeg, rows, first, last))
    np.testing.assert_array_equal(part, decode(jpeg)[8 * first : 8 * last])


@pytest.mark.parametrize("first", range(10))
def test_the_markers_of_cut_rows_are_numbered_from_zero(first):
    """Decoders forgive some other numbers, but not all do, nor all numbers."""
    jpeg = encode(noise(10, 160), 2)
    part = cut_rows(jpeg, find_rows(jpeg), first, first + 10).tobytes()
    starts = find_rows(part).starts
    assert [part[start - 1] - 0xD0 for start in starts[1:-1]] == [0, 1, 2, 3, 4, 5, 6, 7, 0]


def test_a_scan_that_ends_without_its_end_marker_has_rows_too():
    jpeg = encode(noise(20, 19), 3)
    rows = find_rows(jpeg[:-2])
    assert cut_rows(jpeg[:-2], rows, 0, 3).tobytes() == jpeg


def test_rows_longer_than_a_markers_number_counts_are_one_interval_each():
    assert restart_interval(8 * 300) == 300
    assert restart_interval(8 * 300 + 1) == 301
    assert find_rows(encode(noise(8 * 300 + 1, 40), 301)) is not None


GOOD = encode(noise(40, 70), 5)

#: JPEGs, and others, without one restart marker after each row of blocks.
OTHERS = {
    "nothing": b"",
    "text": b"no picture at all",
    "PNG": cv2.imencode(".png", noise(40, 70))[1].tobytes(),
    "no markers": encode(noise(40, 70), 0),
    "markers within rows": encode(noise(40, 70), 4),
    "as many markers as rows need, but elsewhere": encode(noise(24, 16), 4),
    "markers after two rows": encode(noise(40, 70), 10),
    "halved colors": encode(
        noise(40, 70), 5, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    ),
    "progressive": encode(noise(40, 70), 5, *FULL_COLOR, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "a marker is missing": GOOD.replace(b"\xff\xd3", b"", 1),
    "a marker too many": GOOD.replace(b"\xff\xd3", b"\xff\xd3\xff\xd3", 1),
    "one scan for each color": GOOD.replace(b"\xff\xda\x00\x0c\x03", b"\xff\xda\x00\x0c\x01", 1),
    "another height": GOOD.replace(b"\x08\x00\x46\x00\x28\x03", b"\x08\x00\x56\x00\x28\x03", 1),
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_other_content_has_no_rows(content):
    assert find_rows(GOOD) is not None
    assert content != GOOD
    assert find_rows(content) is None


def test_a_header_that_ends_early_has_no_rows():
    one_row = encode(noise(40, 8), 5)
    header = one_row.index(b"\xff\xda") + 14
    assert find_rows(one_row[:header] + b"\xff\xd9") is not None
    for length in range(header):
        assert find_rows(one_row[:length]) is None
        assert find_rows(one_row[:length] + b"\xff\xd9") is None


@given(
    height=st.integers(1, 24),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    length=st.none() | st.integers(0, 10**6),
)
def test_damaged_files_have_rows_or_not_but_never_break_off(height, changes, length):
    content = bytearray(encode(noise(10, height), 2))
    for place, value in changes:
        content[place % len(content)] = value
    content = bytes(content[: None if length is None else length % len(content)])
    rows = find_rows(content)
    if rows is not None:
        count = len(rows.starts) - 1
        for first in range(count):
            part = cut_rows(content, rows, first, first + 1)
            assert part[:2].tobytes() == b"\xff\xd8"
            assert part[-2:].tobytes() == b"\xff\xd9"
