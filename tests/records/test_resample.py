"""Network inputs from crops are what the plain way gives: decoding everything, warping three channels."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from pipelines.build import build_records
from pipelines.crops import CropOptions, encode_crop
from records.augment import Augmentation, augment
from records.geometry import compose_affine, invert_affine
from records.jpeg_rows import find_rows
from records.manifest import read_manifest
from records.resample import decode_rows, shown_parts, warp_inputs
from records.schema import parse_examples
from records.skeletons import COCO
from tests.helpers.builders import make_build
from tests.helpers.shared import shared_data

SIZE = (48, 64)
OPTIONS = CropOptions(input_size=SIZE)
IDENTITY = np.eye(2, 3)


def warp_plainly(crops, crop_affine, input_affine, input_size):
    """The whole crop decoded, warped as it is."""
    crop_to_input = compose_affine(input_affine, invert_affine(crop_affine))
    images = []
    for crop, affine in zip(crops, crop_to_input, strict=True):
        pixels = cv2.imdecode(np.frombuffer(crop, np.uint8), cv2.IMREAD_COLOR_RGB)
        images.append(cv2.warpAffine(pixels, affine, input_size, flags=cv2.INTER_LINEAR))
    return np.stack(images)


def image(width, height):
    """Smooth areas and edges."""
    noise = np.random.default_rng(width).integers(
        0, 256, (height // 5 + 2, width // 5 + 2, 3), dtype=np.uint8
    )
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)


def assert_same(inputs, plain):
    """Equal, but for rounding's last place in hardly any."""
    assert cv2.absdiff(inputs, plain).max() <= 1
    assert (inputs != plain).mean() <= 1e-4


CROPS = [encode_crop(image(150, 200), 1.0, OPTIONS), encode_crop(image(61, 77), 0.7, OPTIONS)]


@given(
    crop=st.sampled_from(CROPS),
    center=st.tuples(st.floats(-60, 160), st.floats(-80, 210)),
    scale=st.floats(0.2, 4),
    rotation=st.floats(-180, 180),
    mirrored=st.booleans(),
)
def test_any_view_of_a_crop_is_what_drawing_it_plainly_gives(crop, center, scale, rotation, mirrored):
    assert find_rows(crop) is not None
    turn = cv2.getRotationMatrix2D((0, 0), rotation, scale)
    if mirrored:
        turn[0] = -turn[0]
    turn[:, 2] = np.array(SIZE) / 2 - turn[:, :2] @ center
    arguments = [crop], IDENTITY[None], turn[None], SIZE
    inputs, plain = warp_inputs(*arguments), warp_plainly(*arguments)
    assert cv2.absdiff(inputs, plain).max() <= 1
    assert (inputs != plain).sum() <= 9  # of 9,216 values


def test_real_instances_are_what_drawing_them_plainly_gives(tmp_path):
    dataset = shared_data("dataset", "COCO")
    build_records(replace(make_build(dataset, tmp_path), options=CropOptions((192, 256))))
    shards = [f"{tmp_path}/{shard.name}" for shard in read_manifest(tmp_path).shards]
    instances = parse_examples(list(tf.data.TFRecordDataset(shards)), COCO.num_keypoints)
    instances = {name: values.numpy() for name, values in instances.items()}
    heights, decoded = [], []
    for augmentation in (None, Augmentation(), Augmentation(half_body_probability=1.0)):
        input_affine, _ = augment(instances, augmentation, 0, 0, COCO, (192, 256))
        arguments = instances["crop"], instances["crop_affine"], input_affine, (192, 256)
        assert_same(warp_inputs(*arguments), warp_plainly(*arguments))
        to_crop = compose_affine(instances["crop_affine"], invert_affine(input_affine))
        for crop, part in zip(instances["crop"], shown_parts(to_crop, (192, 256)), strict=True):
            heights.append(find_rows(crop).height)
            decoded.append(decode_rows(crop, part[1], part[3])[0].shape[0])
    assert len(heights) == 3 * 86
    assert sum(decoded) / sum(heights) < 0.8  # otherwise there is no point in it


@pytest.mark.parametrize(
    ("top", "bottom", "above", "height"), [(0, 8, 0, 8), (7, 9, 0, 16), (16, 100, 16, 61)]
)
def test_rows_asked_for_are_decoded(top, bottom, above, height):
    whole, _ = decode_rows(CROPS[1], 0, 1000)
    assert whole.shape == (77, 61, 3)
    rows, found = decode_rows(CROPS[1], top, bottom)
    assert (found, rows.shape[0]) == (above, height)
    np.testing.assert_array_equal(rows, whole[above : above + height])


@pytest.mark.parametrize(("top", "bottom"), [(0, 0), (500, 600), (77, 77), (40, 40)])
def test_views_of_nothing_still_decode_a_row_of_blocks(top, bottom):
    rows, above = decode_rows(CROPS[1], top, bottom)
    assert 1 <= rows.shape[0] <= 8
    assert above == min(top // 8, 9) * 8


@pytest.mark.parametrize("offset", [(1000, 0), (-1000, 0), (0, 1000), (0, -1000), (1e12, -1e12)])
def test_views_beside_the_crop_are_black(offset):
    affine = np.array([[[1, 0, offset[0]], [0, 1, offset[1]]]], float)
    assert not warp_inputs(CROPS[:1], IDENTITY[None], affine, SIZE).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_map_that_is_no_numbers_renders_something_and_does_not_break_off(value):
    for place in np.ndindex(2, 3):
        broken = IDENTITY[None].copy()
        broken[0][place] = value
        assert warp_inputs(CROPS[:1], broken, IDENTITY[None], SIZE).shape == (1, 64, 48, 3)


UNUSUAL = {
    "PNG": encode_crop(image(150, 200), 1.0, replace(OPTIONS, encoding="exact")),
    "no room for augmentation, no markers": encode_crop(
        image(150, 200), 1.0, replace(OPTIONS, scale_factor=None)
    ),
    "an older build's": cv2.imencode(".jpg", image(150, 200))[1].tobytes(),
    "progressive": cv2.imencode(".jpg", image(150, 200), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes(),
    "gray": encode_crop(image(150, 200)[..., 0], 1.0, OPTIONS),
}


def test_only_crops_with_room_for_augmentation_have_rows_to_choose_from():
    assert [name for name, crop in UNUSUAL.items() if find_rows(crop)] == ["gray"]


@pytest.mark.parametrize("crop", UNUSUAL.values(), ids=UNUSUAL)
def test_crops_of_other_kinds_are_rendered_as_well(crop):
    for scale, offset in ((0.4, 0), (1.0, -60), (1.0, -170)):
        affine = np.array([[[scale, 0.1, offset], [-0.1, scale, offset]]])
        arguments = [crop], IDENTITY[None], affine, SIZE
        assert_same(warp_inputs(*arguments), warp_plainly(*arguments))


def test_what_is_no_image_is_named_by_its_row_wherever_the_view_lies():
    header = CROPS[0][: CROPS[0].index(b"\xff\xda")]
    for broken in (b"nothing", header):
        for offset in (0, 1000):
            affine = np.array([[[1, 0, offset], [0, 1, offset]]] * 2, float)
            with pytest.raises(ValueError, match="the crop in row 1 of the batch is not an image"):
                warp_inputs([CROPS[0], broken], np.stack([IDENTITY] * 2), affine, SIZE)


def test_shown_parts_of_an_example():
    """A view of 48x64 pixels at twice the size, from crop pixel (10.5, 100) on."""
    to_crop = np.array([[[0.5, 0, 10.5], [0, 0.5, 100]]])
    # It ends at 34 and 131.5: pixels 34 and 35, 131 and 132 are interpolated; and one more for rounding.
    np.testing.assert_array_equal(shown_parts(to_crop, SIZE), [[10 - 1, 100 - 1, 36 + 1, 133 + 1]])
