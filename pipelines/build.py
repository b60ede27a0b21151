"""A build from start to end: plan, run the Beam job, check, write the manifest."""

import hashlib
import json
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from apache_beam.io.filesystems import FileSystems

from hrpose.storage import absolute
from pipelines.annotations.source import read_source
from pipelines.build_specs import Build, build_options
from pipelines.dead_letters import count_reasons, format_reasons, judge
from pipelines.errors import BuildError
from pipelines.exif import orientation_warning
from pipelines.existing_build import (
    OPTIONS,
    clean_up,
    find_existing_build,
    finish_exchange,
    remove_others,
    remove_outdated,
)
from pipelines.placement import count_instances
from pipelines.runner import run_pipeline
from pipelines.runner_options import only_submits
from pipelines.shard_job import REPLACING_FOLDER, ShardJob
from pipelines.sharding import plan_shards, shard_count
from pipelines.storage import discard, refuse_pattern, write_whole
from records.manifest import MANIFEST, Manifest, Shard, shard_name, shard_prefix
from records.plausibility import placement_summary, placement_warnings
from records.tfds_files import tfds_files

log = logging.getLogger(__name__)


def build_records(
    build: Build, run: Callable[[ShardJob, Sequence[str], int], None] = run_pipeline
) -> Manifest | None:
    """Builds one folder of records, or finds that it is built already.

    A build that was interrupted goes on where it stopped: shards that are complete are kept. One that
    replaces another is made beside it, and takes its place at the end (`pipelines.exchange`).

    Args:
        build: what to build.
        run: function that makes the planned shards, as `run_pipeline` does.

    Returns:
        The `Manifest`; None if the job is handed over and nobody waits for its end.

    Raises:
        BuildError: for unusable input, a folder that was built with other options, too many rejected
            instances, or shards that do not add up to the plan.
    """
    refuse_pattern(build.folder, "a records folder")
    options = build_options(build)
    # What a build under way is for. Its annotations may be mended meanwhile: a shard knows its own plan.
    resume_options = {name: value for name, value in options.items() if not name.endswith("_sha256")}
    resume_options["images"] = absolute(build.images)
    prefix = shard_prefix(build.dataset, build.split)
    found = find_existing_build(build.folder, prefix, options, resume_options, build.overwrite)
    if found.manifest:
        count, shards = found.manifest.records, len(found.manifest.shards)
        log.info("%s: already built, %s instances in %d shards", build.folder, f"{count:,}", shards)
        if found.waiting:
            log.info(
                "%s/%s holds shards of a command with --overwrite that has not ended; it goes on where it "
                "stopped, or remove that folder",
                build.folder,
                REPLACING_FOLDER,
            )
        return found.manifest
    plan = _write_plan(build, resume_options, found.replaces)
    run(plan.job, build.beam_args, sum(plan.instances))
    if only_submits(build.beam_args):
        log.info(
            "%s: planned, and the job handed over. When it has run, and not before, the same command without "
            "Beam's options checks the shards and writes the manifest",
            build.folder,
        )
        return None
    return _finish(build, options, plan)


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


def _write_plan(build, resume_options, replaces):
    """Reads the instances and writes each shard's plan file. Only what `_finish` needs stays in memory.

    Args:
        build: the `Build`.
        resume_options: what a build under way must have in common with this one, by name.
        replaces: whether what stands in the folder stays until all shards are there.

    Returns:
        A `_Plan`.

    Raises:
        BuildError: for unusable input or too many rejected instances.
    """
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        source = read_source(build)
    for warning in warned:
        log.warning("%s: %s", build.annotations, warning.message)
    instances, job = source.count, _job(build, resume_options, source, replaces)
    judge(job.shards_folder, source.rejected, instances + len(source.rejected), build.max_bad_fraction)
    if not instances:
        raise BuildError(
            f"{build.annotations}: nobody to build records of "
            f"(filtered: {format_reasons(source.filtered)}; "
            f"rejected: {format_reasons(count_reasons(source.rejected))})"
        )
    log.info(
        "%s: %s instances in %s images → %d shards",
        build.folder,
        f"{instances:,}",
        f"{len(source.images):,}",
        job.count,
    )
    write_whole(FileSystems.join(job.work_folder, OPTIONS), json.dumps(resume_options).encode())
    remove_others(job)
    planned, placement = [], Counter()
    for index, images in enumerate(plan_shards(source.images, job.count)):
        write_whole(job.plan_path(index), job.plan_content(images))
        planned.append(sum(len(image.instances) for image in images))
        placement.update(count_instances(images, build.options.input_size))
    for warning in placement_warnings(placement):
        path = build.detections if build.boxes == "detections" else build.annotations
        log.warning("%s: %s", path, warning)
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


def _finish(build, options, plan):
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
        log.warning("%s: %s", build.images, warning)
    try:
        instances = sum(plan.instances) + len(plan.rejected)
        judge(job.shards_folder, rejected, instances, build.max_bad_fraction)
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
