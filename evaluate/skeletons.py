"""The skeleton of an evaluation: the run's, whatever the records of another split say.

Which keypoints mirror each other is what the network has learned, and a metric whose constants come with the
file that is measured could not be compared with another's. So both are the run's.
"""

import numpy as np

from model.runs import RunError
from records.skeletons import Skeleton


def run_skeleton(config):
    """The `Skeleton` of a run (`model.runs.RunConfig`).

    Raises:
        RunError: if what its configuration says is none.
    """
    try:
        return Skeleton.from_json(config.skeleton)
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"the run's config.json describes no skeleton: {error!r}; take it from a copy of the run"
        ) from error


def other_keypoints(ours, theirs):
    """The first keypoint in which two skeletons differ, in words; None if they have the same in one order.

    Args:
        ours, theirs: names of keypoints in order, of the run and of the records.
    """
    if tuple(ours) == tuple(theirs):
        return None
    shared = min(len(ours), len(theirs))
    first = next((k for k in range(shared) if ours[k] != theirs[k]), shared)
    if first == shared:
        more, whose = (ours, "the run's") if len(ours) > shared else (theirs, "the records'")
        return f"keypoint {first + 1}, {more[first]!r}, is among {whose} only"
    order = "the same names in another order: " if sorted(ours) == sorted(theirs) else ""
    return f"{order}keypoint {first + 1} is {ours[first]!r} in the run and {theirs[first]!r} in the records"


def other_facts(run, records):
    """Lines that name what the records say otherwise of the keypoints that they share with the run.

    Args:
        run, records: `Skeleton`s of the same keypoints.

    Returns:
        A list of str, of flip pairs and of sigmas; limbs and upper body decide no number.
    """
    notes = []
    ours, theirs = run.flip_permutation, records.flip_permutation
    if len(moved := np.flatnonzero(ours != theirs)):
        name = run.keypoints[moved[0]]
        mirrored = [
            "itself" if pairs[moved[0]] == moved[0] else repr(run.keypoints[pairs[moved[0]]])
            for pairs in (ours, theirs)
        ]
        notes.append(
            f"the flip pairs of {len(moved)} keypoints are other ones in the records ({name!r} mirrors "
            f"{mirrored[1]} there, {mirrored[0]} in the run); the run's are taken"
        )
    if len(other := np.flatnonzero(np.array(run.sigmas) != np.array(records.sigmas))):
        name = run.keypoints[other[0]]
        notes.append(
            f"the sigmas of {len(other)} keypoints are other ones in the records ({name!r}: "
            f"{records.sigmas[other[0]]:g} there, {run.sigmas[other[0]]:g} in the run); the run's are taken"
        )
    return notes
