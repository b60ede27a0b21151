"""Exports, each run by its own runtime, against Keras."""

import functools
import os

import cv2
import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from model.codecs import codec
from model.exporting.formats import export_litert, export_onnx, export_saved_model
from model.exporting.serving import ExportError, inference_network, serving_function
from model.image_files import ImageError, read_images
from model.inputs import IMAGENET_MEAN, IMAGENET_STD, normalize
from model.layers import Upsample
from model.networks import NETWORKS
from tests.helpers.exports import SIZE, description, make_images, random_network
from tests.helpers.networks import make_config

FACE = {"name": "face", "keypoints": list("abcde"), "flip_pairs": [[0, 1]], "limbs": [], "sigmas": [0.1] * 5}
EXPORTERS = {"saved_model": export_saved_model, "onnx": export_onnx, "litert": export_litert}

each_format = pytest.mark.parametrize("file_format", EXPORTERS)


def run(file_format, path, image):
    """Runs an export in its own runtime, as a program without our code would."""
    if file_format == "saved_model":
        outputs = tf.saved_model.load(str(path)).signatures["serving_default"](image=tf.constant(image))
        outputs = {name: value.numpy() for name, value in outputs.items()}
    elif file_format == "onnx":
        session = onnxruntime.InferenceSession(path)
        names = [output.name for output in session.get_outputs()]
        outputs = dict(zip(names, session.run(None, {"image": image}), strict=True))
    else:
        outputs = Interpreter(str(path)).get_signature_runner()(image=image)
    assert len(outputs) == 1
    return next(iter(outputs.items()))


def keypoints_by_keras(model, images):
    heatmaps = model(normalize(images)).numpy()
    return np.array(codec("msra").decode(heatmaps)) * [4, 4, 1]


# ---- agreement with Keras


@each_format
def test_heatmaps_are_those_of_keras(tmp_path, file_format):
    model, path = random_network(17), tmp_path / "export"
    EXPORTERS[file_format](model, make_config(), 3, path, batch=3)
    image = normalize(make_images(3)).numpy()
    name, heatmaps = run(file_format, path, image)
    assert name == "heatmaps"
    expected = model(image).numpy()
    assert np.ptp(expected) > 2
    np.testing.assert_allclose(heatmaps, expected, rtol=0, atol=1e-4)


@each_format
def test_keypoints_are_those_of_keras_in_pixels_of_the_input(tmp_path, file_format):
    model, path = random_network(len(FACE["keypoints"])), tmp_path / "export"
    EXPORTERS[file_format](model, make_config(FACE), 3, path, decode=True, batch=None)
    for count in (1, 4):  # any number
        images = make_images(count)
        name, keypoints = run(file_format, path, images)
        assert (name, keypoints.dtype) == ("keypoints", np.float32)
        expected = keypoints_by_keras(model, images)
        assert len({tuple(point) for point in expected[0, :, :2]}) > 3
        np.testing.assert_allclose(keypoints, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_w32_agrees_too(tmp_path):
    model, path = random_network(17, "w32"), tmp_path / "w32.onnx"
    export_onnx(model, make_config(model="w32"), 210, path)
    image = normalize(make_images(2)).numpy()
    _, heatmaps = run("onnx", path, image)
    np.testing.assert_allclose(heatmaps, model(image).numpy(), rtol=0, atol=1e-4)


def test_float16_halves_the_file_and_stays_within_a_hundredth(tmp_path):
    model, path = random_network(17), tmp_path / "half.tflite"
    export_litert(model, make_config(), 3, path, precision="float16")
    image = normalize(make_images(1)).numpy()
    _, heatmaps = run("litert", path, image)
    np.testing.assert_allclose(heatmaps, model(image).numpy(), rtol=0, atol=0.01)
    bytes_as_float32 = 4 * model.count_params()
    assert 0.5 < path.stat().st_size / bytes_as_float32 < 0.6
    assert description("litert", path)["precision"] == "float16"


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter")  # the converter's own, while it measures
def test_int8_quarters_the_file_and_keeps_the_heatmaps_shape(tmp_path):
    """Measured here: correlation 0.999. On a network trained for the demo docs/export.md has the numbers."""
    model, path = random_network(17), tmp_path / "byte.tflite"
    export_litert(model, make_config(), 3, path, precision="int8", images=make_images(8, seed=1), batch=3)
    image = normalize(make_images(3)).numpy()
    name, heatmaps = run("litert", path, image)
    assert (name, heatmaps.dtype) == ("heatmaps", np.float32)
    assert np.corrcoef(heatmaps.ravel(), model(image).numpy().ravel())[0, 1] > 0.995
    assert 0.25 < path.stat().st_size / (4 * model.count_params()) < 0.32


# ---- the graph


def test_the_copy_for_inference_computes_exactly_the_same_without_composed_upsampling():
    model = random_network(17)
    image = normalize(make_images(2))
    network = inference_network(model)
    np.testing.assert_array_equal(network(image), model(image))
    kinds = {type(layer) for layer in network.layers}
    assert Upsample not in kinds


def test_a_network_in_another_precision_is_refused():
    model = NETWORKS["w24_tiny"].build(SIZE, 3, precision="bfloat16")
    with pytest.raises(ExportError, match=r"computes in bfloat16.*float32"):
        inference_network(model)


def test_onnx_consists_of_the_network_s_own_operations(tmp_path):
    path = tmp_path / "network.onnx"
    export_onnx(random_network(17), make_config(), 3, path)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    kinds = [node.op_type for node in proto.graph.node]
    assert set(kinds) == {"Conv", "Relu", "Add", "Resize", "Transpose"}  # normalization is folded into Conv
    assert kinds.count("Transpose") == 2  # NHWC at both ends only
    shapes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.input, *proto.graph.output)
    ]
    assert shapes == [["batch", 96, 64, 3], ["batch", 24, 16, 17]]


def serve(heatmaps, name="msra"):
    """What the exported function makes of given heatmaps (N, 24, 16, K)."""
    config = make_config(codec=name)
    function = serving_function(lambda image, training: tf.constant(heatmaps), config, decode=True)
    return function(np.zeros((len(heatmaps), 96, 64, 3), np.uint8))["keypoints"].numpy()


def test_keypoints_are_four_times_as_far_on_the_input_as_on_the_heatmap():
    heatmaps = np.zeros((1, 24, 16, 2), np.float32)
    heatmaps[0, 7, 5, 0], heatmaps[0, 7, 6, 0] = 0.9, 0.5
    heatmaps[0, 20, 10, 1], heatmaps[0, 19, 10, 1] = 0.8, 0.1
    np.testing.assert_allclose(serve(heatmaps)[0], [[21, 28, 0.9], [40, 79, 0.8]], rtol=1e-6)


def test_maps_without_a_positive_value_also_with_negative_zeros_give_what_decode_gives():
    rng = np.random.default_rng(0)
    heatmaps = rng.choice(np.array([-0.0, 0.0, -1.0], np.float32), (4, 24, 16, 17))
    heatmaps[1:3, ..., 5:] = -1
    heatmaps[2, 3:, 4] = rng.choice(np.array([0.0, 1.0], np.float32), (21, 17))
    np.testing.assert_array_equal(
        serve(heatmaps), np.array(codec("msra").decode(heatmaps)) * np.float32([4, 4, 1])
    )


def test_tracing_leaves_keras_as_it_was():
    before = keras.ops.argmax
    serve(np.ones((1, 24, 16, 1), np.float32))
    assert keras.ops.argmax is before


@pytest.mark.parametrize(
    ("name", "last_x", "last_y"),
    [("msra", 60, 92), ("dark", 60, 92), ("udp", 63, 95)],
)
def test_each_codec_is_decoded_by_its_own_rule_and_scale(name, last_x, last_y):
    heatmaps, _ = codec(name).encode(np.float32([[[20, 32, 2], [44, 48, 2]]]), SIZE, (16, 24))
    keypoints = serve(np.array(heatmaps), name)
    np.testing.assert_allclose(keypoints[0, :, :2], [[20, 32], [44, 48]], atol=0.2)
    corner = np.zeros((1, 24, 16, 1), np.float32)
    corner[0, -1, -1] = 1
    np.testing.assert_allclose(serve(corner, name)[0], [[last_x, last_y, 1]], rtol=1e-6)


@pytest.mark.slow
@each_format
def test_dark_keypoints_are_those_of_keras(tmp_path, file_format):
    model, path = random_network(17), tmp_path / "export"
    config = make_config(codec="dark")
    EXPORTERS[file_format](model, config, 3, path, decode=True, batch=3)
    images = make_images(3)
    _, keypoints = run(file_format, path, images)
    expected = np.array(codec("dark").decode(model(normalize(images)))) * [4, 4, 1]
    assert (expected[..., 0] % 1 != 0).any()
    np.testing.assert_allclose(keypoints, expected, rtol=0, atol=1e-3)  # logarithms amplify rounding


# ---- metadata


@pytest.fixture
def instant(monkeypatch):
    """Exports are of a stand-in for the network, whose conversion takes no time."""
    monkeypatch.setattr(
        "model.exporting.formats.inference_network", lambda model: lambda image, training: -image
    )


@each_format
def test_an_export_says_what_it_expects_and_means(tmp_path, instant, file_format):
    path = tmp_path / "export"
    EXPORTERS[file_format](None, make_config(FACE), 12, path, decode=True, batch=2, averaged=True)
    said = description(file_format, path)
    assert said["averaged"] is True
    assert said["skeleton"] == FACE
    assert (said["model"], said["epoch"], said["dataset"]) == ("w24_tiny", 12, "coco")
    assert (said["codec"], said["sigma"], said["heatmap_size"]) == ("msra", 2.0, [16, 24])
    assert said["input"]["mean"] == list(IMAGENET_MEAN)
    assert said["input"]["std"] == list(IMAGENET_STD)
    assert (said["input"]["size"], said["input"]["batch"]) == ([64, 96], 2)
    assert (said["input"]["name"], said["input"]["dtype"]) == ("image", "uint8")
    assert said["output"] == {
        "name": "keypoints",
        "layout": "N, keypoint, (x, y, score)",
        "space": "pixels of the input image",
    }


# ---- files


@each_format
def test_what_is_there_is_replaced_only_on_demand(tmp_path, instant, file_format):
    path = tmp_path / "new folder" / "export"
    export = functools.partial(EXPORTERS[file_format], None, make_config(), path=path)
    export(3)
    with pytest.raises(ExportError, match="export is there already; --overwrite replaces it"):
        export(4)
    assert description(file_format, path)["epoch"] == 3
    export(4, overwrite=True)
    assert description(file_format, path)["epoch"] == 4
    assert list(path.parent.iterdir()) == [path]


@each_format
def test_a_folder_that_is_no_saved_model_is_never_replaced(tmp_path, instant, file_format):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").touch()
    with pytest.raises(ExportError, match="thesis is a folder, and not that of a SavedModel"):
        EXPORTERS[file_format](None, make_config(), 3, tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter1.tex").exists()


def test_a_file_and_a_saved_model_replace_each_other(tmp_path, instant):
    path = tmp_path / "export"
    for export in (export_onnx, export_saved_model, export_litert):
        export(None, make_config(), 3, path, overwrite=True)
    assert description("litert", path)["epoch"] == 3
    assert list(tmp_path.iterdir()) == [path]


@each_format
def test_an_export_that_fails_leaves_what_was_there(tmp_path, instant, monkeypatch, file_format):
    path = tmp_path / "export"
    EXPORTERS[file_format](None, make_config(), 3, path)

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("model.exporting.formats.describe", full_disk)
    with pytest.raises(ExportError, match=r"export could not be written: no space"):
        EXPORTERS[file_format](None, make_config(), 4, path, overwrite=True)
    assert description(file_format, path)["epoch"] == 3
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (dict(precision="int4"), "'int4' is not available; available: float32, float16, int8"),
        (dict(precision="int8"), "int8 needs images"),
        (dict(precision="int8", images=np.zeros((0, 96, 64, 3), np.uint8)), "int8 needs images"),
        (dict(precision="int8", images=make_images(1), decode=True), "int8 with the decoder"),
    ],
)
def test_a_precision_that_does_not_work_is_refused(tmp_path, arguments, says):
    with pytest.raises(ExportError, match=says):
        export_litert(None, make_config(), 3, tmp_path / "export", **arguments)


# ---- images to measure int8 on


def test_images_are_cut_about_their_middle_to_the_shape_of_the_input(tmp_path):
    image = np.zeros((120, 320, 3), np.uint8)
    image[:, 120:200] = (10, 20, 200)  # BGR
    cv2.imwrite(str(tmp_path / "b.png"), image)
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((10, 10), 255, np.uint8))
    (tmp_path / "notes.txt").touch()
    read = read_images(tmp_path, (64, 96), 5)
    assert (read.shape, read.dtype) == ((2, 96, 64, 3), np.uint8)
    assert (read[0] == 255).all()
    assert (read[1] == (200, 20, 10)).all()
    assert len(read_images(tmp_path, (64, 96), 1)) == 1


def test_a_folder_without_images_or_with_damaged_ones_is_named(tmp_path, caplog):
    with pytest.raises(ImageError, match=r"no images in .*expected files that end in \.jpg"):
        read_images(tmp_path, SIZE, 5)
    (tmp_path / "c.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    os.mkfifo(tmp_path / "d.jpg")
    with pytest.raises(ImageError, match=r"^none of the 2 images in .* can be used: .*c\.jpg is .*no image"):
        read_images(tmp_path, SIZE, 5)
    for name in ("b.png", "e.png"):
        cv2.imwrite(str(tmp_path / name), np.full((10, 10), 255, np.uint8))
    assert len(read_images(tmp_path, SIZE, 1)) == 1
    assert caplog.messages == []
    assert len(read_images(tmp_path, SIZE, 5)) == 2
    (said,) = caplog.messages
    assert said.startswith("rejected 2 images that cannot be used: ")
    assert "c.jpg" in said
