"""Which category of an annotation file is meant, where a file has several or does not name its keypoints."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from hrpose.json_checks import is_id
from records.annotations.forms import Key, Shape, as_key, fits, shape_of
from records.annotations.image_ids import whole_number
from records.annotations.instance_checks import PERSON_CATEGORY
from records.errors import RecordsError
from records.skeletons import COCO, Skeleton

#: An entry of "categories", as it was parsed.
_Category = dict[str, Any]

#: Categories and counts that a message lists.
_LISTED = 8


@dataclass(frozen=True)
class Chosen:
    """The category whose annotations count.

    Attributes:
        category: its entry of "categories", in COCO's form: a whole number as id, and names of keypoints.
        ids: the `category_key`s of all that count as this one.
        assumed: sentences that say what was assumed.
    """

    category: _Category
    ids: frozenset[Key | None]
    assumed: tuple[str, ...]


@dataclass
class Annotated:
    """What a file's annotations say of its categories.

    Attributes:
        shapes: {`category_key`: Counter of `shape_of`} of the annotations with a labeled keypoint.
    """

    shapes: dict[Key | None, Counter[Shape]] = field(default_factory=dict)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Looks at an annotation, an object."""
        shape = shape_of(entry.get("keypoints"))
        if shape:
            self.shapes.setdefault(category_key(entry.get("category_id")), Counter())[shape] += 1

    def of(self, ids: Iterable[Key | None]) -> Counter[Shape]:
        """The Counter of shapes of several categories together; who states none is of any."""
        return sum((self.shapes.get(one, Counter()) for one in {*ids, None}), Counter[Shape]())


def category_key(value: Any) -> Key | None:
    """What stands for a category id: a whole number where it says one, in any form; None for none."""
    whole = whole_number(value)
    return as_key(value) if whole is None else whole


def _key_of(category: Mapping[str, Any]) -> Key | None:
    """The `category_key` of an entry of "categories"."""
    return category_key(category.get("id", PERSON_CATEGORY))


def choose_category(
    categories: Any,
    annotated: Annotated,
    path: Path | str,
    wanted: str | None = None,
    skeleton: Skeleton | None = None,
) -> Chosen:
    """Chooses the category of a file whose instances count.

    Categories with the same list of keypoints are one. Of several kinds the only one that is annotated is
    taken. Where no category names keypoints, their number is that of the annotations and they are called k0,
    k1 and so on.

    Args:
        categories: the file's "categories", any parsed JSON value.
        annotated: what its annotations say.
        path: where it was read, for messages.
        wanted: name or id of the category to take; None to choose.
        skeleton: the `Skeleton` whose keypoints these are, whatever the file calls them; None: the file's.

    Raises:
        RecordsError: if the file does not say which, has no such category, or has other numbers of keypoints
            than names.
    """
    categories = _as_list(categories)
    candidates = categories if wanted is None else _wanted(categories, wanted, path)
    kinds: dict[tuple[str, ...], list[_Category]] = {}
    for category in candidates:
        if names := _names(category):
            kinds.setdefault(tuple(names), []).append(category)
    if kinds:
        alike, assumed = _kind_that_is_annotated(list(kinds.values()), annotated, path)
    else:
        _refuse_other_names(candidates, path, skeleton)
        alike, assumed = _without_names(candidates, annotated, path, wanted, skeleton)
    ids = frozenset(map(_key_of, alike))
    first = _key_of(alike[0])
    if not is_id(first):
        if first is None:
            received = str(alike[0]["id"])[:100]
            raise RecordsError(
                f"{path}: the category with keypoints has the id {received}, expected a number"
            )
        written, first = first, _unused(map(_key_of, categories))
        assumed.append(f"the category with keypoints has the id {str(written)[:100]!r}, here it is {first}")
    category = alike[0] | {"id": first} | ({"keypoints": list(skeleton.keypoints)} if skeleton else {})
    whose = "the skeleton to take has" if skeleton else "their category names"
    _check_numbers(category, annotated.of(ids), path, whose)
    return Chosen(category, ids, tuple(assumed))


def _as_list(categories: Any) -> list[_Category]:
    """The objects in "categories": of a list, or of an object, which is one itself or has them by id."""
    if isinstance(categories, dict):
        one = "keypoints" in categories or not any(isinstance(c, dict) for c in categories.values())
        by_id = ({"id": key} | c for key, c in categories.items() if isinstance(c, dict))
        categories = [categories] if one else [*by_id]
    return [c for c in categories if isinstance(c, dict)] if isinstance(categories, list) else []


def _unused(ids: Iterable[object]) -> int:
    """The smallest number from 1 that is none of some ids."""
    taken = set(ids)
    return next(number for number in count(1) if number not in taken)


def _names(category: _Category) -> list[str]:
    """The names of a category's keypoints; empty without any."""
    names = category.get("keypoints")
    return list(map(str, names)) if isinstance(names, list) else []


def _refuse_other_names(candidates: list[_Category], path: Path | str, skeleton: Skeleton | None) -> None:
    """Raises RecordsError for names in another form than a list, unless a `skeleton` replaces them."""
    for category in () if skeleton else candidates:
        if (names := category.get("keypoints")) and not isinstance(names, list):
            raise RecordsError(
                f'{path}: "keypoints" of the category {_list([category])} must be a list of names, received '
                f"{str(names)[:200]}"
            )


def _wanted(categories: list[_Category], wanted: str, path: Path | str) -> list[_Category]:
    """The categories of that name, or else of that id."""
    found = [c for c in categories if c.get("name") == wanted]
    found = found or [c for c in categories if str(_key_of(c)) == wanted]
    if not found:
        raise RecordsError(
            f"--category={wanted}: {path} has none of that name or id; it has {_list(categories)}"
        )
    return found


def _kind_that_is_annotated(
    kinds: list[list[_Category]], annotated: Annotated, path: Path | str
) -> tuple[list[_Category], list[str]]:
    """(categories of one list of keypoints, what was assumed), of a list of such lists."""
    assumed = []
    chosen = [kind for kind in kinds if annotated.of(map(_key_of, kind))]
    if len(kinds) == 1:
        chosen = kinds
    elif len(chosen) == 1:
        others = [c for kind in kinds for c in kind if kind is not chosen[0]]
        assumed.append(
            f"several categories have keypoints; only {_list(chosen[0])} is annotated and taken, "
            f"not {_list(others)}"
        )
    if len(chosen) != 1:
        counts = "; ".join(
            f"{_list(kind)}: {len(_names(kind[0]))} keypoints, "
            f"{annotated.of(map(_key_of, kind)).total():,} annotations"
            for kind in kinds[:_LISTED]
        )
        raise RecordsError(
            f"{path} has categories with {len(kinds)} different lists of keypoints ({counts}); --category "
            "with a name or an id says which to take"
        )
    if len(chosen[0]) > 1:
        assumed.append(
            f"{len(chosen[0])} categories have the same keypoints and count as one: {_list(chosen[0])}; "
            "--category takes one of them"
        )
    return chosen[0], assumed


def _without_names(
    candidates: list[_Category],
    annotated: Annotated,
    path: Path | str,
    wanted: str | None,
    skeleton: Skeleton | None,
) -> tuple[list[_Category], list[str]]:
    """(categories without names of keypoints, what was assumed): those that the annotations belong to."""
    known = {_key_of(c): c for c in reversed(candidates)}
    ids: list[Key | None] = [
        one for one in (known if wanted is not None else annotated.shapes) if one is not None
    ]
    numbers: dict[int, list[Key | None]] = {}
    for one in ids or [*known][:1] or [PERSON_CATEGORY]:
        shapes = annotated.of([one])
        count = max(shapes, key=lambda shape: (shapes[shape], shape))[1] if shapes else 0
        if skeleton and (not shapes or any(fits(shape, skeleton.num_keypoints) for shape in shapes)):
            count = skeleton.num_keypoints
        numbers.setdefault(count, []).append(one)
    numbers.pop(0, None)
    if skeleton and skeleton.num_keypoints in numbers:
        numbers = {skeleton.num_keypoints: numbers[skeleton.num_keypoints]}
    if not numbers:
        raise RecordsError(
            f'{path} has no category with "keypoints", which names them in the order of the annotations, and '
            f"no annotations with any; its categories are {_list(candidates)}"
        )
    if len(numbers) > 1:
        kinds = "; ".join(
            f"{count} keypoints: {_list(map(known.get, ids))}" for count, ids in numbers.items()
        )
        raise RecordsError(
            f"{path}: no category names its keypoints, and annotations have different numbers of them "
            f"({kinds}); --category with a name or an id says which to take"
        )
    ((count, ids),) = numbers.items()
    names = [f"k{number}" for number in range(count)]
    alike = [known.get(one, {"id": one, "name": "unnamed"}) | {"keypoints": names} for one in ids]
    if skeleton:
        return alike, []
    return alike, [
        f"no category names its keypoints: there are {count}, as in the annotations, called k0 to "
        f"k{count - 1}, and nothing is known of left and right; --skeleton with a file of names says more"
    ]


def _check_numbers(category: _Category, shapes: Counter[Shape], path: Path | str, whose: str) -> None:
    """Raises RecordsError if no annotation has as many keypoints as the category has names."""
    named = len(category["keypoints"])
    if not shapes or any(fits(shape, named) for shape in shapes):
        return
    (_, received), _ = shapes.most_common(1)[0]
    hint = "--skeleton with a file of as many names says what they are"
    if received == COCO.num_keypoints and category["keypoints"][:received] == list(COCO.keypoints):
        hint = "the first 17 are COCO's, and --dataset coco takes these"
    raise RecordsError(f"{path}: the annotations have {received} keypoints each, {whose} {named}; {hint}")


def _list(categories: Iterable[_Category | None]) -> str:
    """Categories as text: names and ids."""
    entries = [c or {} for c in categories]
    listed = [f"{str(c.get('name', 'unnamed'))[:50]} (id {str(c.get('id'))[:20]})" for c in entries]
    more = f" and {len(listed) - _LISTED:,} more" if len(listed) > _LISTED else ""
    return (", ".join(listed[:_LISTED]) + more) or "none"
