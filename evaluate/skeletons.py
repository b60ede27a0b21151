"""The skeleton of an evaluation: the run's, whatever the records of another split say.

Which keypoints mirror each other is what the network has learned, and a metric whose constants come with the
file that is measured could not be compared with another's. So both are the run's.
"""

import numpy as np

from records.skeletons import Skeleton


def other_facts(run: Skeleton, records: Skeleton) -> list[str]:
    """Lines that name what the records say otherwise of the keypoints that they share with the run.

    Args:
        run, records: with the same keypoints.

    Returns:
        One of flip pairs and one of sigmas, at most; limbs and upper body decide no number.
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
