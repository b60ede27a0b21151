"""The reader: shard bytes to augmented batches, over a bare OpenCV loop on the same crops times the cores.

The bare loop is the limit of reading whole crops: decode and warp of each in one thread, nothing else. The
reader has more to do, but decodes only the rows that a view shows. It ends with 8-bit inputs and leaves the
rest to the device; in the row "with targets", which counts, the CPU normalizes and makes the heatmaps, too.
Figures that end in "cpu" compare processor seconds an instance; they are the steadier ones on a busy host.
With --peer DIR also over the official DataLoader, which does the same, on the COCO instances in
../shared/dataset/COCO.
"""

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import cv2
import numpy as np

from benchmarks.turns import COCO_DIR, Peer, in_turns, parse_with_peer, rate, ratio
from hrpose.command import import_tensorflow

BATCH = 32
INPUT_SIZE = (192, 256)
SECONDS = 2.0
ROUNDS = 5
WARM_UP = 10  # batches

#: The sides. OURS is the one that counts.
BARE = "bare OpenCV loop, one thread"
PLAIN = "reader"
OURS = "reader, normalized and with targets"
PEER = "official DataLoader, full images"


def build(dataset, data, split, folder):
    """Builds records with the default options; returns (folder, manifest)."""
    from pipelines.build import build_records
    from pipelines.build_specs import Build
    from pipelines.crops import CropOptions
    from records.datasets import DATASETS
    from records.skeletons import COCO

    layout = DATASETS[dataset].layout
    manifest = build_records(
        Build(
            dataset=dataset,
            split=split,
            boxes="ground_truth",
            skeleton=COCO,
            annotations=str(Path(data) / layout.annotations[split]),
            images=str(Path(data) / layout.images.format(split=split)),
            detections="",
            folder=str(folder),
            options=CropOptions(INPUT_SIZE),
            instances_per_shard=64,
        ),
    )
    return folder, manifest


def bare_loop(folder, manifest):
    """One pass of decode and warp over the crops of a folder in this thread; returns instances."""
    import tensorflow as tf

    from records.augment import Augmentation, augment
    from records.geometry import compose_affine, invert_affine
    from records.schema import parse_examples

    files = [f"{folder}/{shard.name}" for shard in manifest.shards]
    serialized = tf.stack(list(tf.data.TFRecordDataset(files).as_numpy_iterator()))
    parsed = parse_examples(serialized, manifest.skeleton.num_keypoints)
    instances = {name: value.numpy() for name, value in parsed.items()}
    crops = [np.frombuffer(crop, np.uint8) for crop in instances["crop"]]
    input_affine, _ = augment(instances, Augmentation(), 0, 0, manifest.skeleton, INPUT_SIZE)
    affines = compose_affine(input_affine, invert_affine(instances["crop_affine"]))

    def once():
        cv2.setNumThreads(1)
        for crop, affine in zip(crops, affines, strict=True):
            cv2.warpAffine(cv2.imdecode(crop, cv2.IMREAD_COLOR), affine, INPUT_SIZE)
        return len(crops)

    return once


def finish(images, keypoints_input):
    """What the trainer's device does with a batch: (inputs, target heatmaps, target weights)."""
    from model.codecs import codec
    from model.inputs import normalize
    from model.networks import NETWORKS

    heatmap_size = NETWORKS["w32"].heatmap_size(INPUT_SIZE)
    return normalize(images), *codec("msra").encode(keypoints_input, INPUT_SIZE, heatmap_size)


def reader(folder, targets):
    """A function that reads one batch of an endless pass; returns instances.

    The pass begins anew with each such function and has been going for some batches; it ends with the
    function, because what still fills its buffers would slow down the next side.

    Args:
        folder: of records.
        targets: whether to normalize the inputs and make the heatmaps, too.
    """
    import tensorflow as tf

    from records.augment import Augmentation
    from records.reader import read_records

    dataset = read_records(
        folder, BATCH, augmentation=Augmentation(), shuffle_buffer=256, drop_remainder=True, num_batches=10**6
    )
    dataset = dataset.map(lambda batch: (batch["image"], batch["keypoints_input"]))
    if targets:
        # Compiled, it passes over the memory once instead of once for each operation.
        compiled = tf.function(finish, jit_compile=True)
        dataset = dataset.map(compiled, num_parallel_calls=tf.data.AUTOTUNE)
    batches = iter(dataset)
    for _ in range(WARM_UP):
        next(batches)
    return lambda: len(next(batches)[0])


def main():
    """Prints the tables and the ratios."""
    arguments = parse_with_peer(__doc__)
    import_tensorflow()
    from pipelines.synthetic.dataset import generate
    from pipelines.synthetic.options import SyntheticOptions

    seconds, rounds = (0.2, 1) if arguments.smoke else (SECONDS, ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        generate(folder, SyntheticOptions(train_images=20 if arguments.smoke else 200, val_images=1))
        compare("reader", "drawn", build("synthetic", folder, "train", folder / "drawn"), seconds, rounds)
        if COCO_DIR.is_dir():
            built = build("coco", COCO_DIR, "train", folder / "coco")
            compare("reader_coco", "COCO", built, seconds, rounds, arguments.peer)


def compare(key, kind, built, seconds, rounds, peer=None):
    """Measures on one folder of records and prints its table.

    Args:
        key: what the names of its figures begin with.
        kind: of instances, for the title.
        built: (folder, manifest) of the records.
        seconds, rounds: how long to measure.
        peer: checkout of the official implementation, or None.
    """
    cores = len(os.sched_getaffinity(0))
    bare = bare_loop(*built)

    def sides_by(clock):
        return {
            BARE: rate(bare, seconds, clock),
            PLAIN: lambda: rate(reader(built[0], targets=False), seconds, clock)(),
            OURS: lambda: rate(reader(built[0], targets=True), seconds, clock)(),
        }

    sides = sides_by(time.perf_counter)
    with contextlib.ExitStack() as stack:
        if peer:
            options = ("--dataset_dir", COCO_DIR, "--batch", BATCH, "--seconds", seconds)
            sides[PEER] = stack.enter_context(Peer(peer, "reader", *options)).rate
        in_turns(sides, 1)  # first calls are not counted
        found = in_turns(sides, rounds)
    busy = in_turns(sides_by(time.process_time), rounds)
    instances = built[1].records
    print(f"Reader at {INPUT_SIZE[0]}x{INPUT_SIZE[1]}, {instances} {kind} instances, {cores} cores")
    for side, numbers in found.items():
        print(f"  {side:36} {np.median(numbers):7.0f} people/s")
    for name, side in (("inputs_over", PLAIN), ("over", OURS)):
        print(f"{key}_{name}_opencv_times_cores {ratio(found[side], found[BARE]) / cores:.2f}")
        print(f"{key}_{name}_opencv_cpu {ratio(busy[side], busy[BARE]):.2f}")
    if peer:
        print(f"{key}_over_official {ratio(found[OURS], found[PEER]):.1f}")
    print()


if __name__ == "__main__":
    main()
