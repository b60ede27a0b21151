"""Memory of a build: the largest resident sets of a worker and of the command, of 10,000 and 100,000 people.

The annotation files are made up; all people are in a few small drawn pictures that are listed many times
over, so that the number of people is all that grows. Each build is the real command with two workers. Run
alone with ``python benchmarks/memory.py`` (some minutes); ``--smoke`` takes a few hundred people.
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
from pipelines.synthetic import SyntheticOptions, generate

PEOPLE = (10_000, 100_000)
PEOPLE_PER_PICTURE = 4
WORKERS = 2
INTERVAL = 0.05  # seconds between looks at the processes that are running


def write_annotations(annotations, people, path):
    """An annotation file of so many people, made of another's pictures and people over and over."""
    images, originals = annotations["images"], annotations["annotations"]
    sizes = {entry["id"]: entry for entry in images}
    pictures = -(-people // PEOPLE_PER_PICTURE)
    made = {"categories": annotations["categories"], "images": [], "annotations": []}
    for picture in range(pictures):
        original = originals[picture % len(originals)]
        made["images"].append(sizes[original["image_id"]] | {"id": picture + 1})
        for n in range(min(PEOPLE_PER_PICTURE, people - len(made["annotations"]))):
            person_id = PEOPLE_PER_PICTURE * picture + n + 1
            made["annotations"].append(original | {"id": person_id, "image_id": picture + 1})
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
    sizes = (200, 400) if argument_parser(__doc__).parse_args().smoke else PEOPLE
    measured = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawn = SyntheticOptions(train_images=20, val_images=1, min_height=40, max_height=60)
        generate(folder / "drawn", drawn)
        annotations = json.loads((folder / "drawn/annotations/person_keypoints_train.json").read_text())
        for people in sizes:
            path = folder / f"{people}.json"
            write_annotations(annotations, people, path)
            command = [
                sys.executable,
                "pipelines/build_records.py",
                "--dataset=coco",
                "--split=train",
                "--boxes=ground_truth",
                f"--dataset_dir={folder}",
                f"--annotations={path}",
                f"--images={folder}/drawn/images/train",
                f"--records_dir={folder}/{people}",
                "--input_size=96x128",
                f"--workers={WORKERS}",
                *(["--people_per_shard=50"] if sizes != PEOPLE else []),
            ]
            own, worker = peaks(command)
            measured[people] = own, worker, path.stat().st_size / 1e6
    print(f"Building records with {WORKERS} workers: largest resident set")
    for people, (own, worker, size) in measured.items():
        print(
            f"  {people:9,} people, {size:6.1f} MB of annotations:"
            f"  worker {worker:6.0f} MB  command {own:6.0f} MB"
        )
    (small, (own_small, worker_small, _)), (large, (own_large, worker_large, _)) = measured.items()
    print(f"build_worker_peak_mb_{large}_people {worker_large:.0f}")
    print(f"build_worker_growth_mb_{small}_to_{large}_people {worker_large - worker_small:.0f}")
    print(f"build_command_peak_mb_{large}_people {own_large:.0f}")
    print(f"build_command_growth_mb_{small}_to_{large}_people {own_large - own_small:.0f}\n")


if __name__ == "__main__":
    main()
