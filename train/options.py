"""What a training run is told, and what of it decides the result."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hrpose.cluster import Cluster, parse_cluster
from hrpose.command import UsageError
from model.codecs import DEFAULT_CODEC
from model.networks import DEFAULT_NETWORK
from model.run_config import RunConfig
from model.run_folder import checkpoints_folder
from records.augment import Augmentation
from records.datasets import DATASETS, DatasetPaths
from records.manifest import Manifest
from train.schedule import Schedule


@dataclass(frozen=True)
class TrainPaths:
    """Where a run reads and writes.

    Attributes:
        run_dir: the run's folder.
        dataset: places of the dataset; validation looks there.
        records: folder of the records to train on.
    """

    run_dir: Path
    dataset: DatasetPaths
    records: Path

    @property
    def checkpoints(self) -> Path:
        """The folder of the run's configuration and checkpoints."""
        return checkpoints_folder(self.run_dir)

    @property
    def log(self) -> Path:
        """The folder of train.log, metrics.jsonl and curves."""
        return self.run_dir / "log"


@dataclass(frozen=True)
class TrainOptions:
    """One run.

    Attributes:
        dataset: name of the dataset, for messages and the run's configuration.
        paths: where it reads and writes.
        model: a name in `model.networks.NETWORKS`.
        input_size: (width, height) of the network input; None for the records' own.
        codec: how keypoints become heatmaps, a name in `model.codecs.CODECS`.
        sigma: of the target Gaussians, in heatmap pixels.
        epochs: how many in all.
        batch_size: instances per GPU and forward pass.
        gradient_accumulation_steps: forward passes whose gradients make one update.
        gpus: number of GPUs of this host; 0 is the CPU.
        precision: what the network computes in, a name in `model.networks.PRECISIONS`.
        schedule: the learning rate's, a `train.schedule.Schedule`.
        weight_decay: decoupled, relative to the learning rate.
        clip_norm: what the norm of all gradients together is held below; None for no limit.
        ema_decay: of the moving average of the weights; None for none.
        sync_batch_norm: whether batch normalization looks at all GPUs' instances together.
        coarse_dropout_probability: how often a rectangle of the input is blackened.
        initial_weights: file to start from; None for random weights.
        weights_given: whether the user named them, or none, and they were not just found.
        shuffle_buffer: instances to shuffle among.
        seed: of initial weights, order and augmentation.
        deterministic: whether to use only operations that give the same bits every time.
        resume: whether to go on from the run folder's last checkpoint.
        save_minutes: also save after so many minutes; 0 for after epochs only.
        max_to_keep: how many epochs' checkpoints stay besides the best; None for all.
        eval_every: validate after every so many epochs and the last; 0 for never, None for as often as takes
            little time, see `train.timetable`.
        skip_steps: numbers of the updates not to do.
        skip_damaged: whether to leave out what of the records is damaged.
        provenance: what the run was made by, for its configuration: flags, versions.
    """

    dataset: str
    paths: TrainPaths
    model: str = DEFAULT_NETWORK
    input_size: tuple[int, int] | None = None
    codec: str = DEFAULT_CODEC
    sigma: float = 2.0
    epochs: int = 210
    batch_size: int = 32
    gradient_accumulation_steps: int = 1
    gpus: int = 1
    precision: str = "float32"
    schedule: Schedule = field(default_factory=Schedule)
    weight_decay: float = 0.0
    clip_norm: float | None = None
    ema_decay: float | None = None
    sync_batch_norm: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)
    coarse_dropout_probability: float = 0.0
    initial_weights: str | None = None
    weights_given: bool = False
    shuffle_buffer: int = 4096
    seed: int = 0
    deterministic: bool = False
    resume: bool = False
    save_minutes: float = 0.0
    max_to_keep: int | None = None
    eval_every: int | None = 0
    skip_steps: tuple[int, ...] = ()
    skip_damaged: bool = False
    provenance: dict[str, Any] = field(default_factory=dict)


def recipe_line(options: TrainOptions) -> str:
    """For the user: augmentation and batch size in force, and how they differ from what is published."""
    recipe, ours = DATASETS[options.dataset].recipe, options.augmentation
    published = asdict(recipe.augmentation) | {"batch_size": recipe.batch_size}
    in_force = asdict(ours) | {"batch_size": options.batch_size}
    other = [f"{name}={value:g}" for name, value in published.items() if in_force[name] != value]
    holes = options.coarse_dropout_probability
    return (
        f"augmentation: scale 1 ± {ours.scale_factor:g}, rotation {ours.rotation_factor:g}° in "
        f"{ours.rotation_probability:.0%}, mirrored {ours.flip_probability:.0%}, half body "
        f"{ours.half_body_probability:.0%}{f', rectangles {holes:.0%}' if holes else ''}; batch size "
        f"{options.batch_size}: "
        + (f"{recipe.name} has {', '.join(other)}" if other else f"as {recipe.name}")
    )


def run_config(options: TrainOptions, manifest: Manifest, workers: int = 1) -> RunConfig:
    """The `RunConfig` of a run on some records.

    Settings under which a run of an earlier version would have been the same are not written, so that such a
    run can be continued.

    Args:
        options: the run's.
        manifest: the training records'.
        workers: number of workers.
    """
    later = {
        "gradient_accumulation_steps": options.gradient_accumulation_steps
        if options.gradient_accumulation_steps > 1
        else None,
        "precision": options.precision,
        "workers": workers if workers > 1 else None,
        "weight_decay": options.weight_decay or None,
        "clip_norm": options.clip_norm,
        "ema_decay": options.ema_decay,
        "sync_batch_norm": options.sync_batch_norm or None,
        "coarse_dropout_probability": options.coarse_dropout_probability or None,
        "deterministic": options.deterministic or None,
    }
    return RunConfig(
        dataset=options.dataset,
        records=manifest.fingerprint,
        skeleton=manifest.skeleton.to_json(),
        model=options.model,
        input_size=options.input_size or manifest.input_size,
        codec=options.codec,
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
            **{name: value for name, value in later.items() if value is not None},
        },
        provenance=options.provenance,
    )


def read_cluster(tf_config: str | None) -> Cluster:
    """The workers that the environment variable TF_CONFIG names, as `hrpose.cluster.parse_cluster`.

    Raises:
        UsageError: if its value is of another form.
    """
    try:
        return parse_cluster(tf_config)
    except ValueError as error:
        raise UsageError(str(error)) from error
