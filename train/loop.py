"""The trainer: reads top to bottom."""

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import tensorflow as tf
from tqdm import tqdm

from model.heatmaps import encode
from model.hrnet import ARCHITECTURES, build
from model.inputs import normalize
from model.runs import (
    RunConfig,
    RunError,
    load_checkpoint,
    read_config,
    save_checkpoint,
    saved_epochs,
    write_config,
)
from records.augment import Augmentation
from records.dataset import check_usable, damage_reported, read_records, resolution_note
from records.shards import RecordsError, read_manifest
from train.losses import heatmap_loss
from train.optimizer import Adam
from train.schedule import Schedule
from train.strategy import make_strategy


@dataclass(frozen=True)
class TrainOptions:
    """One run.

    Attributes:
        dataset: name of the dataset, for messages and the run's configuration.
        records: folder of the training records.
        output: folder for log/ and model_dump/.
        model: a name in `model.hrnet.ARCHITECTURES`.
        input_size: (width, height) of the network input; None for the records' own.
        sigma: of the target Gaussians, in heatmap pixels.
        epochs: how many in all.
        batch_size: people per GPU and update.
        gpus: number of GPUs; 0 is the CPU.
        schedule: the learning rate's, a `train.schedule.Schedule`.
        augmentation: an `Augmentation`.
        shuffle_buffer: people to shuffle among.
        seed: of initial weights, order and augmentation.
        resume: whether to go on from the output folder's last checkpoint.
    """

    dataset: str
    records: str
    output: str
    model: str = "w32"
    input_size: tuple[int, int] | None = None
    sigma: float = 2.0
    epochs: int = 210
    batch_size: int = 32
    gpus: int = 1
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=Augmentation)
    shuffle_buffer: int = 4096
    seed: int = 0
    resume: bool = False


def train(options):
    """Trains a run to its last epoch.

    Args:
        options: `TrainOptions`.

    Returns:
        The number of updates done in all.

    Raises:
        RecordsError: if the records cannot be trained on.
        RunError: if the output folder holds a run that cannot or shall not be continued.
        UsageError: if there are fewer GPUs than asked for.
    """
    strategy = make_strategy(options.gpus)
    manifest = read_manifest(options.records)
    if manifest.dataset != options.dataset:
        raise RecordsError(
            f"{options.records} holds records of {manifest.dataset}, but --dataset={options.dataset} was "
            "given"
        )
    config = run_config(options, manifest)
    check_usable(manifest, config.input_size, options.augmentation)
    if note := resolution_note(manifest, config.input_size):
        print(f"note: {note}")
    global_batch = options.batch_size * max(options.gpus, 1)
    steps_per_epoch = manifest.records // global_batch
    if not steps_per_epoch:
        raise RecordsError(
            f"{options.records} holds {manifest.records} people, fewer than one batch of {global_batch}; "
            "--batch_size makes it smaller"
        )
    checkpoints = Path(options.output) / "model_dump"
    done = settle_run(checkpoints, config, options.resume)
    if done >= options.epochs:
        print(f"{checkpoints}: all {options.epochs} epochs are done")
        return done * steps_per_epoch

    keras.utils.set_random_seed(options.seed)
    with strategy.scope():
        model = build(ARCHITECTURES[config.model], config.input_size, config.num_keypoints)
        optimizer = Adam(model.trainable_variables, options.schedule.initial)
    step = load_checkpoint(checkpoints, done, model, optimizer) if done else 0
    train_step = make_train_step(strategy, model, optimizer, config)
    print(
        f"{config.model}, {model.count_params():,} parameters, input {config.input_size[0]}x"
        f"{config.input_size[1]}; {manifest.records:,} people, {steps_per_epoch} updates of {global_batch} "
        f"people an epoch; epoch {done + 1} to {options.epochs}"
        + (f", continued from {checkpoints}" if done else ", from random weights")
    )

    log = tf.summary.create_file_writer(str(Path(options.output) / "log"))
    people = steps_per_epoch * global_batch
    with tqdm(
        total=options.epochs * people,
        initial=done * people,
        unit=" people",
        unit_scale=True,
        dynamic_ncols=True,
        mininterval=1,
    ) as bar:
        for epoch in range(done, options.epochs):
            bar.set_description(f"epoch {epoch + 1}/{options.epochs}")
            dataset = read_records(
                options.records,
                global_batch,
                input_size=config.input_size,
                augmentation=options.augmentation,
                seed=options.seed,
                epoch=epoch,
                shuffle_buffer=options.shuffle_buffer,
                drop_remainder=True,
            ).map(lambda batch: (batch["image"], batch["keypoints_input"]))
            total, started = 0.0, time.monotonic()
            with damage_reported(options.records):
                for images, keypoints in strategy.experimental_distribute_dataset(dataset):
                    optimizer.learning_rate.assign(
                        options.schedule.learning_rate(step, steps_per_epoch, options.epochs)
                    )
                    loss = train_step(images, keypoints)
                    total, step = total + loss, step + 1
                    bar.update(global_batch)
                    if step % 10 == 0:  # reading the loss waits for the device, so not after every update
                        bar.set_postfix(loss=f"{float(loss):.5f}", refresh=False)
            summary = {
                "loss": float(total) / steps_per_epoch,
                "learning_rate": float(optimizer.learning_rate),
                "people_per_second": people / (time.monotonic() - started),
            }
            if not math.isfinite(summary["loss"]):
                raise RunError(
                    f"the loss became {summary['loss']} in epoch {epoch + 1}, which is not saved; a lower "
                    "--learning_rate or more --warmup_steps may help. --continue goes on from the epoch "
                    "before"
                )
            save_checkpoint(checkpoints, epoch + 1, step, model, optimizer)
            write_summary(log, epoch + 1, summary)
            bar.write(
                f"epoch {epoch + 1}: loss {summary['loss']:.6f}, learning rate "
                f"{summary['learning_rate']:.2g}, {summary['people_per_second']:.0f} people/s"
            )
    return step


def write_summary(log, epoch, values):
    """Writes TensorBoard scalars ``train/<name>`` of an epoch."""
    with log.as_default(step=epoch):
        for name, value in values.items():
            tf.summary.scalar(f"train/{name}", value)
    log.flush()


def run_config(options, manifest):
    """The `RunConfig` of a run on some records."""
    return RunConfig(
        dataset=options.dataset,
        records=manifest.fingerprint,
        skeleton=manifest.skeleton.to_json(),
        model=options.model,
        input_size=options.input_size or manifest.input_size,
        codec="standard",
        sigma=options.sigma,
        recipe={
            "batch_size": options.batch_size,
            "gpus": options.gpus,
            **{f"schedule.{name}": value for name, value in asdict(options.schedule).items()},
            # A cosine ends with the run, so another length is another schedule.
            "schedule.epochs": options.epochs if options.schedule.shape == "cosine" else None,
            "seed": options.seed,
            "shuffle_buffer": options.shuffle_buffer,
            **{f"augmentation.{name}": value for name, value in asdict(options.augmentation).items()},
        },
    )


def settle_run(checkpoints, config, resume):
    """Prepares the run folder: writes the configuration of a new run, or checks that of the one to continue.

    Returns:
        The number of epochs done.

    Raises:
        RunError: if the folder holds a run and `resume` is not set, or one with other settings.
    """
    epochs = saved_epochs(checkpoints)
    if not epochs:  # nothing to lose, even if an earlier start left its configuration
        checkpoints.mkdir(parents=True, exist_ok=True)
        write_config(checkpoints, config)
        return 0
    before = read_config(checkpoints)
    if not resume:
        raise RunError(
            f"{checkpoints} already holds a run ({before.model} on {before.dataset}, {len(epochs)} epochs "
            "saved); --continue goes on with it, --output_dir starts one elsewhere"
        )
    if differences := before.differences(config):
        raise RunError(
            f"{checkpoints} holds a run with other settings ({'; '.join(differences)}); use its settings to "
            "continue it, or --output_dir to start another"
        )
    return epochs[-1]


def make_train_step(strategy, model, optimizer, config):
    """One update, compiled: (image uint8 (B, h, w, 3), keypoints_input (B, K, 3)) → loss of the global batch.

    The batch is the strategy's: each replica sees its share, and the loss and gradients are those of all.
    """

    def replica_step(images, keypoints_input):
        targets, weights = encode(
            keypoints_input, config.input_size, config.heatmap_size, config.sigma, config.codec
        )
        with tf.GradientTape() as tape:
            heatmaps = model(normalize(images), training=True)
            # Replicas have equal shares, so the sum of these over replicas is the global batch's mean.
            loss = heatmap_loss(heatmaps, targets, weights) / strategy.num_replicas_in_sync
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients)
        return loss

    @tf.function
    def train_step(images, keypoints_input):
        losses = strategy.run(replica_step, (images, keypoints_input))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    return train_step
