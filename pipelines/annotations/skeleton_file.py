"""A user's file that says what an annotation file's category leaves out or has wrong: ``--skeleton``."""

import warnings
from collections.abc import Mapping
from typing import Any

from pipelines.annotations.json_stream import read_json
from pipelines.errors import BuildError
from records.coco_category import skeleton_from_coco_category
from records.skeletons import Skeleton

#: What of a category it may have, see `records.coco_category.skeleton_from_coco_category`.
FIELDS = ("keypoints", "flip_pairs", "sigmas", "upper_body", "skeleton")


def read_skeleton(path: str) -> dict[str, Any]:
    """Reads the file.

    Args:
        path: of a JSON file: an object with any of `FIELDS`, or one in COCO format with one category that has
            keypoints.

    Returns:
        {field: value} of those that it has.

    Raises:
        BuildError: if it has none of them, or cannot be read.
    """
    content = read_json(path)
    categories = content.get("categories") if isinstance(content, dict) else None
    if isinstance(categories, list):
        described = [one for one in categories if isinstance(one, dict) and one.get("keypoints")]
        if len(described) != 1:
            raise BuildError(
                f"--skeleton={path} has {len(described)} categories with keypoints, expected one; or a file "
                "with nothing but such an object"
            )
        (content,) = described
    fields = content if isinstance(content, dict) else {}
    fields = {name: fields[name] for name in FIELDS if fields.get(name) is not None}
    if not fields:
        raise BuildError(
            f"--skeleton={path}: expected a JSON object in the form of a COCO category, with any of "
            f"{', '.join(FIELDS)}; received {str(content)[:100]}"
        )
    try:
        named_skeleton(fields)
    except ValueError as error:
        raise BuildError(f"--skeleton={path}: {error}") from error
    return fields


def named_skeleton(fields: Mapping[str, Any]) -> Skeleton | None:
    """The `Skeleton` of fields that name the keypoints, whatever annotations call them; None without names.

    Args:
        fields: from `read_skeleton`.

    Raises:
        ValueError: if they contradict each other.
    """
    if "keypoints" not in fields:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whoever makes the records' skeleton is told
        return skeleton_from_coco_category(fields)


def with_skeleton(annotations: Any, fields: Mapping[str, Any], path: str | None) -> Any:
    """Replaces what a file says of its keypoints.

    Args:
        annotations: a parsed annotation file whose "categories" has the one that counts.
        fields: from `read_skeleton`. With "keypoints" among them nothing that the category says of its own
            ones counts, since it is said of others.
        path: where `fields` were read, for messages.

    Returns:
        The same with `fields` in the category. What has no such list is returned as it is.

    Raises:
        BuildError: if they do not belong to the category's keypoints.
    """
    categories = annotations.get("categories") if isinstance(annotations, dict) else None
    if not fields or not isinstance(categories, list):
        return annotations
    gone = FIELDS if "keypoints" in fields else ()
    kept = [
        {name: said for name, said in one.items() if name not in gone}
        for one in categories
        if isinstance(one, dict)
    ]
    for one in kept:
        if isinstance(one.get("keypoints"), list):
            try:
                named_skeleton({"keypoints": one["keypoints"], **fields})
            except ValueError as error:
                raise BuildError(f"--skeleton={path}: {error}") from error
    return annotations | {"categories": [{**one, **fields} for one in kept]}
