"""Images with an EXIF orientation: annotated upright, as browsers show them, or as they are stored."""

import io
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines import cli, transforms
from pipelines.build import build_records
from pipelines.errors import BuildError
from pipelines.exif import (
    AS_STORED,
    TURNED,
    UNDECIDED,
    orient,
    orientation_warning,
    read_orientation,
    turn_upright,
)
from pipelines.image_sizes import header_sizes
from pipelines.images import decode_image, read_image
from pipelines.instances import AnnotatedImage
from pipelines.sharding import dump_plan, load_plan
from tests.helpers.builders import (
    annotations,
    generate_image,
    image,
    instance,
    make_build,
    or_reason,
    shard_bytes,
    write_json,
)
from tests.helpers.messages import messages

WIDTH, HEIGHT = 96, 64
PIXELS = generate_image(np.random.default_rng(0), WIDTH, HEIGHT)


def with_orientation(orientation, form="JPEG", pixels=PIXELS):
    """A file whose EXIF data have other entries around the orientation."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x10F], exif[0x112], exif[0x11A] = "maker", orientation, 72.0
    Image.fromarray(pixels[..., ::-1].copy()).save(file, form, exif=exif, quality=95)
    return file.getvalue()


def exif_of(content):
    """The EXIF data of a JPEG."""
    start = content.index(b"Exif\0\0") + 6
    return content[start : start + 100]


# ---- reading and turning


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_opencv_turns_it(tmp_path, orientation, form):
    content = with_orientation(orientation, form)
    (tmp_path / "a").write_bytes(content)
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    size = expected.shape[1::-1]
    pixels, reason, _ = or_reason(
        read_image, str(tmp_path), AnnotatedImage(1, "a", *size), exif_orientation="apply"
    )
    assert reason is None
    np.testing.assert_array_equal(pixels, expected)


def test_turning_is_that_of_the_standard():
    """Where the first row and column of the stored image are (Exif 2.32, section 4.6.4)."""
    stored = np.array([[[1], [2]], [[3], [4]]], np.uint8)
    upright = {1: [1, 2, 3, 4], 2: [2, 1, 4, 3], 3: [4, 3, 2, 1], 4: [3, 4, 1, 2]}
    upright |= {5: [1, 3, 2, 4], 6: [3, 1, 4, 2], 7: [4, 2, 3, 1], 8: [2, 4, 1, 3]}
    for orientation, expected in upright.items():
        assert turn_upright(stored, orientation).ravel().tolist() == expected


@pytest.mark.parametrize("number", [0, 9, 255, 65535])
def test_a_number_that_is_no_orientation_is_upright(number):
    assert read_orientation(exif_of(with_orientation(number))) == 1


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda tail: b"MM\0*\0\0\0\x08" + tail), st.data())
def test_whatever_exif_data_hold_they_name_an_orientation(exif, data):
    assert 1 <= read_orientation(exif) <= 8
    whole = exif_of(with_orientation(6))
    assert read_orientation(whole) == 6
    assert read_orientation(whole[: data.draw(st.integers(0, len(whole)))]) in (1, 6)


# ---- deciding

UPRIGHT, STORED = (HEIGHT, WIDTH), (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("orientation", "size", "rule", "turned", "note"),
    [
        (1, STORED, "auto", False, None),
        (6, UPRIGHT, "auto", True, TURNED),
        (5, UPRIGHT, "auto", True, TURNED),
        (6, STORED, "auto", False, AS_STORED),
        (2, STORED, "auto", False, UNDECIDED),
        (3, STORED, "auto", False, UNDECIDED),
        (4, STORED, "auto", False, UNDECIDED),
        (3, STORED, "apply", True, None),
        (8, UPRIGHT, "apply", True, None),
        (3, STORED, "ignore", False, None),
        (6, STORED, "ignore", False, None),
    ],
)
def test_the_annotated_size_decides_and_where_it_cannot_the_user_is_told(
    orientation, size, rule, turned, note
):
    image = AnnotatedImage(1, "a.jpg", *size)
    content = with_orientation(orientation)
    pixels, received = decode_image(image, "a.jpg", content, rule)
    assert received == note
    flags = cv2.IMREAD_COLOR | (0 if turned else cv2.IMREAD_IGNORE_ORIENTATION)
    np.testing.assert_array_equal(pixels, cv2.imdecode(np.frombuffer(content, np.uint8), flags))


def test_neither_a_square_nor_a_size_read_from_the_file_decides():
    square = np.zeros((8, 8, 3), np.uint8)
    assert orient(square, 6, AnnotatedImage(1, "a", 8, 8), "auto")[1] == UNDECIDED
    unstated = AnnotatedImage(1, "a", 96, 64, size_stated=False)
    assert orient(PIXELS, 6, unstated, "auto")[1] == UNDECIDED
    (planned,) = load_plan(dump_plan([unstated]))
    assert planned.size_stated is False


@pytest.mark.parametrize(
    ("size", "rule", "hint"),
    [
        (UPRIGHT, "ignore", ": its EXIF orientation is 6, and --exif_orientation=auto or apply fits"),
        (STORED, "apply", ": its EXIF orientation is 6, and --exif_orientation=auto or ignore fits"),
        ((95, 64), "auto", "annotated 95x64"),
    ],
)
def test_a_wrong_size_names_exif_where_that_is_the_cause(tmp_path, size, rule, hint):
    (tmp_path / "a.jpg").write_bytes(with_orientation(6))
    pixels, reason, detail = or_reason(
        read_image, str(tmp_path), AnnotatedImage(1, "a.jpg", *size), exif_orientation=rule
    )
    assert (pixels, reason) == (None, "wrong_image_size")
    assert detail.endswith(hint)


def test_the_warning_counts_and_says_what_to_do():
    assert orientation_warning({}) is None
    said = orientation_warning({TURNED: 1200, UNDECIDED: 3})
    assert "1,200 in images annotated upright, which were turned" in said
    assert "3 in images whose annotated size cannot tell" in said
    assert "--exif_orientation=apply --overwrite" in said
    assert "--exif_orientation" not in orientation_warning({TURNED: 3, AS_STORED: 2})


# ---- builds


@pytest.fixture
def phone(tmp_path):
    """Five images of a phone, annotated upright; the build of their records."""
    entries = []
    for number, orientation in enumerate((1, 3, 6, 8, 3), start=1):
        path = tmp_path / f"images/train2017/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(with_orientation(orientation, "PNG"))
        entries.append(image(number, *(UPRIGHT if orientation > 4 else STORED), f"{number}.png"))
    instances = [instance(number, number, [10, 10, 40, 40]) for number in range(1, 6)]
    write_json(tmp_path / "annotations/person_keypoints_train2017.json", annotations(entries, instances))
    return make_build(tmp_path, tmp_path / "out", instances_per_shard=1, max_bad_fraction=1)


def test_applied_orientation_gives_the_records_of_upright_images(phone, tmp_path):
    manifest = build_records(replace(phone, exif_orientation="apply"))
    assert (manifest.records, manifest.options["exif_orientation"]) == (5, "apply")
    for path in tmp_path.glob("images/train2017/*.png"):
        cv2.imwrite(str(path), cv2.imread(str(path)))
    assert build_records(replace(phone, folder=str(tmp_path / "upright"))).records == 5
    assert shard_bytes(tmp_path / "out") == shard_bytes(tmp_path / "upright")


def test_what_the_workers_noticed_is_said_once_also_when_a_build_goes_on(phone, monkeypatch):
    build, said = replace(phone, exif_orientation="auto"), []
    make_records, started = transforms.make_records, []

    def stopping(*arguments):
        started.append(1)
        if len(started) == 4:
            raise OSError("stopped")
        return make_records(*arguments)

    monkeypatch.setattr(transforms, "make_records", stopping)
    with pytest.raises(BuildError, match="stopped"), messages(said):
        build_records(build)
    assert not any("EXIF" in line for line in said)
    monkeypatch.undo()
    with messages(said):
        manifest = build_records(build)
    assert manifest.records == 5
    (warning,) = [line for line in said if "EXIF" in line]
    assert "2 in images annotated upright, which were turned" in warning
    assert "2 in images whose annotated size cannot tell" in warning


def test_datasets_with_a_name_ignore_it_and_keep_their_options(phone):
    manifest = build_records(phone)
    assert manifest.records == 3
    assert manifest.rejected == {"wrong_image_size": 2}
    assert "exif_orientation" not in manifest.options
    with pytest.raises(BuildError, match="exif_orientation was None, now apply"):
        build_records(replace(phone, exif_orientation="apply"))


def test_the_error_of_too_many_rejected_instances_has_the_first_ones_detail(phone):
    with pytest.raises(
        BuildError, match=r"2 of 5 instances .*wrong_image_size of instance [34] in image .*EXIF"
    ):
        build_records(replace(phone, max_bad_fraction=0.1))


def test_custom_images_are_turned_where_their_size_says_so(phone, tmp_path, capsys):
    flags = ["--dataset=custom", f"--annotations={phone.annotations}", f"--images={phone.images}"]
    flags += [f"--records_dir={tmp_path / 'records'}", "--input_size=64x96"]
    assert cli.command(flags) == 0
    said = "".join(capsys.readouterr())
    assert said.count("EXIF orientation") == 1
    manifest = json.loads((tmp_path / "records/train/manifest.json").read_text())
    assert (manifest["records"], manifest["options"]["exif_orientation"]) == (5, "auto")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 7, 8])
def test_the_size_of_an_image_that_will_be_turned_is_the_turned_one(tmp_path, form, orientation):
    (tmp_path / "a").write_bytes(with_orientation(orientation, form))
    turned = (HEIGHT, WIDTH) if orientation >= 5 else (WIDTH, HEIGHT)
    assert header_sizes(tmp_path, upright=True)("a") == turned
    assert header_sizes(tmp_path)("a") == (WIDTH, HEIGHT)
