"""Building records: the Beam job over a bare two-process loop, and two workers over one.

The bare loop is the limit: two processes read, decode, crop, encode and write the same instances with the
project's own functions and nothing else, and their start does not count. The build counts from the annotation
file to the manifest ("whole"), and, since its workers' start takes seconds whatever the dataset's size, once
more from the moment each worker has finished a shard ("running", what a large dataset sees). All take turns;
ratios are medians over the rounds. On a busy host the ratio of the CPU seconds an instance is the steadier
one: of the loop over those of the build without its start, which is a build of a few instances.

The images are COCO's train split in ``--dataset_dir`` (by default ../shared/dataset/COCO beside the
repository), each listed many times over; drawn ones stand in where it is absent. Run alone with
``python benchmarks/build.py``; ``--smoke`` takes seconds and its ratios mean little.
"""

import contextlib
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import cv2
import numpy as np

from benchmarks.turns import COCO_DIR, argument_parser
from pipelines.annotations.coco import read_annotations, read_ground_truth
from pipelines.build import build_records
from pipelines.build_specs import Build
from pipelines.crops import CropOptions, make_record
from pipelines.runner_options import beam_arguments
from pipelines.synthetic.dataset import generate
from pipelines.synthetic.options import SyntheticOptions
from records.schema import to_example
from records.skeletons import COCO
from records.tfrecord import frame

WORKERS = 2
OPTIONS = CropOptions((192, 256))


@dataclass(frozen=True)
class Timing:
    """A run: instances made, people/s from start to end and once running, CPU seconds of its processes."""

    instances: int
    whole: float
    running: float
    cpu: float


def repeat(annotations, instances, path):
    """Writes an annotation file that lists another's images over and over, for about so many instances."""
    times = round(instances / len(annotations["annotations"])) or 1
    repeated = {"categories": annotations["categories"], "images": [], "annotations": []}
    for n in range(times):
        repeated["images"] += [entry | {"id": times * entry["id"] + n} for entry in annotations["images"]]
        repeated["annotations"] += [
            entry | {"id": times * entry["id"] + n, "image_id": times * entry["image_id"] + n}
            for entry in annotations["annotations"]
        ]
    Path(path).write_text(json.dumps(repeated))


@contextlib.contextmanager
def dataset(folder, instances):
    """(annotation file, one of a few instances, image folder) of about so many instances."""
    with tempfile.TemporaryDirectory() as made:
        source = folder / "annotations/person_keypoints_train2017.json"
        images = folder / "images/train2017"
        if not source.exists():
            print(f"{source} is not here: synthetic images instead")
            generate(Path(made, "drawn"), SyntheticOptions(train_images=40, val_images=1))
            source = Path(made, "drawn/annotations/person_keypoints_train.json")
            images = Path(made, "drawn/images/train")
        annotations = json.loads(source.read_text())
        labeled = [entry for entry in annotations["annotations"] if entry.get("num_keypoints")]
        repeat(annotations | {"annotations": labeled}, instances, f"{made}/repeated.json")
        repeat(annotations | {"annotations": labeled}, 0, f"{made}/few.json")
        yield f"{made}/repeated.json", f"{made}/few.json", str(images)


def bare_loop(annotations, images):
    """The bare loop's `Timing`; its CPU seconds are those of the loop only, as its people/s are."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as out:
        barrier, results = spawn.Barrier(WORKERS), spawn.SimpleQueue()
        processes = [
            spawn.Process(
                target=bare_worker, args=(annotations, images, f"{out}/{part}", part, barrier, results)
            )
            for part in range(WORKERS)
        ]
        for process in processes:
            process.start()
        instances, seconds, cpu = zip(*(results.get() for _ in processes), strict=True)
        for process in processes:
            process.join()
    rate = sum(instances) / max(seconds)
    return Timing(sum(instances), rate, rate, sum(cpu))


def bare_worker(annotations, image_folder, path, part, barrier, results):
    """Every second image's instances; begins when both have made a first image's, so nothing starts late."""
    cv2.setNumThreads(1)
    images = read_ground_truth(read_annotations(annotations), annotations, COCO).images[part::WORKERS]
    bare_instances(images[:1], image_folder, path)
    barrier.wait()
    start, cpu = time.perf_counter(), time.process_time()
    instances = bare_instances(images, image_folder, path)
    results.put((instances, time.perf_counter() - start, time.process_time() - cpu))


def bare_instances(images, image_folder, path):
    """Decodes, crops, encodes, writes; returns how many."""
    with Path(path).open("wb") as file:
        for image in images:
            pixels = cv2.imread(
                f"{image_folder}/{image.file_name}", cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            )
            for instance in image.instances:
                values = make_record(pixels, image, instance, COCO, OPTIONS)
                file.write(frame(to_example(values, COCO.num_keypoints)))
    return sum(len(image.instances) for image in images)


def build(annotations, images, workers, instances_per_shard):
    """The `Timing` of a build with so many workers, as the command makes it."""
    with tempfile.TemporaryDirectory() as out:
        asked = Build(
            dataset="coco",
            split="train",
            boxes="ground_truth",
            skeleton=COCO,
            annotations=annotations,
            images=images,
            detections="",
            folder=f"{out}/records",
            options=OPTIONS,
            instances_per_shard=instances_per_shard,
            beam_args=beam_arguments([], workers),
        )
        start, cpu = time.perf_counter(), cpu_seconds()
        manifest = build_records(asked)
        seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
        finished = sorted(
            (Path(asked.folder, shard.name).stat().st_mtime, shard.records) for shard in manifest.shards
        )
    # The first shard of each worker is its start.
    took = finished[-1][0] - finished[workers - 1][0]
    running = sum(records for _, records in finished[workers:]) / took if took else np.nan
    return Timing(manifest.records, manifest.records / seconds, running, cpu)


def cpu_seconds():
    """CPU seconds of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main():
    """Prints the table and the ratios."""
    parser = argument_parser(__doc__)
    parser.add_argument("--dataset_dir", type=Path, default=COCO_DIR)
    parser.add_argument("--instances", type=int, default=4000, help="about how many instances a build has")
    parser.add_argument("--rounds", type=int, default=3)
    values = parser.parse_args()
    instances, rounds = (200, 1) if values.smoke else (values.num_images, values.rounds)
    with dataset(values.dataset_dir, instances) as (annotations, few, images):
        ways = {
            "bare loop, 2 processes": lambda: bare_loop(annotations, images),
            "build, 2 workers": lambda: build(annotations, images, WORKERS, instances // 40),
            "build, 1 worker": lambda: build(annotations, images, 1, instances // 40),
            "start, 2 workers": lambda: build(few, images, WORKERS, 50),
        }
        timings = [[way() for way in ways.values()] for _ in range(rounds)]
    print(f"Building records, median of {rounds} rounds")
    for name, runs in zip(ways, zip(*timings, strict=True), strict=True):
        whole, running, cpu = np.median(
            [(r.whole, r.running, 1e3 * r.cpu / r.instances) for r in runs], axis=0
        )
        print(
            f"  {name:24}{runs[0].instances:7,} instances {whole:7.0f} people/s whole {running:7.0f} running"
            f" {cpu:7.2f} ms CPU an instance"
        )
    ratios = {
        "build_over_bare_loop": [two.running / bare.running for bare, two, _, _ in timings],
        "build_over_bare_loop_cpu": [
            bare.cpu / bare.instances * (two.instances - start.instances) / (two.cpu - start.cpu)
            for bare, two, _, start in timings
        ],
        "build_whole_over_bare_loop": [two.whole / bare.whole for bare, two, _, _ in timings],
        "build_two_workers_over_one": [two.running / one.running for _, two, one, _ in timings],
        "build_whole_two_workers_over_one": [two.whole / one.whole for _, two, one, _ in timings],
    }
    for name, values in ratios.items():
        print(f"{name} {np.median(values):.2f}")
    print()


if __name__ == "__main__":
    main()
