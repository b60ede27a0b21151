"""Dividing MPII's training part into training and validation, by a list of who is for the latter."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hrpose.json_checks import is_number
from pipelines.annotations.json_stream import read_json
from pipelines.annotations.mpii_release import Entry, Rect
from pipelines.errors import BuildError

#: Who is listed: a file name, and of that image everybody (None), one by place, or by (x, y, scale).
Listed = tuple[str, int | tuple[float, ...] | None]


def read_list(path: str) -> list[Listed]:
    """Reads the list that chooses the validation instances from the training part.

    Args:
        path: a JSON list whose elements are file names (everybody in the image), pairs [file name, i] with
            i, from 0, the instance's place in the image's `annorect`, or objects with "image", "center" and
            "scale", the instance's `objpos` and `scale` as released: the form of valid.json that the official
            HRNet and many other codes read, which lists the 2,958 validation instances.

    Returns:
        List of (file name, instance): i, (x, y, scale) or None for everybody.

    Raises:
        BuildError: if it is not such a list, is empty, or says something twice.
    """
    listed: list[Listed] = []
    content = read_json(path)
    for element in content if isinstance(content, list) else ():
        if isinstance(element, dict):
            center, scale = element.get("center"), element.get("scale")
            numbers = [*center, scale] if isinstance(center, list) else [scale]
            name: Any = element.get("image")
            instance: Any = tuple(numbers)
            good = len(numbers) == 3 and all(map(is_number, numbers))
        else:
            name, instance = element if isinstance(element, list) and len(element) == 2 else (element, None)
            good = isinstance(element, str) or type(instance) is int
        if not good or not isinstance(name, str):
            raise BuildError(
                f"{path}: expected a file name, [file name, instance] or an object with image, center and "
                f"scale, received {str(element)[:200]}"
            )
        listed.append((name, instance))
    if not listed:
        raise BuildError(
            f"{path}: expected a JSON list of file names or instances; see build_records.py --help"
        )
    seen: dict[str, set[Any]] = {}
    for name, instance in listed:
        instances = seen.setdefault(name, set())
        if instance in instances or None in instances or (instance is None and instances):
            raise BuildError(
                f"{path} names {name!r} twice{'' if instance is None else f', with instance {instance}'}"
            )
        instances.add(instance)
    return listed


def divide(entries: Sequence[Entry], listed: Sequence[Listed], where: str) -> tuple[list[Entry], list[Rect]]:
    """Divides the training part into training and validation, exactly as a list says.

    An image that is named is no training image any more: those of its instances that are not listed are in
    neither part, because training on them would show the network a validation image.

    Args:
        listed: list of (file name, instance), as `read_list` returns it.
        where: where the list was read, for messages.

    Returns:
        entries: the same images; those of the list have the split "val", and their instances `list_row`, if
            the list names instances.
        filtered: the `Rect`s that are in neither part.

    Raises:
        BuildError: if the list names an image or an instance that the training part does not have.
    """
    wanted: dict[str, list[tuple[Any, int]]] = {}
    for row, (name, instance) in enumerate(listed):
        wanted.setdefault(name, []).append((instance, row))
    divided, filtered = [], []
    for entry in entries:
        instances = wanted.get(entry.file_name) if entry.split == "train" else None
        if instances is None:
            divided.append(entry)
            continue
        chosen = entry.instances
        if instances[0][0] is not None:
            rows = {_place(instance, entry, where): row for instance, row in instances}
            if len(rows) < len(instances):
                raise BuildError(f"{where} names an instance of {entry.file_name!r} twice")
            filtered += [rect for rect in chosen if rect.index not in rows]
            chosen = tuple(replace(r, list_row=rows[r.index]) for r in chosen if r.index in rows)
        divided.append(replace(entry, split="val", instances=chosen))
    unknown = wanted.keys() - {entry.file_name for entry in divided if entry.split == "val"}
    if unknown:
        raise BuildError(
            f"{where}: {len(unknown)} of its images are not in the release's training part, for example "
            f"{min(unknown)!r}"
        )
    return divided, filtered


def _place(instance, entry, where):
    """The place in an image's `annorect` of an instance as `read_list` names them."""
    if isinstance(instance, int):
        found = [rect.index for rect in entry.instances if rect.index == instance]
        named = f"instance {instance} (counted from 0)"
    else:
        # Lists in circulation have the release's numbers, some of them rounded, and -1 where it has none.
        found = []
        for rect in entry.instances:
            released = (*(rect.objpos or (-1, -1)), -1 if rect.scale is None else rect.scale)
            if max(abs(a - b) for a, b in zip(released, instance, strict=True)) < 0.01:
                found.append(rect.index)
        named = f"the instance at {instance[0]:g}, {instance[1]:g} of scale {instance[2]:g}"
    if len(found) != 1:
        raise BuildError(
            f"{where} names {named} of {entry.file_name!r}, which has {len(entry.instances)} instances, "
            f"{len(found) or 'none'} of them like that"
        )
    return found[0]
