"""Memory of a build: the largest resident sets of a worker and of the command, of 10,000 and 100,000
instances.

The annotation files are made up; all instances are in a few small synthetic images that are listed many times
over, so that the number of instances is all that grows. Each build is the real command with two workers. Run
alone with ``python benchmarks/memory.py`` (some minutes); ``--smoke`` takes a few hundred instances.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

import psutil

from benchmarks.turns import argument_parser
from pipelines.synthetic.dataset import generate
from pipelines.synthetic.options import SyntheticOptions

INSTANCES = (10_000, 100_000)
INSTANCES_PER_IMAGE = 4
WORKERS = 2
INTERVAL = 0.05  # seconds between looks at the processes that are running


def write_annotations(annotations, instances, path):
    """An annotation file of so many instances, made of another's images and instances over and over."""
    images, originals = annotations["images"], annotations["annotations"]
    sizes = {entry["id"]: entry for entry in images}
    num_images = -(-instances // INSTANCES_PER_IMAGE)
    made = {"categories": annotations["categories"], "images": [], "annotations": []}
    for image in range(num_images):
        original = originals[image % len(originals)]
        made["images"].append(sizes[original["image_id"]] | {"id": image + 1})
        for n in range(min(INSTANCES_PER_IMAGE, instances - len(made["annotations"]))):
            instance_id = INSTANCES_PER_IMAGE * image + n + 1
            made["annotations"].append(original | {"id": instance_id, "image_id": image + 1})
    path.write_text(json.dumps(made))


def peaks(command):
    """Largest resident sets, in MB, while a command runs: (its own, its workers' largest).

    Read from the kernel's high-water mark of each process (VmHWM), so nothing between two looks is missed but
    what a process that ends between them reached last.

    Raises:
        SystemExit: if it fails.
    """
    largest = {}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        while process.poll() is None:
            for pid in [process.pid, *(child.pid for child in children(process.pid))]:
                largest[pid] = max(largest.get(pid, 0), high_water(pid))
            time.sleep(INTERVAL)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"benchmarks/memory.py: the build failed:\n{output.read()[-2000:]}")
    own = largest.pop(process.pid)
    return own, max(largest.values())


def children(pid):
    """The processes that a process started, and theirs; none if it is gone."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def high_water(pid):
    """A process' largest resident set so far, in MB; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return int(line.split()[1]) * 1024 / 1e6 if line else 0


def main():
    """Prints the table and the figures."""
    sizes = (200, 400) if argument_parser(__doc__).parse_args().smoke else INSTANCES
    measured = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generated = SyntheticOptions(train_images=20, val_images=1, min_height=40, max_height=60)
        generate(folder / "drawn", generated)
        annotations = json.loads((folder / "drawn/annotations/person_keypoints_train.json").read_text())
        for instances in sizes:
            path = folder / f"{instances}.json"
            write_annotations(annotations, instances, path)
            command = [
                sys.executable,
                "pipelines/build_records.py",
                "--dataset=coco",
                "--split=train",
                "--boxes=ground_truth",
                f"--dataset_dir={folder}",
                f"--annotations={path}",
                f"--images={folder}/drawn/images/train",
                f"--records_dir={folder}/{instances}",
                "--input_size=96x128",
                f"--workers={WORKERS}",
                *(["--instances_per_shard=50"] if sizes != INSTANCES else []),
            ]
            own, worker = peaks(command)
            measured[instances] = own, worker, path.stat().st_size / 1e6
    print(f"Building records with {WORKERS} workers: largest resident set")
    for instances, (own, worker, size) in measured.items():
        print(
            f"  {instances:9,} instances, {size:6.1f} MB of annotations:"
            f"  worker {worker:6.0f} MB  command {own:6.0f} MB"
        )
    (small, (own_small, worker_small, _)), (large, (own_large, worker_large, _)) = measured.items()
    print(f"build_worker_peak_mb_{large}_instances {worker_large:.0f}")
    print(f"build_worker_growth_mb_{small}_to_{large}_instances {worker_large - worker_small:.0f}")
    print(f"build_command_peak_mb_{large}_instances {own_large:.0f}")
    print(f"build_command_growth_mb_{small}_to_{large}_instances {own_large - own_small:.0f}\n")


if __name__ == "__main__":
    main()
