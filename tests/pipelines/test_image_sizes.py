"""Sizes of images from their headers, on this host and in a store."""

import cv2
import numpy as np
import pytest

from pipelines.image_sizes import header_sizes, with_sizes
from pipelines.instances import AnnotatedImage, Instance
from tests.helpers.stores import BUCKET, put, store_of_this_process


@pytest.fixture(scope="module")
def requests(tmp_path_factory):
    """The emulator; the value lists what it was asked."""
    with store_of_this_process(tmp_path_factory.mktemp("cloud")) as requests:
        yield requests


def test_sizes_come_from_the_header_and_ignore_exif_orientation(tmp_path):
    ok, data = cv2.imencode(".jpg", np.zeros((30, 50, 3), np.uint8))
    assert ok
    turned = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    data = data.tobytes()
    (tmp_path / "plain.jpg").write_bytes(data)
    turned = data[:2] + b"\xff\xe1" + (len(turned) + 2).to_bytes(2, "big") + turned + data[2:]
    (tmp_path / "turned.jpg").write_bytes(turned)
    (tmp_path / "cut.jpg").write_bytes(data[:10])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    size_of = header_sizes(tmp_path)
    assert size_of("plain.jpg") == size_of("turned.jpg") == (50, 30)
    for name in ("cut.jpg", "empty.jpg", "folder.jpg", "none.jpg", "", "/plain.jpg"):
        assert size_of(name) is None
    assert header_sizes(tmp_path / "folder.jpg")("../plain.jpg") is None


@pytest.mark.parametrize(("width", "known"), [(2**31 - 1, True), (2**31, False), (10**22, False)])
def test_a_size_that_no_image_has_is_none(tmp_path, width, known):
    (tmp_path / "a.ppm").write_bytes(b"P6 %d 3 255\n" % width)
    assert header_sizes(tmp_path)("a.ppm") == ((width, 3) if known else None)


@pytest.mark.parametrize("place", ["here", "store"])
def test_images_without_a_size_have_their_files(requests, tmp_path, place):
    encoded, data = cv2.imencode(".png", np.zeros((30, 50, 3), np.uint8))
    assert encoded
    folder = str(tmp_path) if place == "here" else f"{BUCKET}/sizes"
    for number in range(40):
        put(f"{folder}/photos/{number}.png", data.tobytes())
    put(f"{folder}/photos/broken.png", b"no picture")
    names = [*(f"photos/{number}.png" for number in range(40)), "photos/broken.png", "photos/none.png"]
    images = [AnnotatedImage(number, name, 0, 0) for number, name in enumerate(names)]
    images[7] = AnnotatedImage(7, names[7], 640, 480)  # what is stated stays, right or wrong
    images[0].instances.append(Instance(1, [1, 2, 3, 4], [], 12))
    sized, unstated = with_sizes(images, folder)
    assert unstated == 41
    assert [(p.image_id, p.file_name) for p in sized] == [*enumerate(names)]
    assert [(p.width, p.height) for p in sized[:40]] == [
        (640, 480) if n == 7 else (50, 30) for n in range(40)
    ]
    assert [(p.width, p.height) for p in sized[40:]] == [(0, 0), (0, 0)]
    assert [p.image_id for p in sized if p.size_stated] == [7]
    assert [len(p.instances) for p in sized][:2] == [1, 0]
