"""One image: read as it is, converted, or refused with the reason, whatever the file holds."""

import io
import os

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.image_names import locate_image
from pipelines.images import read_image
from pipelines.instances import AnnotatedImage
from tests.helpers.builders import generate_image, or_reason

SIZE = (96, 64)
PIXELS = generate_image(np.random.default_rng(0), *SIZE)
PROGRESSIVE = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]


def encoded(extension, pixels=PIXELS, options=()):
    ok, data = cv2.imencode(extension, pixels, list(options))
    assert ok
    return data.tobytes()


def by_pillow(mode, form, **options):
    """A file of a mode that OpenCV cannot write."""
    file = io.BytesIO()
    Image.fromarray(PIXELS[..., ::-1].copy()).convert(mode).save(file, form, **options)
    return file.getvalue()


def read(folder, content, name="a.jpg", size=SIZE):
    (folder / name).write_bytes(content)
    return or_reason(read_image, str(folder), AnnotatedImage(1, name, *size))


def reason_of(folder, content, **changes):
    """Why an image is refused; its detail names the file."""
    pixels, reason, detail = read(folder, content, **changes)
    assert pixels is None
    assert changes.get("name", "a.jpg") in detail
    return reason


# ---- images that are converted


@pytest.mark.parametrize("extension", [".png", ".bmp", ".tiff"])
def test_lossless_images_are_read_as_they_are(tmp_path, extension):
    pixels, reason, detail = read(tmp_path, encoded(extension))
    assert (reason, detail) == (None, None)
    np.testing.assert_array_equal(pixels, PIXELS)


@pytest.mark.parametrize(
    "content",
    [by_pillow("CMYK", "JPEG", quality=95), by_pillow("CMYK", "JPEG", quality=95, progressive=True)],
    ids=["baseline", "progressive"],
)
def test_cmyk_becomes_the_same_colors(tmp_path, content):
    assert Image.open(io.BytesIO(content)).mode == "CMYK"
    pixels, reason, _ = read(tmp_path, content)
    assert reason is None
    assert np.abs(pixels.astype(int) - PIXELS).mean() < 3


@pytest.mark.parametrize(("mode", "form"), [("L", "JPEG"), ("L", "PNG"), ("LA", "PNG"), ("1", "PNG")])
def test_gray_becomes_three_equal_channels(tmp_path, mode, form):
    pixels, reason, _ = read(tmp_path, by_pillow(mode, form))
    assert reason is None
    assert pixels.shape == (64, 96, 3)
    np.testing.assert_array_equal(np.ptp(pixels, axis=2), 0)
    assert pixels.std() > 10


def test_transparency_is_left_away_and_palettes_are_colors(tmp_path):
    clear = np.dstack([PIXELS, np.full(PIXELS.shape[:2], 9, np.uint8)])
    np.testing.assert_array_equal(read(tmp_path, encoded(".png", clear))[0], PIXELS)
    pixels, reason, _ = read(tmp_path, by_pillow("P", "PNG"))
    assert reason is None
    assert np.abs(pixels.astype(int) - PIXELS).mean() < 30


# ---- images that are refused


def test_more_than_8_bits_a_channel_are_refused_with_what_to_do(tmp_path):
    deep = PIXELS.astype(np.uint16) * 257
    for content in (encoded(".png", deep), encoded(".png", deep[..., 0]), encoded(".tiff", deep)):
        pixels, reason, detail = read(tmp_path, content)
        assert (pixels, reason) == (None, "unsupported_image")
        assert "convert the image to 8 bits a channel" in detail
    assert reason_of(tmp_path, encoded(".tiff", PIXELS.astype(np.float32))) == "unsupported_image"


@pytest.mark.parametrize("content", [b"", b"\0", b"<html>404</html>", b"\xff\xd8", bytes(1000), b"GIF89a"])
def test_what_is_no_image_is_refused(tmp_path, content):
    assert reason_of(tmp_path, content) == "unreadable_image"


@pytest.mark.parametrize(
    "content",
    [encoded(".jpg"), encoded(".jpg", options=PROGRESSIVE), encoded(".png"), by_pillow("CMYK", "JPEG")],
    ids=["baseline", "progressive", "png", "cmyk"],
)
def test_an_image_that_was_cut_off_is_refused_or_whole(tmp_path, content):
    """Wherever it was cut: it must never be read as something gray from there on."""
    whole = read(tmp_path, content)[0]
    size = len(content)
    lengths = sorted({*range(0, size, max(1, size // 40)), *range(size - 6, size)})
    refused = 0
    for length in lengths:
        pixels, reason, _ = read(tmp_path, content[:length])
        if pixels is None:
            assert reason == "unreadable_image"
            refused += 1
        else:
            np.testing.assert_array_equal(pixels, whole, err_msg=f"cut at {length} of {size}")
    assert refused >= 40


@pytest.mark.parametrize("size", [(64, 96), (95, 64), (96, 65), (0, 0), (10**17, 1)])
def test_a_size_that_disagrees_is_refused_with_both(tmp_path, size):
    pixels, reason, detail = read(tmp_path, encoded(".jpg"), size=size)
    assert (pixels, reason) == (None, "wrong_image_size")
    assert detail.endswith(f"is 96x64, annotated {size[0]}x{size[1]}")


@settings(max_examples=60)
@given(st.data())
def test_whatever_bytes_are_damaged_there_are_pixels_of_the_size_or_a_reason(tmp_path_factory, data):
    whole = bytearray(
        data.draw(st.sampled_from([encoded(".jpg"), encoded(".png"), by_pillow("CMYK", "JPEG")]))
    )
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, min(len(whole), 700) - 1))] = data.draw(st.integers(0, 255))
    pixels, reason, detail = read(tmp_path_factory.mktemp("damaged"), bytes(whole))
    if pixels is None:
        assert reason in ("unreadable_image", "unsupported_image", "wrong_image_size")
        assert detail
    else:
        assert (pixels.shape, pixels.dtype) == ((64, 96, 3), np.uint8)


# ---- places


@pytest.fixture
def folder(tmp_path):
    """An image folder with one image, beside one that is none of its business."""
    (tmp_path / "images/sub").mkdir(parents=True)
    (tmp_path / "images/a.jpg").write_bytes(encoded(".jpg"))
    (tmp_path / "images/sub/b.jpg").write_bytes(encoded(".jpg"))
    (tmp_path / "secret.jpg").write_bytes(encoded(".jpg"))
    (tmp_path / "images2").mkdir()
    (tmp_path / "images2/c.jpg").write_bytes(encoded(".jpg"))
    return tmp_path / "images"


@pytest.mark.parametrize("name", ["a.jpg", "sub/b.jpg", "sub\\b.jpg", "./a.jpg", "sub//b.jpg", "sub/./b.jpg"])
def test_images_inside_are_found(folder, name):
    path, reason, _ = or_reason(locate_image, str(folder), name)
    assert reason is None
    assert os.path.samefile(path, folder / ("a.jpg" if name.endswith("a.jpg") else "sub/b.jpg"))  # noqa: PTH121


OUTSIDE = ("../secret.jpg", "sub/../../secret.jpg", "sub/../a.jpg", "..\\secret.jpg", "../images2/c.jpg")


@pytest.mark.parametrize("name", [*OUTSIDE, "/etc/passwd", "\\etc", "", "/", "~", "~/a.jpg", ".."])
def test_names_that_leave_the_folder_are_unsafe(folder, name):
    path, reason, detail = or_reason(locate_image, str(folder), name)
    assert (path, reason) == (None, "unsafe_path")
    assert repr(name) in detail


@pytest.mark.parametrize("target", ["../secret.jpg", "../images2/c.jpg", "/etc/hostname"])
def test_links_that_leave_the_folder_are_unsafe_also_into_one_whose_name_begins_alike(folder, target):
    (folder / "link.jpg").symlink_to(target)
    assert or_reason(locate_image, str(folder), "link.jpg")[1] == "unsafe_path"
    (folder / "out").symlink_to((folder / target).parent)
    assert or_reason(locate_image, str(folder), f"out/{target.rsplit('/', 1)[1]}")[1] == "unsafe_path"


def test_links_inside_the_folder_and_to_the_folder_are_fine(folder):
    (folder / "link.jpg").symlink_to("sub/b.jpg")
    (folder.parent / "linked").symlink_to(folder)
    for where in (folder, folder.parent / "linked"):
        assert or_reason(locate_image, str(where), "link.jpg")[1] is None


def test_links_to_nothing_and_in_circles_are_missing(folder):
    (folder / "nothing.jpg").symlink_to("nowhere.jpg")
    (folder / "circle.jpg").symlink_to("circle.jpg")
    for name in ("nothing.jpg", "circle.jpg"):
        assert or_reason(locate_image, str(folder), name)[1] == "missing_image"


@pytest.mark.parametrize("name", ["sub", ".", "sub/."])
def test_a_folder_is_no_image(folder, name):
    pixels, reason, _ = or_reason(read_image, str(folder), AnnotatedImage(1, name, *SIZE))
    assert (pixels, reason) == (None, "unreadable_image")


def test_a_prefix_is_no_part_of_the_path(folder):
    assert or_reason(locate_image, str(folder), "images/a.jpg", "images/")[1] is None
    assert or_reason(locate_image, str(folder), "a.jpg", "images/")[1] == "missing_image"
    for name in ("images//etc/passwd", "images/../secret.jpg", "images/"):
        assert or_reason(locate_image, str(folder), name, "images/")[1] == "unsafe_path"


parts = st.sampled_from(["..", "sub", "a.jpg", "/", "\\", "~", ".", "\0", "\ud800"])


@given(st.text(max_size=20) | st.lists(parts).map("/".join))
def test_whatever_the_name_is_no_image_outside_is_found(tmp_path_factory, name):
    folder = tmp_path_factory.getbasetemp() / "names"
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    path, reason, detail = or_reason(locate_image, str(folder), name)
    if path is None:
        assert reason in ("missing_image", "unsafe_path")
        assert detail
    else:
        assert os.path.realpath(path).startswith(os.path.realpath(folder))


ODD = ("x" * 5000, "a.jpg/b", "\0", "\ud800.jpg", "a://b", "*.jpg", "[a].jpg", "?.jpg", " a.jpg")


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_missing(folder, name):
    pixels, reason, _ = or_reason(read_image, str(folder), AnnotatedImage(1, name, *SIZE))
    assert (pixels, reason) == (None, "missing_image")
