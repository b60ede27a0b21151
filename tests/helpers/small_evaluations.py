"""Evaluations that are done in a second or two: those of `tests.helpers.small_runs`.

As a command, ``python -m tests.helpers.small_evaluations OPTIONS.json``, it does one evaluation in a process
of its own: JSON of the arguments of `options_of`; "kill_at", the batch at which the process kills itself;
and "devices", a number of virtual CPUs. It prints the number of batches predicted by each device.
"""

import json
import os
import signal
import sys
from pathlib import Path

import tensorflow as tf

import evaluate.run
from evaluate.metrics import choose_metrics
from evaluate.options import EvaluateOptions
from evaluate.run_inputs import evaluation_paths, run_dataset
from hrpose import logs
from model.networks import DEFAULT_NETWORK, NETWORKS
from model.run_config import read_config
from tests.helpers.small_runs import SMALL

#: Instances per batch and per part.
BATCH, PART = 4, 8


def small_arguments(run, **changes):
    """Arguments of `options_of` for a run made with `tests.helpers.small_runs.small_options`."""
    return {
        "run_dir": str(run.paths.run_dir),
        "records_dir": str(run.paths.dataset.records_dir),
        "dataset_dir": str(run.paths.dataset.dataset_dir),
        "split": "train",  # the larger one, in several shards
        "batch_size": BATCH,
        "gpus": 0,
        "num_images": 2,
    } | changes


def options_of(
    run_dir,
    split="val",
    boxes=None,
    dataset_dir=None,
    records_dir=None,
    annotations=None,
    metrics=None,
    metric_options=None,
    **options,
):
    """`EvaluateOptions` of places and metrics as a user names them."""
    dataset = run_dataset(read_config(Path(run_dir) / "model_dump"))
    paths = evaluation_paths(
        dataset,
        run_dir,
        split=split,
        boxes=boxes,
        dataset_dir=dataset_dir,
        records_dir=records_dir,
        annotations=annotations,
    )
    return EvaluateOptions(paths, choose_metrics(metrics or dataset.metrics, metric_options), **options)


def small_evaluation(run, **changes):
    """`EvaluateOptions` of `small_arguments`."""
    return options_of(**small_arguments(run, **changes))


def counted_steps(counts, kill_at=None):
    """A stand-in for `evaluate.inference.make_predict_step`: the same, and {device: batches} in `counts`."""
    make = evaluate.run.make_predict_step

    def make_counted(model, codec, flip_permutation, device, **options):
        step = make(model, codec, flip_permutation, device, **options)
        assert all(device in variable.value.device for variable in model.variables)

        def counted(images):
            counts[device] = counts.get(device, 0) + 1
            if sum(counts.values()) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            keypoints = step(images)
            assert device in keypoints.device
            return keypoints

        return counted

    return make_counted


def main():
    """Does the evaluation that the first argument names."""
    data = json.loads(Path(sys.argv[1]).read_text())
    kill_at, devices = data.pop("kill_at", None), data.pop("devices", None)
    if devices:
        cpu, one = tf.config.list_physical_devices("CPU")[0], tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [one] * devices)
        evaluate.run.use_gpus = lambda gpus, verb: tuple(f"CPU:{index}" for index in range(devices))
    logs.start()
    counts = {}
    NETWORKS[DEFAULT_NETWORK] = SMALL
    evaluate.run.INSTANCES_PER_PART = PART
    evaluate.run.make_predict_step = counted_steps(counts, kill_at)
    evaluate.run.evaluate_run(options_of(**data))
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
