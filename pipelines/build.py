"""A build from start to end: plan, run the Beam job, check, write the manifest."""

import dataclasses
import hashlib
import json
import warnings
from collections import Counter
from dataclasses import dataclass, field

from apache_beam.io.filesystems import FileSystems

from hrpose.storage import absolute
from pipelines.annotations.source import read_source
from pipelines.crops import BUILD_VERSION, CropOptions
from pipelines.exif import orientation_warning
from pipelines.existing_build import (
    DEAD_LETTERS,
    OPTIONS,
    clean_up,
    find_existing_build,
    finish_exchange,
    remove_others,
    remove_outdated,
)
from pipelines.instances import BuildError
from pipelines.placement import count_instances
from pipelines.runner import run_pipeline
from pipelines.sharding import plan_shards, shard_count
from pipelines.storage import discard, file_sha256, write_whole
from pipelines.submission import only_submits
from pipelines.transforms import REPLACING_FOLDER, ShardJob, count_reasons
from records.manifest import MANIFEST, Manifest, Shard, shard_name, shard_prefix
from records.plausibility import placement_summary, placement_warnings
from records.schema import SCHEMA_VERSION
from records.skeletons import Skeleton
from records.tfds_files import tfds_files


@dataclass(frozen=True)
class Build:
    """One folder of records to be made.

    Attributes:
        dataset, split, boxes: what to build; boxes is "ground_truth" or "detections".
        skeleton: whose keypoints the annotations have; None: those that the annotation file describes.
        annotations: the COCO-format annotation file.
        images: the image folder.
        name_prefix: what file names begin with that is not part of the path below it.
        follow_links: whether links may lead out of the image folder.
        exif_orientation: "ignore", "apply" or "auto", see `pipelines.exif.orient`.
        detections: the detector's results, read if boxes is "detections".
        folder: where the records go.
        options: `CropOptions`.
        clean_boxes: whether to cut ground-truth boxes to their image.
        skeleton_file: a file in the form of a category, whose fields replace those of the annotation file's;
            read if `skeleton` is None; None for nothing to replace.
        lenient: whether annotations are read as labeling tools leave them, see
            `records.annotations.lenient`.
        category: with `lenient` the name or id of the category to take; None to choose.
        image_ids: a file that lists the images to look at; None for all.
        detection_category: id of the detections that count; None: that of the category with keypoints.
        filtered: {reason: count} of instances that the conversion to COCO format left out on purpose.
        instances_per_shard: about how many records a shard gets.
        score_threshold: detections with a lower score are left out.
        max_bad_fraction: the largest share of rejected instances with which the build still succeeds.
        overwrite: whether to replace records that stand there; they stay until those that replace them are
            whole.
        beam_args: arguments for Beam's `PipelineOptions`.
    """

    dataset: str
    split: str
    boxes: str
    skeleton: Skeleton | None
    annotations: str
    images: str
    detections: str
    folder: str
    options: CropOptions
    name_prefix: str = ""
    follow_links: bool = False
    exif_orientation: str = "ignore"
    clean_boxes: bool = True
    skeleton_file: str | None = None
    lenient: bool = False
    category: str | None = None
    image_ids: str | None = None
    detection_category: int | None = None
    filtered: dict = field(default_factory=dict)
    instances_per_shard: int = 1024
    score_threshold: float = 0.0
    max_bad_fraction: float = 0.01
    overwrite: bool = False
    beam_args: tuple[str, ...] = ()


def build_records(build, say=print, run=run_pipeline):
    """Builds one folder of records, or finds that it is built already.

    A build that was interrupted goes on where it stopped: shards that are complete are kept. One that
    replaces another is made beside it, and takes its place at the end (`pipelines.exchange`).

    Args:
        build: the `Build`.
        say: function that shows a line to the user.
        run: function that makes the planned shards, as `run_pipeline` does.

    Returns:
        The `Manifest`; None if the job is handed over and nobody waits for its end.

    Raises:
        BuildError: for unusable input, a folder that was built with other options, too many rejected
            instances, or shards that do not add up to the plan.
    """
    if set("*?[") & set(build.folder):
        raise BuildError(f"{build.folder}: the path of a records folder must not hold the signs * ? [")
    options = build_options(build)
    # What a build under way is for. Its annotations may be mended meanwhile: a shard knows its own plan.
    resume_options = {name: value for name, value in options.items() if not name.endswith("_sha256")}
    resume_options["images"] = absolute(build.images)
    prefix = shard_prefix(build.dataset, build.split)
    found = find_existing_build(build.folder, prefix, options, resume_options, build.overwrite)
    if found.manifest:
        count, shards = found.manifest.records, len(found.manifest.shards)
        say(f"{build.folder}: already built, {count:,} instances in {shards} shards")
        if found.waiting:
            say(
                f"note: {build.folder}/{REPLACING_FOLDER} holds shards of a command with --overwrite that "
                "has not ended; it goes on where it stopped, or remove that folder"
            )
        return found.manifest
    plan = _write_plan(build, resume_options, found.replaces, say)
    run(plan.job, build.beam_args, sum(plan.instances))
    if only_submits(build.beam_args):
        say(
            f"{build.folder}: planned, and the job handed over. When it has run, and not before, the same "
            "command without Beam's options checks the shards and writes the manifest"
        )
        return None
    return _finish(build, options, plan, say)


def build_options(build):
    """Everything that decides the shards' bytes but the images themselves, as the manifest keeps it."""
    options = dataclasses.asdict(build.options)
    options["input_size"] = list(build.options.input_size)
    options["schema_version"], options["build_version"] = SCHEMA_VERSION, BUILD_VERSION
    options["instances_per_shard"] = build.instances_per_shard
    options["annotations_sha256"] = file_sha256(build.annotations)
    if build.skeleton_file:
        options["skeleton"] = file_sha256(build.skeleton_file)
    if build.category is not None:
        options["category"] = build.category
    if build.image_ids:
        options["image_ids_sha256"] = file_sha256(build.image_ids)
    if build.exif_orientation != "ignore":
        options["exif_orientation"] = build.exif_orientation
    if build.follow_links:
        options["follow_links"] = True
    if build.boxes == "detections":
        options["score_threshold"] = build.score_threshold
        options["detection_category"] = build.detection_category
        options["detections_sha256"] = file_sha256(build.detections)
    else:
        options["clean_boxes"] = build.clean_boxes
    return options


@dataclass(frozen=True)
class _Plan:
    """What is left of the instances once their plan files are written.

    Attributes:
        job: the `ShardJob`.
        instances: how many instances each shard has.
        images: how many images all of them have.
        filtered, rejected: as in the `Source`.
        placement: counts of keypoints that are elsewhere, as the manifest keeps them.
    """

    job: ShardJob
    instances: list
    images: int
    filtered: dict
    rejected: list
    placement: dict


def _write_plan(build, resume_options, replaces, say):
    """Reads the instances and writes each shard's plan file. Only what `_finish` needs stays in memory.

    Args:
        build: the `Build`.
        resume_options: what a build under way must have in common with this one, by name.
        replaces: whether what stands in the folder stays until all shards are there.
        say: function that shows a line to the user.

    Returns:
        A `_Plan`.

    Raises:
        BuildError: for unusable input or too many rejected instances.
    """
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        source = read_source(build)
    for warning in warned:
        say(f"warning: {build.annotations}: {warning.message}")
    instances, job = source.count, _job(build, resume_options, source, replaces)
    _judge(build, job, source.rejected, instances + len(source.rejected))
    if not instances:
        raise BuildError(
            f"{build.annotations}: nobody to build records of "
            f"(filtered: {format_reasons(source.filtered)}; "
            f"rejected: {format_reasons(count_reasons(source.rejected))})"
        )
    say(f"{build.folder}: {instances:,} instances in {len(source.images):,} images → {job.count} shards")
    write_whole(FileSystems.join(job.work_folder, OPTIONS), json.dumps(resume_options).encode())
    remove_others(job)
    planned, placement = [], Counter()
    for index, images in enumerate(plan_shards(source.images, job.count)):
        write_whole(job.plan_path(index), job.plan_content(images))
        planned.append(sum(len(image.instances) for image in images))
        placement.update(count_instances(images, build.options.input_size))
    for warning in placement_warnings(placement):
        path = build.detections if build.boxes == "detections" else build.annotations
        say(f"warning: {path}: {warning}")
    remove_outdated(job)
    counts = placement_summary(placement)
    return _Plan(job, planned, len(source.images), source.filtered, source.rejected, counts)


def _job(build, resume_options, source, replaces):
    """The `ShardJob` of a build whose instances are read."""
    count = shard_count(source.count, build.instances_per_shard)
    return ShardJob(
        images=build.images,
        name_prefix=build.name_prefix,
        folder=build.folder,
        dataset=build.dataset,
        split=build.split,
        count=count,
        skeleton=source.skeleton,
        options=build.options,
        key=hashlib.sha256(json.dumps([resume_options, build.name_prefix, count]).encode()).hexdigest(),
        follow_links=build.follow_links,
        exif_orientation=build.exif_orientation,
        replaces=replaces,
    )


def _finish(build, options, plan, say):
    """Checks the shards against the plan, writes the manifest, removes the work folder."""
    job, shards, lossy, rejected, notes = plan.job, [], [], list(plan.rejected), Counter()
    sizes = job.written()
    results = job.shard_results(sizes)
    missing = [index for index in range(job.count) if results.get(index) is None]
    if missing:
        raise BuildError(
            f"{len(missing)} of {job.count} shards of {build.folder} are missing (the first: {missing[0]}): "
            "the engine has lost them, or another command builds here too; run the same command again"
        )
    for index, instances in enumerate(plan.instances):
        result = results[index]
        if result["size"] != sizes[index] or result["records"] + len(result["rejected"]) != instances:
            raise BuildError(
                f"shard {index} of {build.folder} does not add up: {instances} instances planned, the "
                f"runner left {result['records']} records; run the same command again"
            )
        rejected += result["rejected"]
        notes.update(result["notes"])
        if result["rejected"]:
            lossy.append(job.shard_path(index))
        name = shard_name(build.dataset, build.split, index, job.count)
        shards.append(Shard(name, result["records"], result["size"], result["sha256"]))
    if warning := orientation_warning(notes):
        say(f"warning: {build.images}: {warning}")
    try:
        _judge(build, job, rejected, sum(plan.instances) + len(plan.rejected))
    except BuildError:
        # What was wrong may be mended before the next try, which keeps finished shards: not these.
        discard(lossy)
        raise
    remove_others(job)  # another command may have been at work here: its shards are not of this build
    manifest = Manifest(
        dataset=build.dataset,
        split=build.split,
        boxes=build.boxes,
        skeleton=job.skeleton,
        options=options,
        shards=tuple(shards),
        filtered=plan.filtered,
        rejected=count_reasons(rejected),
        images=plan.images,
        placement=plan.placement,
        source={
            name: absolute(path)
            for name in ("annotations", "images", "image_ids")
            if (path := getattr(build, name))
        },
    )
    for name, text in tfds_files(manifest).items():
        write_whole(FileSystems.join(job.shards_folder, name), text.encode())
    content = json.dumps(manifest.to_json(), indent=1).encode()
    write_whole(FileSystems.join(job.shards_folder, MANIFEST), content)
    if job.replaces and not finish_exchange(build.folder):
        raise BuildError(
            f"shards of {job.shards_folder} have gone: another command builds here too; run the same command "
            "again"
        )
    clean_up(build.folder)
    return manifest


def _judge(build, job, rejected, instances):
    """Writes the dead-letter file where the shards are written.

    Raises:
        BuildError: if too many of so many instances were rejected.
    """
    dead_letters = FileSystems.join(job.shards_folder, DEAD_LETTERS)
    if rejected:
        write_whole(dead_letters, "".join(json.dumps(entry) + "\n" for entry in rejected).encode())
    else:
        discard([dead_letters])
    if len(rejected) > build.max_bad_fraction * instances:
        first = rejected[0]
        raise BuildError(
            f"{len(rejected)} of {instances} instances were rejected "
            f"({format_reasons(count_reasons(rejected))}), more than "
            f"--max_bad_fraction={build.max_bad_fraction} allows; {dead_letters} lists them, the first: "
            f"{first['reason']} of instance {first['instance_id']} in image {first['image_id']}, "
            f"{first['detail']}"
        )


def format_reasons(reasons):
    """{reason: count} as text."""
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons.items()) or "nobody"
