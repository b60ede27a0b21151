"""Flags of ``records/check.py``."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from hrpose.command import run
from hrpose.storage import file_sizes, path_of
from records.manifest import Manifest, read_manifest, shard_prefix

NAME = "python records/check.py"

POSITIONAL = ("DIR",)

DESCRIPTION = """
Checks every shard of a folder of records against the manifest: size, SHA-256, number of records, every field
of every record, every crop; and the two files by which TensorFlow Datasets reads them. Shows the sizes of
boxes and crops and how often each keypoint is labeled, and renders some of the instances.

  python records/check.py dataset/COCO/records/train
  python records/check.py dataset/COCO/records/val --num_images=60 --contact_sheet=instances.png

Exits with 0 if all is well, else with 1 and one line for each damaged file.
"""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the command's flags in an absl `FlagValues`."""
    add: dict[str, Any] = dict(flag_values=values)
    flags.DEFINE_string(
        "contact_sheet", None, "Where the image goes; by default DIR/contact_sheet.png.", **add
    )
    flags.DEFINE_integer(
        "num_images", 24, "How many instances the image shows; 0 for no image.", lower_bound=0, **add
    )
    flags.DEFINE_integer(
        "workers",
        min(4, os.cpu_count() or 1),
        "How many shards are checked at the same time.",
        lower_bound=1,
        **add,
    )


def main(values: flags.FlagValues, folder: str) -> int:
    """Checks the folder; returns the exit code."""
    manifest = read_manifest(folder, missing_ok=True)
    from records.checking.contact_sheet import write_sheet
    from records.checking.summary import format_summary
    from records.checking.verify import check_shards, join_instances
    from records.plausibility import placement_warnings, sum_counts
    from records.tfds_files import wrong_tfds_files

    start = time.monotonic()
    reports = check_shards(folder, manifest, values.num_images, values.workers)
    seconds = time.monotonic() - start
    instances = join_instances([report.instances for report in reports], manifest.skeleton.num_keypoints)
    problems = [f"{report.name}: {'; '.join(report.problems)}" for report in reports if report.problems]
    states = [f"{len(problems)} damaged; build the records again with --overwrite"] if problems else []
    # Where shards are damaged it may be the manifest that is wrong, and a new build writes these files too.
    spoilt = {} if problems else wrong_tfds_files(folder, manifest)
    problems += [
        f"{name}: {problem}; TensorFlow Datasets needs it, our own reader does not: build the records again "
        "with --overwrite"
        for name, problem in spoilt.items()
    ]
    strays = stray_shards(folder, manifest)
    if strays:
        problems.append(
            f"{len(strays)} files look like shards, but the manifest does not name them, for example "
            f"{strays[0]}: remove them, because what reads all *.tfrecord-* takes their instances too"
        )
    others = len(spoilt) + len(strays)
    states += [f"{others} other file{'s' if others > 1 else ''} amiss"] if others else []
    placement = sum_counts(report.placement for report in reports)
    print(format_summary(manifest, instances, placement))
    well = "the files are whole, but see the warning" if placement_warnings(placement) else "all is well"
    state = "; ".join(states) or well
    print(
        f"\nchecked {len(instances):,} instances in {len(reports)} shards in {seconds:.1f} s: {state}",
        flush=True,
    )
    sys.stdout.flush()
    for problem in problems:
        print(problem, file=sys.stderr)
    samples = [record for report in reports for record in report.samples][: values.num_images]
    if samples:
        path = path_of(values.contact_sheet or path_of(folder) / "contact_sheet.png")
        print(f"image: {write_sheet(path, samples, manifest)}")
    return 1 if problems else 0


def stray_shards(folder: Path | str, manifest: Manifest) -> list[str]:
    """Names of files in a folder that look like the manifest's shards but are none."""
    named = {shard.name for shard in manifest.shards}
    prefix = shard_prefix(manifest.dataset, manifest.split)
    return sorted(name for name in file_sizes(folder) if name.startswith(prefix) and name not in named)


def command(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return run(NAME, DESCRIPTION, define_flags, main, argv, positional=POSITIONAL)
