"""A build from start to end: plan, run the Beam job, check, write the manifest."""

import contextlib
import dataclasses
import hashlib
import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from tqdm import tqdm

from pipelines import coco
from pipelines.crops import CropOptions
from pipelines.people import BuildError
from pipelines.plan import dump_plan, load_plan, plan_shards, shard_count
from pipelines.transforms import ShardJob, WriteShards, count_reasons, write_whole
from records.command import captured_stderr
from records.schema import SCHEMA_VERSION
from records.shards import MANIFEST, Manifest, Shard, shard_name
from records.skeletons import Skeleton


@dataclass(frozen=True)
class Build:
    """One folder of records to be made.

    Attributes:
        dataset, split, boxes: what to build; boxes is "ground_truth" or "detections".
        skeleton: whose keypoints the annotations have.
        annotations: the COCO-format annotation file.
        images: the picture folder.
        detections: the detector's results, read if boxes is "detections".
        folder: where the records go.
        options: `CropOptions`.
        people_per_shard: about how many records a shard gets.
        score_threshold: detections with a lower score are left out.
        max_bad_fraction: the largest share of rejected people with which the build still succeeds.
        overwrite: whether to replace records that were built differently.
        beam_args: arguments for Beam's `PipelineOptions`.
    """

    dataset: str
    split: str
    boxes: str
    skeleton: Skeleton
    annotations: str
    images: str
    detections: str
    folder: str
    options: CropOptions
    people_per_shard: int = 1024
    score_threshold: float = 0.0
    max_bad_fraction: float = 0.01
    overwrite: bool = False
    beam_args: tuple[str, ...] = ()


def build_records(build, say=print):
    """Builds one folder of records, or finds that it is built already.

    A build that was interrupted goes on where it stopped: shards that are complete are kept.

    Args:
        build: the `Build`.
        say: function that shows a line to the user.

    Returns:
        The `Manifest`.

    Raises:
        BuildError: for unusable input, a folder that was built with other options, too many rejected people,
            or shards that do not add up to the plan.
    """
    if set("*?[") & set(build.folder):
        raise BuildError(f"{build.folder}: the path of a records folder must not hold the signs * ? [")
    options = build_options(build)
    finished = _settle_folder(build, options)
    if finished:
        say(f"{build.folder}: already built, {finished.records:,} people in {len(finished.shards)} shards")
        return finished
    source = read_source(build)
    people = sum(len(picture.people) for picture in source.pictures)
    if not people:
        raise BuildError(
            f"{build.annotations}: nobody to build records of "
            f"(left out: {source.dropped or 'nobody'}; "
            f"rejected: {count_reasons(source.rejected) or 'nobody'})"
        )
    job = ShardJob(
        images=build.images,
        folder=build.folder,
        dataset=build.dataset,
        split=build.split,
        count=shard_count(people, build.people_per_shard),
        skeleton=build.skeleton,
        options=build.options,
    )
    say(f"{build.folder}: {people:,} people in {len(source.pictures):,} pictures → {job.count} shards")
    FileSystems.exists(job.work_folder) or FileSystems.mkdirs(job.work_folder)
    write_whole(FileSystems.join(job.work_folder, "options.json"), json.dumps(options).encode())
    for index, pictures in enumerate(plan_shards(source.pictures, job.count)):
        write_whole(job.plan_path(index), dump_plan(pictures))
    run_pipeline(job, build.beam_args, people)
    return _finish(build, job, options, source, people)


def build_options(build):
    """Everything that decides the shards' bytes but the pictures themselves, as the manifest keeps it."""
    options = dataclasses.asdict(build.options)
    options["input_size"] = list(build.options.input_size)
    options["schema_version"] = SCHEMA_VERSION
    options["people_per_shard"] = build.people_per_shard
    options["annotations_sha256"] = _sha256(build.annotations)
    if build.boxes == "detections":
        options["score_threshold"] = build.score_threshold
        options["detections_sha256"] = _sha256(build.detections)
    return options


def read_source(build):
    """The people of a build, from ground truth or from a detector."""
    annotations = coco.read_json(build.annotations)
    if build.boxes == "ground_truth":
        return coco.read_ground_truth(annotations, build.annotations, build.skeleton)
    return coco.read_detections(
        coco.read_json(build.detections),
        build.detections,
        coco.read_pictures(annotations, build.annotations),
        build.skeleton,
        build.score_threshold,
    )


def run_pipeline(job, beam_args, people):
    """Runs the Beam job with a progress bar. Without a runner in `beam_args` it runs on this machine.

    Args:
        job: the `ShardJob`.
        beam_args: arguments for Beam's `PipelineOptions`.
        people: how many people are planned.
    """
    # Worker processes start afresh and must find our packages too, wherever the command was called.
    root, path = str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH")
    if root not in (path or "").split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join([root, path] if path else [root])
    local = not any(argument.startswith("--runner") for argument in beam_args)
    # Beam's plain DirectRunner would first try to download a Go binary, so the local runner is named.
    options = PipelineOptions(["--runner=FnApiRunner", *beam_args] if local else list(beam_args))
    with captured_stderr() if local else contextlib.nullcontext() as stderr, _Progress(job, people, stderr):
        pipeline = beam.Pipeline(options=options)
        _ = pipeline | "Shards" >> beam.Create(range(job.count), reshuffle=False) | WriteShards(job)
        pipeline.run().wait_until_finish()


def _sha256(path):
    if not FileSystems.exists(str(path)):
        raise BuildError(f"{path} does not exist")
    digest = hashlib.sha256()
    try:
        with FileSystems.open(str(path), compression_type="uncompressed") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except (IsADirectoryError, PermissionError) as error:
        raise BuildError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _read_json_if_there(path):
    if not FileSystems.exists(path):
        return None
    with FileSystems.open(path, compression_type="uncompressed") as file:
        return json.loads(file.read())


def _settle_folder(build, options):
    """What is in the folder already: the manifest of a finished build with these options, or None.

    Raises:
        BuildError: if the folder was built, or begun, with other options or is damaged, and may not be
            overwritten.
    """
    try:
        manifest = _read_json_if_there(FileSystems.join(build.folder, MANIFEST))
        begun = _read_json_if_there(FileSystems.join(build.folder, ".build", "options.json"))
        before = manifest["options"] if manifest else begun
        if before is None:
            return None
        differing = [name for name in {**options, **before} if options.get(name) != before.get(name)]
        problem = "; ".join(
            f"{name} was {before.get(name)}, now {options.get(name)}" for name in sorted(differing)
        )
        if manifest and not problem:
            shards = [FileSystems.join(build.folder, shard["name"]) for shard in manifest["shards"]]
            missing = [path for path in shards if not FileSystems.exists(path)]
            problem = f"{len(missing)} shards are missing now" if missing else ""
    except (ValueError, KeyError, TypeError) as error:
        manifest, problem = {}, f"its manifest or options cannot be read: {error!r}"
    if build.overwrite and (manifest or problem):
        FileSystems.delete([build.folder])
        return None
    if problem:
        raise BuildError(
            f"{build.folder} was built differently ({problem}). --overwrite replaces it, --records_dir "
            "builds elsewhere"
        )
    return Manifest.from_json(manifest) if manifest else None


def _finish(build, job, options, source, people):
    """Checks the shards against the plan, writes the manifest, removes the work folder."""
    shards, lossy, rejected = [], [], list(source.rejected)
    for index in range(job.count):
        side = _read_json_if_there(job.side_path(index))
        with FileSystems.open(job.plan_path(index), compression_type="uncompressed") as file:
            planned = sum(len(picture.people) for picture in load_plan(file.read()))
        if side is None or side["records"] + len(side["rejected"]) != planned:
            raise BuildError(
                f"shard {index} of {build.folder} does not add up: {planned} people planned, the runner left "
                f"{side and side['records']} records; run the same command again"
            )
        rejected += side["rejected"]
        if side["rejected"]:
            lossy.append(job.shard_path(index))
        name = shard_name(build.dataset, build.split, index, job.count)
        shards.append(Shard(name, side["records"], side["size"], side["sha256"]))
    manifest = Manifest(
        dataset=build.dataset,
        split=build.split,
        boxes=build.boxes,
        skeleton=build.skeleton,
        options=options,
        shards=tuple(shards),
        dropped=source.dropped,
        rejected=count_reasons(rejected),
        images=len(source.pictures),
    )
    dead_letters = FileSystems.join(build.folder, "rejected.jsonl")
    if rejected:
        write_whole(dead_letters, "".join(json.dumps(entry) + "\n" for entry in rejected).encode())
    elif FileSystems.exists(dead_letters):
        FileSystems.delete([dead_letters])
    share = len(rejected) / (people + len(source.rejected))
    if share > build.max_bad_fraction:
        # What was wrong may be mended before the next try, which keeps finished shards: not these.
        FileSystems.delete(lossy)
        raise BuildError(
            f"{len(rejected)} of {people + len(source.rejected)} people were rejected "
            f"({', '.join(f'{n} {reason}' for reason, n in manifest.rejected.items())}), more than "
            f"--max_bad_fraction={build.max_bad_fraction} allows; {build.folder}/rejected.jsonl lists them"
        )
    write_whole(FileSystems.join(build.folder, MANIFEST), json.dumps(manifest.to_json(), indent=1).encode())
    FileSystems.delete([job.work_folder])
    return manifest


class _Progress:
    """Shows finished people and shards while any runner works, by looking at the side files."""

    def __init__(self, job, people, stderr):
        self.job = job
        self.bar = tqdm(
            total=people, desc=job.split, unit=" people", file=stderr, dynamic_ncols=True, mininterval=0.5
        )
        self.waiting = set(range(job.count))
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.stop.set()
        self.thread.join()
        self.bar.close()

    def _watch(self):
        while True:
            last = self.stop.is_set()
            for index in sorted(self.waiting):
                if FileSystems.exists(self.job.shard_path(index)):
                    side = _read_json_if_there(self.job.side_path(index))
                    self.waiting.discard(index)
                    self.bar.set_postfix_str(
                        f"{self.job.count - len(self.waiting)}/{self.job.count} shards", refresh=False
                    )
                    self.bar.update(side["records"] + len(side["rejected"]))
            if last:
                return
            self.stop.wait(0.5)


def timed(function):
    """(result, seconds) of a call."""
    start = time.monotonic()
    return function(), time.monotonic() - start
