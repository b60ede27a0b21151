"""Everything a run needs before its first update."""

import contextlib
import logging
import zlib
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from hrpose import logs
from hrpose.cluster import Cluster
from hrpose.command import UsageError
from hrpose.lock import only_one
from model.networks import Network
from model.run_config import RunConfig
from model.run_folder import Progress, checkpoint_folder
from model.weight_import.initial_weights import Fit, load_initial_weights
from records.checking.damage import find_damage
from records.errors import RecordsError
from records.examine import Damage
from records.manifest import Manifest, read_manifest
from records.reader import check_usable, resolution_note, usable_shards
from train.checkpoints import Checkpoints, find_existing_run, note_continuation, refuse_other_weights
from train.ema import WeightEMA
from train.optimizer import Adam
from train.options import TrainOptions, recipe_line, run_config
from train.strategy import make_strategy
from train.sync_batch_norm import synchronized
from train.worker_consistency import Facts, alike

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A run that is ready to go.

    Attributes:
        cluster, strategy: workers and devices.
        manifest: of the training records.
        config: the run's `RunConfig`.
        global_batch: instances per update, of all replicas.
        steps_per_epoch: updates an epoch.
        model, optimizer, ema: what learns; ema may be None.
        checkpoints: `Checkpoints` of the three.
        done: `Progress` of the checkpoint it goes on from.
        step: number of updates done in all.
        origin: where its weights come from, in words.
        damage: of the records, if it was looked for.
    """

    options: TrainOptions
    cluster: Cluster
    strategy: tf.distribute.Strategy
    manifest: Manifest
    config: RunConfig
    global_batch: int
    steps_per_epoch: int
    model: keras.Model
    optimizer: Adam
    ema: WeightEMA | None
    checkpoints: Checkpoints
    done: Progress
    step: int
    origin: str
    damage: tuple[Damage, ...] = ()

    def say(self) -> None:
        """Says what is trained on what."""
        width, height = self.config.input_size
        if note := resolution_note(self.manifest, self.config.input_size):
            log.info("note: %s", note)
        for part in self.damage:
            log.warning("%s: %s; %s instances are left out", part.shard, part.problem, f"{part.lost:,}")
        if len(self.damage) > 1:
            lost = sum(part.lost for part in self.damage)
            log.warning(
                "%s instances of %d damaged shards are left out in all", f"{lost:,}", len(self.damage)
            )
        log.info(
            f"{self.config.model}, {self.model.count_params():,} parameters, input {width}x{height}; "
            f"{self.manifest.records:,} instances, {self.steps_per_epoch} updates of {self.global_batch} "
            f"instances an epoch; epoch {self.done.epoch + 1} to {self.options.epochs}, {self.origin}"
        )
        log.info(recipe_line(self.options))


@dataclass(frozen=True)
class _Plan:
    """What is known of a run before there is a network; attributes as of `Run`, and `started`."""

    manifest: Manifest
    config: RunConfig
    global_batch: int
    damage: tuple[Damage, ...]
    folder: Path
    started: bool


def prepare(options: TrainOptions, cluster: Cluster, held: contextlib.ExitStack) -> Run:
    """Checks that a run can be done and makes all it needs, without an update.

    Args:
        options: the run's.
        cluster: its workers.
        held: what is held until the run ends: the lock of its folder.

    Raises:
        RecordsError: if the records cannot be trained on.
        RunError: if the output folder holds a run that cannot or shall not be continued, or several workers
            do not start alike.
        WeightsError: if the initial weights do not fit.
        UsageError: if there are fewer GPUs than asked for, or options exclude each other.
        CommandError: if another training writes in the output folder.
    """
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy = make_strategy(options.gpus, cluster)
    if not cluster.is_chief:  # the first speaks for all
        logs.set_level(logging.ERROR)
    replicas = strategy.num_replicas_in_sync
    plan = alike(strategy, cluster, lambda: look_over(options, cluster, replicas, held))
    config, folder = plan.config, plan.folder

    keras.utils.set_random_seed(options.seed)
    with strategy.scope():
        model = config.network.build(config.input_size, config.num_keypoints, options.precision)
        if options.sync_batch_norm and replicas > 1:
            model = synchronized(model)
        origin = "from random weights"
        if (weights := options.initial_weights) and not plan.started:
            fit = alike(strategy, cluster, lambda: load_weights(model, config.network, weights))
            origin = f"from {weights}: " + fit.report().replace("\n", "; ")
        optimizer = Adam(
            model.trainable_variables,
            options.schedule.initial,
            weight_decay=options.weight_decay,
            clip_norm=options.clip_norm,
        )
        ema = WeightEMA(strategy, model, options.ema_decay) if options.ema_decay else None
    checkpoints = Checkpoints(folder, model, optimizer, ema, options.max_to_keep, write=cluster.is_chief)
    done, step = Progress(0), 0
    if plan.started:
        done, step = alike(strategy, cluster, lambda: _restore(checkpoints, model))
        checkpoints.go_on_from(done)
        if cluster.is_chief and done.epoch < options.epochs:
            note_continuation(folder, done, step, options.provenance)
        origin = f"continued from {folder} after {step:,} updates"
    return Run(
        options=options,
        cluster=cluster,
        strategy=strategy,
        manifest=plan.manifest,
        config=config,
        global_batch=plan.global_batch,
        steps_per_epoch=plan.manifest.records // plan.global_batch,
        model=model,
        optimizer=optimizer,
        ema=ema,
        checkpoints=checkpoints,
        done=done,
        step=step,
        origin=origin,
        damage=plan.damage,
    )


def look_over(
    options: TrainOptions, cluster: Cluster, replicas: int, held: contextlib.ExitStack
) -> tuple[_Plan, Facts]:
    """Looks at the records and the run folder, on this host; the chief locks the folder.

    Args:
        options: the run's.
        cluster: of its workers.
        replicas: number of devices of all workers.
        held: as of `prepare`.

    Returns:
        A plan, and what of it the workers of a run have in common, as `train.worker_consistency.alike` wants
        it.

    Raises:
        RecordsError, RunError, UsageError, CommandError: as `prepare`.
    """
    records = options.paths.records
    manifest = read_manifest(records, missing_ok=options.skip_damaged)
    if manifest.dataset != options.dataset:
        raise RecordsError(
            f"{records} holds records of {manifest.dataset}, but --dataset={options.dataset} was given"
        )
    config = run_config(options, manifest, cluster.workers)
    check_usable(manifest, config.input_size, options.augmentation)
    damage = find_damage(records) if options.skip_damaged else ()
    shards = len(usable_shards(manifest, damage))
    if not shards:
        raise RecordsError(f"nothing of the records in {records} can be read; build them again")
    if shards < cluster.workers:
        raise RecordsError(
            f"{records} has {shards} shards for {cluster.workers} workers, which each "
            "need one; build_records.py --instances_per_shard makes more"
        )
    if options.sync_batch_norm and options.gradient_accumulation_steps > 1 and replicas > 1:
        raise UsageError(  # TensorFlow's replicas cannot meet within a loop, and unrolled it would be huge
            "--sync_batch_norm and --gradient_accumulation_steps cannot be combined on several GPUs; give "
            "one of them"
        )
    global_batch = options.batch_size * options.gradient_accumulation_steps * replicas
    if manifest.records < global_batch:
        raise RecordsError(
            f"{records} holds {manifest.records} instances, fewer than one batch of {global_batch}; "
            "--batch_size makes it smaller"
        )
    folder = options.paths.checkpoints
    if cluster.is_chief:  # the workers of a run share the folder
        instead = "wait until it is done, end it, or give another --run_dir"
        held.enter_context(only_one(folder, "training", instead))
    started = find_existing_run(folder, config, options.resume, write=cluster.is_chief)
    if started and options.weights_given:
        refuse_other_weights(folder, options.initial_weights)
    facts = config.settings | {
        "epochs": options.epochs,
        "skip_steps": options.skip_steps,
        "save_minutes": options.save_minutes,
        "initial_weights": bool(options.initial_weights),
        "instances left out": [f"{part.lost} of {part.shard}" for part in damage],
        "checkpoints": "a run to go on with" if started else "nothing there",
    }
    return _Plan(manifest, config, global_batch, damage, folder, started), facts


def load_weights(model: keras.Model, network: Network, path: str) -> tuple[Fit, Facts]:
    """Loads initial weights into this host's copies; returns the fit, and facts as `look_over`."""
    fit = load_initial_weights(model, path, network)
    return fit, {"initial weights, CRC-32": _crc32(model)}


def _restore(checkpoints: Checkpoints, model: keras.Model) -> tuple[tuple[Progress, int], Facts]:
    done, step = checkpoints.restore()
    name = checkpoint_folder(checkpoints.folder, done.epoch, done.update).name
    return (done, step), {"checkpoint": name, "updates": step, "its weights, CRC-32": _crc32(model)}


def _crc32(model: keras.Model) -> str:
    """Of this host's copy of the weights; running statistics could only be read by all together."""
    crc = 0
    for variable in model.trainable_variables:
        crc = zlib.crc32(np.ascontiguousarray(variable.numpy()).data, crc)
    return f"{crc:08x}"
