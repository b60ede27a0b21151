"""The skeleton that an entry of a COCO annotation file's "categories" describes, and what it leaves out."""

import warnings
from typing import Any

from records.mirrored_names import mirrored_names, plain_name, warning_of
from records.skeletons import COCO, Skeleton

#: Sigma of keypoints for which nobody has measured one: the mean of COCO's seventeen.
DEFAULT_SIGMA = round(sum(COCO.sigmas) / COCO.num_keypoints, 3)


def skeleton_from_coco_category(category: Any, name: str = "custom") -> Skeleton:
    """The skeleton that an entry of a COCO annotation file's `categories` describes.

    Args:
        category: a parsed JSON object. Besides COCO's own fields

            * "keypoints": names, in the order of the annotations,
            * "skeleton": pairs of keypoints to connect when drawing, counted from 1 as in COCO (or from 0,
              if a 0 is among them); optional. Lines to keypoints that do not exist are left out;

            three optional ones, in which a keypoint is given by its name or its index, counted from 0:

            * "flip_pairs": pairs that swap when an image is mirrored; without it, keypoints whose names
              differ in left/right or l/r only, see `records.mirrored_names`;
            * "sigmas": one OKS constant per keypoint; without it, `DEFAULT_SIGMA` for all;
            * "upper_body": the upper half of the half-body augmentation; without it there is none.

            Of COCO's seventeen keypoints, in any order and spelling, what is missing is COCO's own.
        name: how manifests and messages call the skeleton.

    Warns:
        UserWarning: where a guess may be wrong: no sigmas, a left keypoint without a right one, no pairs,
            lines that are left out; and where COCO's own facts are taken.

    Raises:
        ValueError: if the entry cannot be understood; the message names the field.
    """
    names = category.get("keypoints") if isinstance(category, dict) else None
    if not isinstance(names, list) or not all(isinstance(keypoint, str) for keypoint in names):
        raise ValueError(f'"keypoints" must be a list of names, received {str(names)[:200]}')
    given = {field: category[field] for field in _OPTIONAL if category.get(field) is not None}
    # Whoever gives all of it need not be told of guesses.
    category = {"keypoints": names} | _known(names, given) | given
    if "flip_pairs" not in category:
        category["flip_pairs"], doubtful = mirrored_names(names)
        if warning := warning_of(names, category["flip_pairs"], doubtful):
            warnings.warn(warning, stacklevel=2)
    if "sigmas" not in category:
        warnings.warn(
            f'no "sigmas" in the category: OKS takes {DEFAULT_SIGMA} for every keypoint, COCO\'s mean; such '
            "results compare with each other, not with other work",
            stacklevel=2,
        )
        category["sigmas"] = [DEFAULT_SIGMA] * len(names)
    sigmas = category["sigmas"]
    if not isinstance(sigmas, list) or not all(type(sigma) in (int, float) for sigma in sigmas):
        raise ValueError(f'"sigmas" must be a list of numbers, received {str(sigmas)[:200]}')
    return Skeleton(
        name=name,
        keypoints=tuple(names),
        flip_pairs=_pairs(category["flip_pairs"], names),
        limbs=_lines(category.get("skeleton") or [], names),
        upper_body=_indices(category.get("upper_body") or [], "upper_body", names),
        sigmas=tuple(sigmas),
    )


_OPTIONAL = ("flip_pairs", "skeleton", "sigmas", "upper_body")


def _known(names: list[str], given: dict[str, Any]) -> dict[str, Any]:
    """What COCO says of keypoints that are its seventeen, by field; empty for others.

    Args:
        names: of the keypoints.
        given: the fields that the category has itself.
    """
    places = {plain_name(keypoint): place for place, keypoint in enumerate(names)}
    spelled = [plain_name(keypoint) for keypoint in COCO.keypoints]
    if len(names) != len(spelled) or places.keys() != set(spelled):
        return {}
    place_of = [places[keypoint] for keypoint in spelled]
    known = {
        "flip_pairs": [[place_of[left], place_of[right]] for left, right in COCO.flip_pairs],
        "skeleton": [[names[place_of[a]], names[place_of[b]]] for a, b in COCO.limbs],
        "sigmas": [COCO.sigmas[place_of.index(place)] for place in range(len(names))],
        "upper_body": sorted(place_of[index] for index in COCO.upper_body),
    }
    missing = [field for field in ("sigmas", "upper_body") if field not in given]
    if missing:
        hint = ""
        if tuple(names) == COCO.keypoints:
            hint = "; --dataset coco, with --split, builds by COCO's official rules"
        warnings.warn(
            f"these are COCO's 17 keypoints: {' and '.join(missing)}, which the category lacks, are "
            f"COCO's{hint}",
            stacklevel=3,
        )
    return known


def _pairs(pairs: Any, names: list[str]) -> tuple[tuple[int, int], ...]:
    """ "flip_pairs" as a tuple of pairs of indices."""
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise ValueError(f'"flip_pairs" must be a list of pairs, received {str(pairs)[:200]}')
    read = (_indices(pair, "flip_pairs", names) for pair in pairs)
    return tuple((left, right) for left, right in read)


def _indices(keypoints: Any, field: str, names: list[str]) -> tuple[int, ...]:
    """Keypoints, each given by its name or its index, as a tuple of indices."""
    if not isinstance(keypoints, list):
        raise ValueError(f'"{field}" must be a list, received {str(keypoints)[:200]}')
    for keypoint in keypoints:
        if type(keypoint) is not int and keypoint not in names:
            raise ValueError(f'"{field}" has {str(keypoint)[:100]!r}; expected one of {", ".join(names)}')
        if type(keypoint) is int and not 0 <= keypoint < len(names):
            raise ValueError(
                f'"{field}" has {keypoint}; keypoints are counted from 0 to {len(names) - 1} there'
            )
    return tuple(k if type(k) is int else names.index(k) for k in keypoints)


def _lines(lines: Any, names: list[str]) -> tuple[tuple[int, int], ...]:
    """ "skeleton" as a tuple of pairs of indices. It is for drawing only, so a bad line spoils nothing."""
    if not isinstance(lines, list):
        raise ValueError(f'"skeleton" must be a list of pairs, received {str(lines)[:200]}')
    numbers = [end for line in lines if isinstance(line, list) for end in line if type(end) in (int, float)]
    first = 0 if 0 in numbers else 1

    def index(end: Any) -> int | None:
        if isinstance(end, str):
            return names.index(end) if end in names else None
        is_place = type(end) in (int, float) and first <= end < first + len(names) and end == int(end)
        return int(end) - first if is_place else None

    understood: list[tuple[int, int]] = []
    filtered = []
    for line in lines:
        ends = [index(end) for end in line] if isinstance(line, list) and len(line) == 2 else [None]
        match ends:
            case [int(start), int(end)]:
                understood.append((start, end))
            case _:
                filtered.append(line)
    if filtered:
        warnings.warn(
            f'{len(filtered)} of the {len(lines)} lines in "skeleton" are left out, for example '
            f"{str(filtered[0])[:100]}: expected pairs of keypoints, which are counted from {first} to "
            f"{first + len(names) - 1} there",
            stacklevel=3,
        )
    return tuple(understood)
