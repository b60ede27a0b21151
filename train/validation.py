"""Validation while training: the evaluator, called as a library."""

from dataclasses import dataclass
from pathlib import Path

from evaluate.inference import make_predict_step, predict
from evaluate.measures import Evaluated, measure
from evaluate.rescoring import as_results, keep_poses
from evaluate.run import EvaluateOptions, find_records
from evaluate.sheet import draw_people
from evaluate.truth import find_truth
from model.codec import codec_named
from model.hrnet import ARCHITECTURES, build
from records.command import CommandError
from records.damage import damage_reported
from records.dataset import read_records
from records.layout import LAYOUTS
from records.shards import RecordsError, read_manifest

PICTURES = 16

#: What decides which epoch is the best, by dataset; COCO's AP for the others.
HEADLINES = {"mpii": "Mean", "posetrack": "AP"}


@dataclass(frozen=True)
class Validation:
    """The outcome of one validation.

    Attributes:
        name, value: of the metric that decides which epoch is the best; the value may be None.
        values: {name: number or None}: every number the dataset's metric has.
        text: one line for the user.
        picture: (h, w, 3) uint8 RGB: some people with their predicted skeletons.
    """

    name: str
    value: float | None
    values: dict
    text: str
    picture: object


class Validator:
    """Measures weights on annotated boxes of the split val, with one copy of the network on one device.

    Args:
        options: `train.options.TrainOptions`.
        config: the run's `RunConfig`.

    Raises:
        RecordsError: if there are no records to validate on, or they do not belong to the run.
    """

    def __init__(self, options, config):
        self._config, layout = config, LAYOUTS[config.dataset]
        self._dataset_dir = Path(options.dataset_dir or layout.default_dir())
        # As the official recipes validate while training (TEST.USE_GT_BBOX): COCO has sixteen times as many
        # detected boxes.
        where = EvaluateOptions(
            output=options.output,
            boxes="ground_truth",
            dataset_dir=options.dataset_dir,
            records_dir=options.records_dir,
        )
        self._records = find_records(where, config, self._dataset_dir)
        self._manifest = read_manifest(self._records)
        if self._manifest.skeleton.to_json()["keypoints"] != config.skeleton["keypoints"]:
            raise RecordsError(f"{self._records} holds other keypoints than the training records")
        if not self._manifest.records:
            raise RecordsError(f"{self._records} holds no people")
        self._truth = find_truth(where, self._manifest)
        self._files = Path(options.output) / "log" / "validation"
        self._batch_size = options.batch_size
        self._model = build(ARCHITECTURES[config.model], config.input_size, config.num_keypoints)
        self._step = make_predict_step(
            self._model, config.codec, config.sigma, self._manifest.skeleton.flip_permutation
        )

    def __call__(self, arrays, title):
        """Measures.

        Args:
            arrays: {path of the network's variable: array}.
            title: of the picture.

        Returns:
            `Validation`.

        Raises:
            CommandError: if the predictions cannot be scored.
        """
        for variable in self._model.variables:
            variable.assign(arrays[variable.path])
        manifest, truth, config = self._manifest, self._truth, self._config
        unbiased = codec_named(config.codec).unbiased
        dataset = read_records(
            self._records, self._batch_size, input_size=config.input_size, unbiased=unbiased
        )
        with damage_reported(self._records):
            predictions = predict(self._step, dataset, config.heatmap_size, manifest.records, unbiased)
        defaults = EvaluateOptions(output="")
        try:
            kept, scores = keep_poses(
                predictions.keypoints,
                predictions.areas,
                predictions.box_scores,
                predictions.image_ids,
                defaults.oks_threshold,
                defaults.min_visibility,
                defaults.soft_nms,
                manifest.skeleton.sigmas,
            )
        except ValueError as error:
            raise CommandError(f"validation: {error}") from error
        self._files.mkdir(parents=True, exist_ok=True)
        measured = measure(
            Evaluated(
                manifest=manifest,
                truth=truth,
                predictions=predictions,
                kept=kept,
                results=as_results(
                    predictions.keypoints, predictions.image_ids, kept, scores, truth.category
                ),
                sequences=self._dataset_dir / "original_annotations" / "val",
                name=self._files / "last",
            )
        )
        picture = draw_people(
            self._records,
            manifest.skeleton,
            config.input_size,
            predictions,
            truth.content,
            PICTURES,
            title=f"{title}: {measured.headline}",
        )
        # PoseTrack's numbers of each video are in the evaluator's file; as curves they would be hundreds.
        values = flat_numbers({key: part for key, part in measured.metrics.items() if key != "sequences"})
        name = HEADLINES.get(config.dataset, "AP")
        name = name if name in values else f"{name}/total"
        return Validation(name, values.get(name), values, measured.headline, picture)


def make_validator(options, config):
    """A `Validator` for a run, or None if it shall not or cannot be validated; the user is told why not."""
    if not options.eval_every:
        return None
    try:
        return Validator(options, config)
    except RecordsError as error:
        print(f"note: no validation while training: {error}")
        return None


def validate(validator, run, epoch, learnt, journal):
    """Validates a run after an epoch: the moving average of its weights if it keeps one.

    Args:
        validator: `Validator`.
        run: `train.run.Run`.
        epoch: number of epochs done.
        learnt: what was saved, from `train.checkpoints.Checkpoints.save`.
        journal: `train.journal.Journal`.
    """
    try:
        outcome = validator(learnt.get("average", learnt["model"]), f"{run.config.model} epoch {epoch}")
    except CommandError as error:  # what was learnt is saved, and days of training are worth more
        journal.say(f"epoch {epoch}: not validated: {error}")
        return
    run.checkpoints.note_validation(epoch, outcome.name, outcome.value)
    journal.record("validation", epoch, outcome.values, picture=outcome.picture)
    weights = ", averaged weights" if run.average else ""
    journal.say(f"epoch {epoch}: validation {outcome.text} (annotated boxes{weights})")


def flat_numbers(metrics, prefix=""):
    """{"a/b": number} of nested dicts of numbers; what is neither is left out."""
    flat = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            flat |= flat_numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[f"{prefix}{name}"] = value
    return flat
