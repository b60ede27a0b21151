"""The reader: shard bytes to augmented batches, over a bare OpenCV loop on the same crops times the cores.

The bare loop is the limit: decode and warp of the same crops in one thread, nothing else. Run alone with
``python benchmarks/reader.py``.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import cv2
import numpy as np

from records.command import import_tensorflow

IMAGES = 200
BATCH = 32
INPUT_SIZE = (192, 256)
SECONDS = 4.0


def people_per_second(one_pass):
    """Rate of repeated passes, after a first one that is not counted."""
    one_pass()
    start, people = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        people += one_pass()
    return people / (time.perf_counter() - start)


def main():
    """Builds records of drawn people and prints the table and the ratio."""
    import_tensorflow()
    import tensorflow as tf

    from pipelines.crops import CropOptions
    from pipelines.job import Build, build_records
    from pipelines.synthetic import SyntheticOptions, generate
    from records.augment import Augmentation, augment
    from records.dataset import read_records
    from records.geometry import compose_affine, invert_affine
    from records.schema import parse_examples
    from records.skeletons import COCO

    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder), SyntheticOptions(train_images=IMAGES, val_images=1))
        build = Build(
            dataset="synthetic",
            split="train",
            boxes="ground_truth",
            skeleton=COCO,
            annotations=f"{folder}/annotations/person_keypoints_train.json",
            images=f"{folder}/images/train",
            detections="",
            folder=f"{folder}/records",
            options=CropOptions(INPUT_SIZE),
            people_per_shard=64,
        )
        manifest = build_records(build)
        files = [f"{build.folder}/{shard.name}" for shard in manifest.shards]
        parsed = parse_examples(
            tf.stack(list(tf.data.TFRecordDataset(files).as_numpy_iterator())), COCO.num_keypoints
        )
        people = {name: value.numpy() for name, value in parsed.items()}
        crops = [np.frombuffer(crop, np.uint8) for crop in people["crop"]]
        input_affine, _ = augment(people, Augmentation(), 0, 0, COCO, INPUT_SIZE)
        affines = compose_affine(input_affine, invert_affine(people["crop_affine"]))

        def limit():
            for crop, affine in zip(crops, affines, strict=True):
                cv2.warpAffine(cv2.imdecode(crop, cv2.IMREAD_COLOR), affine, INPUT_SIZE)
            return len(crops)

        epoch = iter(range(1 << 30))

        def reader():
            batches = read_records(
                build.folder,
                BATCH,
                augmentation=Augmentation(),
                epoch=next(epoch),
                shuffle_buffer=256,
            )
            return sum(len(batch["image"]) for batch in batches)

        cv2.setNumThreads(1)
        bare, ours = people_per_second(limit), people_per_second(reader)
    print(f"Reader at {INPUT_SIZE[0]}x{INPUT_SIZE[1]}, {len(crops)} drawn people, {cores} cores")
    print(f"  bare OpenCV loop, one thread  {bare:7.0f} people/s\n  reader  {ours:29.0f} people/s")
    print(f"reader_over_opencv_times_cores {ours / (bare * cores):.2f}\n")


if __name__ == "__main__":
    main()
