"""What an epoch feeds to the network."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from records.augment import drop_rectangles
from records.reader import Batch, read_records
from train.setup import Run

#: What of a batch the devices get: the network's input and labels, and who it is.
FIELDS = ("image", "keypoints_input", "image_id", "instance_id")


def epoch_batches(run: Run, epoch: int, start: int) -> Iterator[tuple[tf.Tensor, ...]]:
    """The updates of an epoch, as the strategy distributes them.

    Several workers each read shard files of their own. These do not hold equally many instances, so each
    worker starts over with its own if they do not last, as all do where damage left fewer.

    Args:
        run: which is trained.
        epoch: number of epochs done.
        start: number of updates done of this one; their instances are left out.

    Returns:
        Tuples of `FIELDS`.
    """

    def of_a_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        here = context.num_replicas_in_sync // context.num_input_pipelines  # batches of an update
        return _replica_batches(
            run,
            epoch,
            part=(context.input_pipeline_id, context.num_input_pipelines),
            skip_batches=start * here,
            num_batches=run.steps_per_epoch * here,
        )

    return iter(run.strategy.distribute_datasets_from_function(of_a_worker))


def _replica_batches(run: Run, epoch: int, **which: Any) -> tf.data.Dataset:
    """The batches of one worker's replicas, in turn; `which` of them is for `read_records`."""
    options = run.options
    dataset = read_records(
        options.paths.records,
        options.batch_size * options.gradient_accumulation_steps,
        input_size=run.config.input_size,
        augmentation=options.augmentation,
        seed=options.seed,
        epoch=epoch,
        shuffle_buffer=options.shuffle_buffer,
        drop_remainder=True,
        unbiased=run.config.make_codec().unbiased,
        damage=run.damage,
        fingerprint=run.config.records,
        **which,
    )
    if probability := options.coarse_dropout_probability:

        def blacken(images: npt.NDArray[np.uint8], instances: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
            return drop_rectangles(images, instances, probability, options.seed, epoch)

        def with_holes(batch: Batch) -> dict[str, tf.Tensor]:
            arguments = [batch["image"], batch["instance_id"]]
            images = tf.numpy_function(blacken, arguments, tf.uint8, stateful=False)
            return batch | {"image": tf.ensure_shape(images, batch["image"].shape)}

        dataset = dataset.map(with_holes, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.map(lambda batch: tuple(batch[name] for name in FIELDS))


def instances_of(
    strategy: tf.distribute.Strategy, image_ids: tf.Tensor, instance_ids: tf.Tensor
) -> list[tuple[int, int]]:
    """[(image id, instance id), …] of one update, of this host's replicas."""
    images, instances = (
        [int(number) for part in strategy.experimental_local_results(ids) for number in part.numpy()]
        for ids in (image_ids, instance_ids)
    )
    return list(zip(images, instances, strict=True))
