"""From box records to keypoints in image pixels."""

import time

import numpy as np
import pytest
import tensorflow as tf

from evaluate.inference import make_predict_step, predict, to_image
from evaluate.predictions import Predictions, join
from model.codecs import codec
from records.augment import augment
from records.geometry import affine_to_input
from records.skeletons import COCO
from tests.helpers.shared import shared_data

MSRA = codec("msra")


def stand_in(*outputs):
    """A network that answers its calls with the given heatmaps (N, h, w, K), in turn."""
    answers = iter(outputs)
    return lambda inputs, training: tf.constant(next(answers))


def test_flip_test_and_mapping_back_equal_the_official_validate():
    golden = np.load(shared_data("golden", "decode.npz"))
    output, mirrored = (
        golden[f"flip_coco_{name}"].transpose(0, 2, 3, 1) for name in ("output", "output_flipped_input")
    )
    count, height, width, _ = output.shape
    step = make_predict_step(stand_in(output, mirrored), MSRA, COCO.flip_permutation)
    keypoints = step(np.zeros((count, 4 * height, 4 * width, 3), np.uint8)).numpy()
    scale = 200 * golden["flip_coco_scale"].astype(np.float64)
    ours = to_image(keypoints, golden["flip_coco_center"], scale, (width, height), MSRA)
    official = golden["flip_coco_all_preds_shift"]
    np.testing.assert_allclose(ours[..., :2], official[..., :2], atol=1e-3)
    np.testing.assert_allclose(ours[..., 2], official[..., 2], atol=1e-6)


def test_without_flip_test_the_network_is_asked_once():
    heatmaps = np.zeros((1, 12, 8, 17), np.float32)
    heatmaps[0, 5, 3] = 0.5
    step = make_predict_step(stand_in(heatmaps), MSRA)
    np.testing.assert_allclose(step(np.zeros((1, 48, 32, 3), np.uint8))[0], [[3, 5, 0.5]] * 17)


def test_mapping_back_undoes_the_view_of_the_padded_box():
    rng = np.random.default_rng(0)
    center, scale = rng.uniform(50, 400, (5, 2)), np.array([[120.0, 160.0]]) * rng.uniform(0.5, 3, (5, 1))
    points = rng.uniform(0, 48, (5, 17, 2))
    keypoints = np.concatenate([points, np.ones((5, 17, 1))], axis=-1)
    image = to_image(keypoints, center, scale, (48, 64), MSRA)
    affine = affine_to_input(center, scale, 0.0, (48, 64))
    again = np.einsum("nij,nkj->nki", affine[..., :2], image[..., :2]) + affine[:, None, :, 2]
    np.testing.assert_allclose(again, points, atol=1e-9)
    np.testing.assert_array_equal(image[..., 2], 1)


def test_predictions_follow_the_records_over_several_batches():
    count = 5
    fields = {
        "image": np.zeros((count, 48, 32, 3), np.uint8),
        "center": np.full((count, 2), 100, np.float32),
        "scale": np.tile(np.float32([[80, 120]]), (count, 1)),
        "score": np.arange(count, dtype=np.float32) / 10,
        "image_id": np.arange(count, dtype=np.int64) + 7,
        "instance_id": np.arange(count, dtype=np.int64) + 70,
    }
    dataset = tf.data.Dataset.from_tensor_slices(fields).batch(2)

    def step(images):
        return tf.ones((len(images), 17, 3)) * 4

    predictions = join(list(predict([step], dataset, (8, 12), MSRA)))
    assert isinstance(predictions, Predictions)
    assert len(predictions) == 5
    assert predictions.keypoints.shape == (5, 17, 3)
    # Heatmap (4, 4) is 2 cells above the middle of 8x12, and a cell is 10 image pixels wide.
    np.testing.assert_allclose(predictions.keypoints[:, :, :2], np.broadcast_to([100, 80], (5, 17, 2)))
    np.testing.assert_allclose(predictions.areas, 80 * 120)
    np.testing.assert_allclose(predictions.box_scores, fields["score"])
    assert predictions.image_ids.tolist() == [7, 8, 9, 10, 11]
    assert predictions.instance_ids.tolist() == [70, 71, 72, 73, 74]


def test_several_devices_take_batches_in_turn_and_the_order_stays():
    count = 11
    fields = {name: np.ones((count, 2), np.float32) * 100 for name in ("center", "scale")}
    fields |= {name: np.arange(count) for name in ("score", "image_id", "instance_id")}
    fields["image"] = np.zeros((count, 48, 32, 3), np.uint8)
    fields["image"][:, 0, 0, 0] = np.arange(count)
    seen = [[], [], []]

    def make_step(device):
        def step(images):
            time.sleep(0.05 * (2 - device))  # the first one is the slowest
            numbers = images[:, 0, 0, 0].numpy()
            seen[device].append(numbers.tolist())
            return tf.ones((len(images), 17, 3)) * numbers[:, None, None]

        return step

    dataset = tf.data.Dataset.from_tensor_slices(fields).batch(2)
    found = join(list(predict([make_step(device) for device in range(3)], dataset, (8, 12), MSRA)))
    assert found.keypoints[:, 0, 2].tolist() == list(range(count))
    assert found.image_ids.tolist() == list(range(count))
    assert seen == [[[0, 1], [6, 7]], [[2, 3], [8, 9]], [[4, 5], [10]]]


def test_what_a_device_reports_reaches_the_caller():
    batch = {name: tf.ones((1, 2)) for name in ("center", "scale", "image")}

    def step(images):
        raise MemoryError("of the device")

    with pytest.raises(MemoryError, match="of the device"):
        list(predict([step], [batch] * 3, (8, 12), MSRA))


@pytest.mark.parametrize(("name", "cells"), [("msra", 0.5), ("dark", 0.05), ("udp", 0.05)])
def test_what_is_encoded_in_the_readers_view_comes_back_to_its_place_in_the_image(name, cells):
    """Reader, targets, decoding and mapping back agree on the convention of each codec."""
    rng = np.random.default_rng(1)
    center, scale = rng.uniform(200, 400, (20, 2)), np.array([[120.0, 160.0]]) * rng.uniform(0.5, 3, (20, 1))
    keypoints = np.full((20, 17, 3), 2.0)
    keypoints[..., :2] = center[:, None] + rng.uniform(-0.35, 0.35, (20, 17, 2)) * scale[:, None]
    instances = {"center": center, "scale": scale, "keypoints": keypoints}
    instances |= {"image_size": np.full((20, 2), 640), "instance_id": np.arange(20)}
    ours = codec(name)
    _, keypoints_input = augment(instances, None, 0, 0, COCO, (192, 256), ours.unbiased)
    heatmaps, _ = ours.encode(keypoints_input, (192, 256), (48, 64))
    decoded = np.asarray(ours.decode(heatmaps))
    again = to_image(decoded, center, scale, (48, 64), ours)
    error = np.abs(again[..., :2] - keypoints[..., :2]) / (scale[:, None, :1] / 48)
    assert error.max() < cells + 0.01
