"""How the driver of a build grows: its seconds and memory for 10,000, 100,000 and, if asked for, more
instances.

The driver is the process of the command: it reads the annotations, writes a plan file per shard, waits for
the workers, and checks what they left. A row "driver" or "detections" is such a build in a process of its own
whose shards are not made: empty files and side files with the right counts stand in for them, so that all
that the driver does is measured, and nothing else. Whole builds with two workers come beside it up to
``--build_up_to`` instances; more would repeat their people/s for many minutes. The row "read" is of a file
like COCO's largest: 118,000 images, 260,000 instances, 150,000 of them labeled, with addresses and polygons.

The files are made up as COCO's are, with instances in no order; all images are eight of 64x64 pixels. A ratio
of (CPU) seconds is over that of the instances, so 1 is linear. Run alone with ``python benchmarks/scale.py``,
of other sizes with ``--instances 100000 --instances 1000000`` (two minutes more); ``--smoke`` takes seconds.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

import cv2
import numpy as np

from benchmarks.memory import high_water
from benchmarks.turns import argument_parser
from records.skeletons import COCO

INSTANCES = (10_000, 100_000)
INSTANCES_PER_IMAGE = 4
#: Images, labeled instances, others, and corners of a polygon: 468 MB.
COCO_SIZE = 118_000, 150_000, 110_000, 99
CORNERS = 30
WORKERS = 2
SIDE = 64  # pixels of an image
FILES = 8
#: So many different boxes, poses and polygons are drawn, and listed over and over.
GENERATED = 500
ADDRESS = (
    '"coco_url": "http://images.example.org/train2017/%012d.jpg", "date_captured": "2013-11-14 11:18:45", '
    '"flickr_url": "http://farm9.example.com/8186/%010d_0d1ab2f3c4_z.jpg"'
)


def write_images(folder):
    """The few images."""
    folder.mkdir()
    for number in range(FILES):
        coarse = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        pixels = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number:012d}.jpg"), pixels)


def draw_texts(corners):
    """JSON texts of `GENERATED` boxes, poses and polygons."""
    rng = np.random.default_rng(0)
    boxes, poses, polygons = [], [], []
    for _ in range(GENERATED):
        box = np.concatenate([rng.uniform(0, SIDE / 2, 2), rng.uniform(8, SIDE / 2, 2)])
        points = rng.integers(0, [SIDE, SIDE, 3], (17, 3))
        points[points[:, 2] == 0] = 0
        points[0, 2] = 2
        boxes.append(json.dumps(box.round(2).tolist()))
        poses.append(json.dumps(points.ravel().tolist()))
        polygons.append(json.dumps([rng.uniform(0, SIDE, 2 * corners).round(2).tolist()]))
    return boxes, poses, polygons


def write_annotations(path, images, labeled, others, corners):
    """An annotation file of so many images and instances, in no order."""
    boxes, poses, polygons = draw_texts(corners)
    nothing = json.dumps([0] * 3 * COCO.num_keypoints)
    instances = labeled + others
    category = {"id": 1, "name": "person", "keypoints": COCO.keypoints, "skeleton": []}
    with path.open("w") as file:
        file.write('{"info": {"description": "made up"}, "images": [')
        for n in range(images):
            file.write(
                f'{", " if n else ""}{{"license": 3, "file_name": "{n % FILES:012d}.jpg", '
                f'{ADDRESS % (n, n)}, "height": {SIDE}, "width": {SIDE}, "id": {n + 1}}}'
            )
        file.write('], "annotations": [')
        for n, k in enumerate(np.random.default_rng(1).permutation(instances).tolist()):
            known = k < labeled
            file.write(
                f'{", " if n else ""}{{"segmentation": {polygons[n % GENERATED]}, '
                f'"num_keypoints": {9 if known else 0}, "area": {n % 997}.5, "iscrowd": 0, '
                f'"keypoints": {poses[n * 7 % GENERATED] if known else nothing}, '
                f'"image_id": {k * images // instances + 1}, "bbox": {boxes[n * 3 % GENERATED]}, '
                f'"category_id": 1, "id": {n + 1}}}'
            )
        file.write(f'], "categories": [{json.dumps(category)}]}}')


def write_detections(path, images, count):
    """A detector's results file of so many boxes."""
    boxes, _, _ = draw_texts(corners=0)
    with path.open("w") as file:
        file.write("[")
        for n in range(count):
            file.write(
                f'{", " if n else ""}{{"image_id": {n % images + 1}, "category_id": 1, '
                f'"bbox": {boxes[n * 3 % GENERATED]}, "score": {(n % 1000 + 1) / 1001}}}'
            )
        file.write("]")


def stand_in(job, *_):
    """Leaves what the workers would, with empty shards."""
    import hashlib

    from pipelines.storage import write_whole

    for index in range(job.count):
        plan = Path(job.plan_path(index)).read_bytes()
        result = {
            "records": sum(len(image.instances) for image in job.planned(plan)),
            "size": 0,
            "sha256": hashlib.sha256(b"").hexdigest(),
            "rejected": [],
            "notes": {},
            "plan_sha256": hashlib.sha256(plan).hexdigest(),
        }
        write_whole(job.result_path(index), json.dumps(result).encode())
        write_whole(job.shard_path(index), b"")


def measure(what, folder, name):
    """Prints the figures of this process as a line of JSON.

    Args:
        what: "driver", "detections" (a driver, too), "build" or "read".
        folder: where the images and files are.
        name: of the annotation file.
    """
    from pipelines.annotations.source import read_source
    from pipelines.build import build_records
    from pipelines.build_specs import Build
    from pipelines.cli import beam_arguments
    from pipelines.crops import CropOptions
    from pipelines.runner import run_pipeline

    build = Build(
        dataset="coco",
        split="train",
        boxes="detections" if what == "detections" else "ground_truth",
        skeleton=COCO,
        annotations=f"{folder}/{name}",
        images=f"{folder}/images",
        detections=f"{folder}/detections.json",
        folder=f"{folder}/records-{what}",
        options=CropOptions((96, 128)),
        beam_args=beam_arguments(SimpleNamespace(workers=WORKERS), []),
    )
    figures = {"what": what, "start_mb": high_water(os.getpid()), "plan_mb": 0, "shards": 0}
    marks = [(time.perf_counter(), time.process_time())]

    def run(job, beam_args, instances):
        marks.append((time.perf_counter(), time.process_time()))
        figures["plan_mb"] = sum(Path(job.plan_path(n)).stat().st_size for n in range(job.count)) / 1e6
        figures["shards"] = job.count
        (run_pipeline if what == "build" else stand_in)(job, beam_args, instances)
        marks.append((time.perf_counter(), time.process_time()))

    instances = read_source(build).count if what == "read" else build_records(build, run=run).records
    marks.append((time.perf_counter(), time.process_time()))
    seconds, cpu = np.diff(marks, axis=0).T.tolist()
    figures |= {"instances": instances, "seconds": seconds, "cpu": cpu, "peak_mb": high_water(os.getpid())}
    print(json.dumps(figures))


def measured(what, folder, name):
    """The figures of one process, and its table row is printed."""
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", what, str(folder), name]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"benchmarks/scale.py: measuring {what} failed:\n{result.stderr[-2000:]}")
    figures = json.loads(result.stdout.splitlines()[-1])
    figures["file_mb"] = (folder / name).stat().st_size / 1e6
    seconds, cpu = figures["seconds"], figures["cpu"]
    figures["driver_cpu"] = sum(cpu[::2])
    row = f"  {what:10} {figures['instances']:9,} instances {figures['file_mb']:4.0f} MB"
    row += f"  to the plan {seconds[0]:5.1f} s"
    if what != "read":
        row += f"  to the manifest {seconds[2]:5.2f} s"
    row += f"  peak {figures['peak_mb']:4.0f} MB (at start {figures['start_mb']:.0f})"
    if what != "read":
        row += f"  {figures['shards']} plans of {figures['plan_mb']:.1f} MB"
    if what == "build":
        row += f"  {figures['instances'] / seconds[1]:.0f} people/s"
    print(row, flush=True)
    return figures


def main():
    """Prints the table and the figures."""
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--instances", type=int, action="append", help=f"a size; may be repeated (default {INSTANCES})"
    )
    parser.add_argument(
        "--build_up_to", type=int, default=100_000, help="the largest size that is built as a whole, too"
    )
    parser.add_argument("--measure", nargs=3, help="one process of these; for the benchmark itself")
    values = parser.parse_args()
    if values.measure:
        measure(*values.measure)
        return
    sizes = sorted(values.instances or INSTANCES)
    images, labeled, others, corners = COCO_SIZE
    if values.smoke:
        sizes, images, labeled, others = (40, 400), 118, 150, 110
        values.build_up_to = 40
    rows = {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_images(folder / "images")
        print(f"The driver of a build, and whole builds with {WORKERS} workers")
        for instances in sizes:
            write_annotations(
                folder / "people.json", -(-instances // INSTANCES_PER_IMAGE), instances, 0, CORNERS
            )
            write_detections(folder / "detections.json", -(-instances // INSTANCES_PER_IMAGE), instances)
            for what in ("driver", "detections", *(["build"] if instances <= values.build_up_to else [])):
                rows[what, instances] = measured(what, folder, "people.json")
                shutil.rmtree(folder / f"records-{what}")
        write_annotations(folder / "coco.json", images, labeled, others, corners)
        rows["read", 0] = measured("read", folder, "coco.json")
    print_figures(rows, sizes)


def print_figures(rows, sizes):
    """The last lines: what grew how much, and the largest."""
    for what in ("driver", "detections"):
        for small, large in itertools.pairwise(sizes):
            growth = rows[what, large]["driver_cpu"] / rows[what, small]["driver_cpu"]
            print(f"{what}_seconds_{small}_to_{large}_instances_over_instances {growth * small / large:.2f}")
        print(f"{what}_peak_mb_{sizes[-1]}_instances {rows[what, sizes[-1]]['peak_mb']:.0f}")
        print(f"{what}_plan_bytes_a_instance {1e6 * rows[what, sizes[-1]]['plan_mb'] / sizes[-1]:.0f}")
    for what, instances in rows:
        if what == "build":
            print(
                f"build_instances_per_second_{instances}_instances "
                f"{instances / rows[what, instances]['seconds'][1]:.0f}"
            )
    read = rows["read", 0]
    print(f"coco_read_peak_over_file {read['peak_mb'] / read['file_mb']:.2f}\n")


if __name__ == "__main__":
    main()
