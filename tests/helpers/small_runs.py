"""Runs that are done in a second or two: a network of two convolutions on records of a few instances.

As a command, ``python -m tests.helpers.small_runs OPTIONS.json``, it does one run in a process of its own:
JSON of what `options_of` gives; "kill_at", the update before which the process kills itself;
"kill_in_validation", the validation in which it does so; "instances_to", a folder for the instances of each
update that this host had; and "replicas", a number of virtual CPUs.
"""

import itertools
import json
import os
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path

import keras
import tensorflow as tf

import train.setup
from hrpose import logs
from hrpose.command import CommandError
from model.layers import BatchNorm, conv
from model.networks import DEFAULT_NETWORK, NETWORKS, Network
from pipelines.build import build_records
from records.datasets import DATASETS, dataset_paths
from tests.helpers.builders import make_build, make_dataset
from train.input_pipeline import instances_of
from train.options import TrainOptions, TrainPaths
from train.schedule import Schedule

INPUT_SIZE = (32, 64)


def small_network(input_size, num_keypoints, precision="float32"):
    """A network of convolution, normalization, convolution."""
    image = keras.Input((input_size[1], input_size[0], 3), name="image")
    x = BatchNorm(name="norm")(conv(4, 3, 2, name="first")(image))
    x = keras.layers.Activation("relu", name="relu")(x)
    return keras.Model(image, conv(num_keypoints, 3, 2, name="head", use_bias=True)(x))


#: Stands in for the network that runs have by default.
SMALL = Network(DEFAULT_NETWORK, small_network)


def make_records(folder, **crop):
    """Records of the splits train and val, built with these `CropOptions`; returns their folder."""
    for split, images, first in (("train", 12, 1), ("val", 3, 101)):
        make_dataset(folder, split, images, first_id=first)
        build = make_build(
            folder,
            folder / "records" / split,
            split,
            crop={"input_size": INPUT_SIZE} | crop,
            max_bad_fraction=1,
            instances_per_shard=10,
        )
        build_records(build)
    return folder / "records"


def small_options(records, run_dir, dataset="coco", **changes):
    """`TrainOptions` of two epochs of four updates."""
    places = dataset_paths(DATASETS[dataset], dataset_dir=records.parent, records_dir=records)
    return TrainOptions(
        **{
            "dataset": dataset,
            "paths": TrainPaths(Path(run_dir), places, places.records("train", "ground_truth")),
            "epochs": 2,
            "batch_size": 8,
            "gpus": 0,
            # A step between the epochs: a run that forgot how far it was would take the wrong rate.
            "schedule": Schedule(initial=1e-2, milestones=(1,), warmup_steps=5),
        }
        | changes
    )


def elsewhere(options, run_dir, **changes):
    """`TrainOptions` like others but for the run's folder, and more."""
    return replace(options, paths=replace(options.paths, run_dir=run_dir), **changes)


def options_of(options):
    """`TrainOptions` as the command takes them."""
    data = asdict(options)
    del data["augmentation"], data["provenance"], data["paths"]
    return data | {
        "run_dir": str(options.paths.run_dir),
        "records_dir": str(options.paths.dataset.records_dir),
    }


def deadly(function, call):
    """A function in whose call of that number, from 1, the process kills itself."""
    calls = itertools.count(1)

    def called(*arguments):
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)

    return called


def main():
    """Does the run that the first argument names."""
    logs.start()
    data = json.loads(Path(sys.argv[1]).read_text())
    NETWORKS[DEFAULT_NETWORK] = SMALL
    names = ("kill_at", "kill_in_validation", "instances_to", "replicas")
    kill_at, kill_in_validation, instances_to, replicas = (data.pop(name, None) for name in names)
    if replicas is not None:
        cpu, one = tf.config.list_physical_devices("CPU")[0], tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [one] * replicas)
        devices = [f"CPU:{index}" for index in range(replicas)]
        train.setup.make_strategy = lambda gpus, cluster: tf.distribute.MirroredStrategy(devices)
    data["schedule"] = Schedule(**data["schedule"])
    options = small_options(Path(data.pop("records_dir")), data.pop("run_dir"), **data)
    if kill_at is not None:
        make = train.loop.make_train_step
        train.loop.make_train_step = lambda *arguments: deadly(make(*arguments), kill_at)
    if kill_in_validation is not None:
        train.loop.validate = deadly(train.loop.validate, kill_in_validation)
    if instances_to is not None:
        batches, index = train.loop.epoch_batches, json.loads(os.environ["TF_CONFIG"])["task"]["index"]

        def seen_batches(run, *position):
            for batch in batches(run, *position):
                with (Path(instances_to) / f"instances-{index}").open("a") as file:
                    file.write(json.dumps(instances_of(run.strategy, *batch[2:])) + "\n")
                yield batch

        train.loop.epoch_batches = seen_batches
    try:
        train.loop.train(options)
    except CommandError as error:
        print(error)
        sys.exit(getattr(error, "exit_code", 1))


if __name__ == "__main__":
    import train.loop

    main()
