"""Instances that a build had to reject: their file, and when they are too many."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems

from pipelines.errors import BuildError
from pipelines.storage import discard, write_whole

DEAD_LETTERS = "rejected.jsonl"


def judge(
    folder: str, rejected: Sequence[Mapping[str, Any]], instances: int, max_bad_fraction: float
) -> None:
    """Writes the file of the rejected instances, or removes one if nobody was rejected.

    Args:
        folder: where it goes.
        rejected: dicts as `pipelines.instances.rejection` makes them.
        instances: of how many instances.
        max_bad_fraction: the largest share that is accepted.

    Raises:
        BuildError: if the share is larger.
    """
    path = FileSystems.join(folder, DEAD_LETTERS)
    if rejected:
        write_whole(path, "".join(json.dumps(entry) + "\n" for entry in rejected).encode())
    else:
        discard([path])
    if len(rejected) > max_bad_fraction * instances:
        first = rejected[0]
        raise BuildError(
            f"{len(rejected)} of {instances} instances were rejected "
            f"({format_reasons(count_reasons(rejected))}), more than --max_bad_fraction={max_bad_fraction} "
            f"allows; {path} lists them, the first: {first['reason']} of instance {first['instance_id']} in "
            f"image {first['image_id']}, {first['detail']}"
        )


def count_reasons(rejected: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """{reason: count}, the most frequent first."""
    return dict(Counter(entry["reason"] for entry in rejected).most_common())


def format_reasons(reasons: Mapping[str, int]) -> str:
    """{reason: count} as text."""
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons.items()) or "nobody"
