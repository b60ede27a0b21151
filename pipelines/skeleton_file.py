"""A user's file that says what an annotation file's category leaves out or has wrong: ``--skeleton``."""

import warnings

from pipelines.json_files import read_json
from pipelines.people import BuildError
from records.skeletons import skeleton_from_coco_category

#: What of a category it may have, see `records.skeletons.skeleton_from_coco_category`.
FIELDS = ("keypoints", "flip_pairs", "sigmas", "upper_body", "skeleton")


def read_skeleton(path):
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
    if "keypoints" in fields:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # whoever takes the fields will be told
                skeleton_from_coco_category(fields)
        except ValueError as error:
            raise BuildError(f"--skeleton={path}: {error}") from error
    return fields


def with_skeleton(annotations, fields):
    """Replaces what categories say of their keypoints.

    Args:
        annotations: a parsed annotation file. Which of its categories has the people, `pipelines.coco` finds.
        fields: from `read_skeleton`. With "keypoints" among them nothing that a category says of its own ones
            counts, since it is said of others.

    Returns:
        The same with `fields` in each category that has keypoints, or in all of them if none has; with a
        category, COCO's person, if there are none at all. Anything but an object is returned as it is.
    """
    if not isinstance(annotations, dict):
        return annotations
    categories = annotations.get("categories")
    categories = categories if isinstance(categories, list) and categories else [{"id": 1, "name": "person"}]
    described = [one for one in categories if isinstance(one, dict) and one.get("keypoints")]
    gone = set(FIELDS) if "keypoints" in fields else set()

    def replaced(category):
        if not isinstance(category, dict) or (described and category not in described):
            return category
        return {name: value for name, value in category.items() if name not in gone} | fields

    return annotations | {"categories": list(map(replaced, categories))}
