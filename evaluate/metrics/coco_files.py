"""COCO annotations and results as somebody has them: read, checked, and brought into the metric's form."""

import reprlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from hrpose.json_checks import is_number
from hrpose.json_text import parse_json
from records.annotations.image_ids import find_texts, whole_number
from records.annotations.instance_checks import is_crowd

#: Of an image or a category.
Id = int | str


def read_ground_truth(
    annotation_json: str | Path | dict[str, Any], num_keypoints: int
) -> dict[str, list[dict[str, Any]]]:
    """The ground truth of `evaluate.metrics.coco.evaluate_coco`, which has the rules and the errors.

    Args:
        annotation_json: path of a file, or its content.
        num_keypoints: K.

    Returns:
        {"images", "annotations", "categories"}; of the annotations, completed and checked, the keys that
        matter, "keypoints" as (3 K,) float64.
    """
    source, content = _load(annotation_json)
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
        raise ValueError(
            f"{source}: not COCO annotations; expected an object with images, annotations and categories"
        )
    for key in ("images", "annotations", "categories"):
        if not isinstance(content[key], list):
            raise ValueError(f"{source}: {key} is {reprlib.repr(content[key])}; expected a list")
    for key in ("images", "categories"):
        for entry in content[key]:
            if not isinstance(entry, dict) or not _is_id(entry.get("id")):
                raise ValueError(
                    f"{source}: {key} has {reprlib.repr(entry)}; expected objects with an id: {_AN_ID}"
                )
    entries = content["annotations"]
    keys = ("image_id", "category_id", "keypoints", "bbox", "area")
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise ValueError(f"{source}: annotation {number} is {reprlib.repr(entry)}; expected an object")
        missing = sorted(set(keys) - entry.keys())
        if missing:
            raise ValueError(f"{source}: annotation {entry.get('id', number)} has no {', '.join(missing)}")
        if problem := _wrong_entry(entry, num_keypoints):
            raise ValueError(f"{source}: annotation {reprlib.repr(entry.get('id', number))}: {problem}")
    keypoints = _numbers(
        f"{source}: annotations", [entry["keypoints"] for entry in entries], 3 * num_keypoints
    )
    visible = (keypoints[:, 2::3] > 0).sum(axis=1).tolist()
    areas = _numbers(f"{source}: areas", [[entry["area"]] for entry in entries], 1)[:, 0].tolist()
    for entry, count in zip(entries, visible, strict=True):
        if not count and not _is_box(entry["bbox"]):  # it stands in for the keypoints
            raise ValueError(
                f"{source}: annotation {reprlib.repr(entry.get('id'))} has no keypoints and the bbox "
                f"{reprlib.repr(entry['bbox'])}; expected [x, y, width, height]"
            )
    annotations = [
        {key: entry[key] for key in keys}
        | {"keypoints": row, "area": area, "iscrowd": int(is_crowd(entry.get("iscrowd")))}
        | {"num_keypoints": count}
        for entry, row, area, count in zip(entries, keypoints, areas, visible, strict=True)
    ]
    return {"images": content["images"], "annotations": annotations, "categories": content["categories"]}


def read_results(
    results: str | Path | list[dict[str, Any]],
    num_keypoints: int,
    images: list[dict[str, Any]],
    categories: set[Id],
) -> list[dict[str, Any]]:
    """The results of `evaluate.metrics.coco.evaluate_coco`, which has the rules, warnings and errors.

    Args:
        results: path of a file, or its content.
        num_keypoints: K.
        images: the ground truth's.
        categories: ids of its categories.

    Returns:
        A list of the results' keys that matter, with the area that pycocotools' loadRes gives them: of the
        rectangle around all keypoints.
    """
    source, results = _load(results)
    if not isinstance(results, list):
        raise ValueError(
            f"{source}: received a {type(results).__name__}; expected a list of COCO result dicts"
        )
    for number, result in enumerate(results):
        if not isinstance(result, dict):
            raise ValueError(f"{source}: result {number} is {reprlib.repr(result)}; expected an object")
        missing = [key for key in ("image_id", "category_id", "keypoints", "score") if key not in result]
        if missing:
            raise ValueError(f"{source}: result {number} has no {', '.join(missing)}")
        if problem := _wrong_entry(result, num_keypoints):
            raise ValueError(f"{source}: result {number}: {problem}")
    keypoints = _numbers(f"{source}: results", [result["keypoints"] for result in results], 3 * num_keypoints)
    scores = _numbers(f"{source}: results", [[result["score"]] for result in results], 1)[:, 0]
    finite = np.isfinite(keypoints).all(axis=1) & np.isfinite(scores)
    if not finite.all():
        number = int(np.argmin(finite))
        image_id = results[number]["image_id"]
        raise ValueError(f"{source}: result {number} (image {image_id}) has numbers not finite")
    annotated = ids_of(images)
    asked = {result["image_id"] for result in results}
    if asked - annotated:
        taken = _taken_for(source, asked - annotated, images)
        if unknown := sorted(asked - annotated - taken.keys(), key=in_order):
            there = f" (its images have ids such as {reprlib.repr(images[0]['id'])})" if images else ""
            raise ValueError(
                f"{source}: results on {some(unknown)} not in the annotations; use the annotation file of "
                f"the split the results were made on{there}"
            )
        count = sum(result["image_id"] in taken for result in results)
        text, image_id = min(taken.items(), key=lambda item: item[0])
        warnings.warn(
            f"{source}: {count:,} results name their image by text, such as {text!r}, which is taken for the "
            f"image {image_id!r}",
            stacklevel=3,  # who called evaluate_coco
        )
        results = [
            result | {"image_id": taken.get(result["image_id"], result["image_id"])} for result in results
        ]
    unknown = sorted({result["category_id"] for result in results} - categories, key=in_order)
    if unknown:
        raise ValueError(
            f"{source}: results of category {reprlib.repr(unknown)}, but the annotations have "
            f"{reprlib.repr(sorted(categories, key=in_order))}"
        )
    points = keypoints.reshape(-1, num_keypoints, 3)[:, :, :2]
    areas = np.prod(points.max(axis=1) - points.min(axis=1), axis=1).tolist()
    return [
        {
            "image_id": result["image_id"],
            "category_id": result["category_id"],
            "keypoints": row,
            "score": score,
            "area": area,
        }
        for result, row, score, area in zip(results, keypoints, scores.tolist(), areas, strict=True)
    ]


def ids_of(entries: Iterable[Mapping[str, Any]]) -> set[Id]:
    """The set of the ids of images or categories."""
    return {entry["id"] for entry in entries}


def in_order(one: Id) -> tuple[bool, Id]:
    """Key to sort ids by, which may be numbers and text: numbers first."""
    return isinstance(one, str), one


_AN_ID = "a whole number below 2^63, or text"


def _is_id(value):
    return isinstance(value, str) or whole_number(value) is not None


def _is_box(box):
    return isinstance(box, list) and len(box) == 4 and all(map(is_number, box))


def _taken_for(source, ids, images):
    """{text among `ids`: id of the image it stands for}, without those that stand for none or for several."""
    names = ((image["id"], image.get("file_name")) for image in images)
    file_names = {image_id: name if isinstance(name, str) else "" for image_id, name in names}
    try:
        named, numbered = find_texts({one for one in ids if isinstance(one, str)}, file_names)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    return named | numbered


def _wrong_entry(entry, num_keypoints):
    """What is wrong with the ids or the number of keypoints of an annotation or a result, or None."""
    for key in ("image_id", "category_id"):
        if not _is_id(entry[key]):
            return f"{key} is {reprlib.repr(entry[key])}; expected {_AN_ID}"
    keypoints = entry["keypoints"]
    if isinstance(keypoints, list) and len(keypoints) == 3 * num_keypoints:
        return None
    received = f"{len(keypoints)} numbers" if isinstance(keypoints, list) else reprlib.repr(keypoints)
    return (
        f"{received} in keypoints; expected 3 x {num_keypoints}, one triple per sigma (sigmas: None "
        "means COCO's 17)"
    )


def _numbers(place, rows, length):
    """(N, length) float64 of N lists of this length; NaN for null."""
    try:
        flat = np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * length)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{place}: expected numbers ({error})") from error
    return flat.reshape(len(rows), length)


def some(image_ids: Sequence[Id]) -> str:
    """For an error's text: how many images and the first few of them."""
    listed = ", ".join(map(reprlib.repr, image_ids[:5])) + (", ..." if len(image_ids) > 5 else "")
    return f"{len(image_ids)} image{'s' if len(image_ids) > 1 else ''} ({listed})"


def _load(path_or_content):
    """(name for error messages, content); content that is in memory already is passed through."""
    if not isinstance(path_or_content, str | Path):
        return "evaluate_coco", path_or_content
    path = Path(path_or_content)
    content = path.read_bytes()
    try:
        return str(path), orjson.loads(content)
    except ValueError:  # in another encoding, packed, or none
        return str(path), parse_json(path, content)
