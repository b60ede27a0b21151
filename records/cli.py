"""Flags of ``records/check.py``."""

import contextlib
import os
import sys
import time

from absl import flags

from records.command import UsageError, import_tensorflow, run
from records.files import file_sizes, path_of
from records.shards import read_manifest

NAME = "python records/check.py"

POSITIONAL = ("DIR",)

DESCRIPTION = """
Checks every shard of a folder of records against the manifest: size, SHA-256, number of records, every field
of every record, every crop. Shows the sizes of boxes and crops and how often each keypoint is labelled, and
draws some of the people.

  python records/check.py dataset/COCO/records/train
  python records/check.py dataset/COCO/records/val --people=60 --picture=people.png

Exits with 0 if all is well, else with 1 and one line for each damaged shard.
"""


def define_flags(values):
    """Defines the command's flags in an absl `FlagValues`."""
    add = dict(flag_values=values)
    flags.DEFINE_string("picture", None, "Where the picture goes; by default DIR/contact_sheet.png.", **add)
    flags.DEFINE_integer(
        "people", 24, "How many people the picture shows; 0 for no picture.", lower_bound=0, **add
    )
    flags.DEFINE_integer(
        "workers",
        min(4, os.cpu_count() or 1),
        "How many shards are checked at the same time.",
        lower_bound=1,
        **add,
    )


def main(values, rest, folder):
    """Checks the folder; returns the exit code."""
    if rest:
        raise UsageError(f"nothing is expected after --, received {rest[0]!r}")
    manifest = read_manifest(folder, missing_ok=True)
    import_tensorflow()
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # parsing needs no GPU, and another process may want it
        tf.config.set_visible_devices([], "GPU")
    from records.plausibility import placement_warnings, sum_counts
    from records.sheet import write_sheet
    from records.summary import format_summary
    from records.verify import check_shards, join_people

    start = time.monotonic()
    reports = check_shards(folder, manifest, values.people, values.workers)
    seconds = time.monotonic() - start
    people = join_people([report.people for report in reports], manifest.skeleton.num_keypoints)
    damaged = [report for report in reports if report.problems]
    placement = sum_counts(report.placement for report in reports)
    print(format_summary(manifest, people, placement))
    well = "the files are whole, but see the warning" if placement_warnings(placement) else "all is well"
    state = f"{len(damaged)} damaged; build the records again with --overwrite" if damaged else well
    print(f"\nchecked {len(people):,} people in {len(reports)} shards in {seconds:.1f} s: {state}")
    sys.stdout.flush()
    for report in damaged:
        print(f"{report.name}: {'; '.join(report.problems)}", file=sys.stderr)
    strays = stray_shards(folder, manifest)
    if strays:
        print(
            f"{len(strays)} files look like shards, but the manifest does not name them, for example "
            f"{strays[0]}: remove them, because what reads all *.tfrecord-* takes their people too",
            file=sys.stderr,
        )
    samples = [record for report in reports for record in report.samples][: values.people]
    if samples:
        path = path_of(values.picture or path_of(folder) / "contact_sheet.png")
        print(f"picture: {write_sheet(path, samples, manifest)}")
    return 1 if damaged or strays else 0


def stray_shards(folder, manifest):
    """Names of files in a folder that look like the manifest's shards but are none."""
    named = {shard.name for shard in manifest.shards}
    prefix = f"{manifest.dataset}-{manifest.split}.tfrecord-"
    return sorted(name for name in file_sizes(folder) if name.startswith(prefix) and name not in named)


def command(argv=None):
    """Runs the command and returns its exit code."""
    return run(NAME, DESCRIPTION, define_flags, main, argv, positional=POSITIONAL)
