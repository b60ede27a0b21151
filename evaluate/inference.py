"""From box records to keypoints in image pixels: forward pass, flip test, decoding, mapping back."""

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from evaluate.predictions import Predictions
from model.codecs import Codec
from model.folding import fold_batch_norms
from model.inputs import normalize
from records.geometry import affine_to_input, invert_affine, transform_points

#: Images uint8 (B, h, w, 3) → keypoints in heatmap pixels (B, K, 3).
PredictStep = Callable[[npt.ArrayLike], tf.Tensor]


def make_predict_step(
    model: keras.Model,
    codec: Codec,
    flip_permutation: npt.NDArray[np.integer] | None = None,
    device: str | None = None,
    constant: bool = False,
) -> PredictStep:
    """The device's part, compiled.

    Args:
        model: an HRNet.
        codec: of the heatmaps the network learned.
        flip_permutation: (K,) int for the flip test: the heatmaps of the image and, brought back by the
            codec, of its mirror image are averaged, as the official `validate` does. None leaves it out.
        device: of the model, as TensorFlow names it; None leaves the choice to TensorFlow.
        constant: whether the weights are taken as they are now, once and for all: batch normalization is
            folded into the convolutions, and TensorFlow prepares constants for its kernels only once.
    """
    network = _constant_network(model) if constant else lambda: functools.partial(model, training=False)

    @tf.function(reduce_retracing=True, autograph=False)
    def compiled(images):
        inputs, heatmaps_of = normalize(images), network()
        heatmaps = heatmaps_of(inputs)
        if flip_permutation is not None:
            mirrored = codec.flip_back(heatmaps_of(inputs[:, :, ::-1]), flip_permutation)
            heatmaps = 0.5 * (heatmaps + mirrored)
        return codec.decode(heatmaps)

    def predict_step(images):
        with tf.device(device):
            return compiled(images)

    return predict_step


def _constant_network(model):
    """A function to call while a graph is made; it returns the network as a function of constant weights."""
    with tf.device("CPU"):  # a device has no use for these but for the constants made of them
        folded = fold_batch_norms(model)
    weights = [weight.numpy() for weight in folded.trainable_variables]

    def network():
        constants = [tf.constant(weight) for weight in weights]
        return lambda inputs: folded.stateless_call(constants, [], inputs, training=False)[0]

    return network


def to_image(
    keypoints_heatmap: npt.NDArray[np.floating],
    center: npt.NDArray[np.floating],
    scale: npt.NDArray[np.floating],
    heatmap_size: tuple[int, int],
    codec: Codec,
) -> npt.NDArray[np.float64]:
    """Maps decoded keypoints back to the image.

    The inverse of the map that shows the padded box on the heatmap, as the official `transform_preds`. How
    large the record's crop was stored cancels out.

    Args:
        keypoints_heatmap: (N, K, 3): x, y in heatmap pixels, and score.
        center, scale: (N, 2) image pixels, of the padded boxes.
        heatmap_size: (width, height).
        codec: which has the affine's convention.

    Returns:
        (N, K, 3): x, y in image pixels, and score.
    """
    to_full_image = invert_affine(affine_to_input(center, scale, 0.0, heatmap_size, codec.unbiased))
    points = transform_points(keypoints_heatmap[..., :2], to_full_image)
    return np.concatenate([points, keypoints_heatmap[..., 2:]], axis=-1)


def predict(
    steps: Sequence[PredictStep],
    dataset: tf.data.Dataset,
    heatmap_size: tuple[int, int],
    codec: Codec,
) -> Iterator[Predictions]:
    """Runs a network over box records, on several devices at the same time.

    Each batch is computed as a whole by one device, so that their number changes nothing.

    Args:
        steps: list of functions from `make_predict_step`, one for each device.
        dataset: from `records.reader.read_records`, without augmentation.
        heatmap_size: (width, height).
        codec: which has the affine's convention, also that of the dataset.

    Yields:
        The `Predictions` of each batch, in the order of the records.
    """

    def in_image(batch, keypoints_heatmap):
        batch = {name: tensor.numpy() for name, tensor in batch.items() if name != "image"}
        center, scale = batch["center"].astype(np.float64), batch["scale"].astype(np.float64)
        return Predictions(
            keypoints=to_image(keypoints_heatmap.numpy(), center, scale, heatmap_size, codec),
            areas=scale.prod(axis=1),
            box_scores=batch["score"].astype(np.float64),
            image_ids=batch["image_id"],
            instance_ids=batch["instance_id"],
        )

    # A step keeps its thread busy, so each device has its own, in which one more batch waits for it.
    workers = [ThreadPoolExecutor(1) for _ in steps]
    under_way: deque[tuple[dict[str, tf.Tensor], Future[tf.Tensor]]] = deque()
    try:
        for batch, worker, step in zip(
            dataset, itertools.cycle(workers), itertools.cycle(steps), strict=False
        ):
            under_way.append((batch, worker.submit(step, batch["image"])))
            if len(under_way) >= 2 * len(steps):
                batch, answer = under_way.popleft()
                yield in_image(batch, answer.result())
        for batch, answer in under_way:
            yield in_image(batch, answer.result())
    finally:
        for worker in workers:
            worker.shutdown(cancel_futures=True)
