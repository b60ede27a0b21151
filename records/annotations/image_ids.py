"""Ids of images: lists of them to build from and to measure on, and what tools write in their place."""

import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from hrpose.json_checks import is_id
from hrpose.json_text import json_text, loads, open_json
from hrpose.storage import path_of, remote_errors
from records.errors import RecordsError


def read_image_ids(path: Path | str) -> frozenset[int]:
    """Reads a list of image ids: a JSON list, or text with one a line.

    Text that is a number stands for it, as does 3.0 for 3: tools write ids in all three forms.

    Args:
        path: of the file.

    Raises:
        RecordsError: if it is missing, anything else, or empty.
    """
    try:
        with remote_errors(path):
            content = path_of(path).read_bytes()
    except OSError as error:
        raise RecordsError(
            f"the list of image ids {path} cannot be read: {error.strerror or error}"
        ) from error
    try:
        text = json_text(open_json(io.BytesIO(content)).read()).strip() if content else ""
        ids = loads(text) if text.startswith("[") else text.split()
    except ValueError as error:
        raise RecordsError(f"{path} is not a list of image ids (JSON, or one a line): {error}") from error
    numbers = list(map(whole_number, ids))
    if None in numbers or not numbers:
        received = described(ids[numbers.index(None)]) if numbers else "none"
        raise RecordsError(
            f"{path}: expected image ids, the whole numbers that the annotations' images have as id, "
            f"received {received}"
        )
    return frozenset(number for number in numbers if number is not None)


def whole_number(value: Any) -> int | None:
    """The whole number of 64 bits that a parsed JSON value is or stands for: 3, 3.0, "3", "0003"; or None."""
    if (isinstance(value, float) and value.is_integer()) or (
        isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,20}", value)
    ):
        value = int(value)
    return value if is_id(value) else None


def described(value: object) -> str:
    """A parsed JSON value and its type, for messages: 3 (a number), "3" (text)."""
    kind = next((kind for types, kind in _KINDS if isinstance(value, types)), "no value")
    return f"{json.dumps(value)[:100]} ({kind})"


_KINDS: tuple[tuple[Any, str], ...] = (
    (bool, "true or false"),
    (int | float, "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "an object"),
)


def find_texts(texts: Iterable[str], file_names: Mapping[int, str]) -> tuple[dict[str, int], dict[str, int]]:
    """Which images are meant by image ids that are text, as detectors and their scripts write them.

    A text is a file's name or path, with or without its suffix, or else a number: "0001" is the file 0001.jpg
    before it is the image with the id 1. Only "1", spelled as the number is, may be both: what more of the
    texts are decides then.

    Args:
        texts: the ids, each once.
        file_names: {image id: file name} of the images.

    Returns:
        named: {text: image id} of those that are a file's name.
        numbered: {text: image id} of those that are a number.

    Raises:
        ValueError: if as many are the one as the other and they are different images.
    """
    named = find_names(texts, file_names)
    numbers = ((text, whole_number(text)) for text in texts)
    numbered = {text: found for text, found in numbers if found is not None and found in file_names}
    doubtful = sorted(
        text for text in named.keys() & numbered.keys() if text == str(numbered[text]) != str(named[text])
    )
    if doubtful and len(named) == len(numbered):
        text = doubtful[0]
        raise ValueError(
            f'the image id "{text}", a text, may be the number of {file_names[numbered[text]]} or the file '
            f"{file_names[named[text]]}, whose id is {named[text]}; write the ids as numbers"
        )
    for text in doubtful:
        del (named if len(named) < len(numbered) else numbered)[text]
    return named, {text: found for text, found in numbered.items() if text not in named}


def find_names(texts: Iterable[str], file_names: Mapping[int, str]) -> dict[str, int]:
    """Which images are meant by texts that are a file's name or path, with or without its suffix.

    Args:
        texts: what may be such names.
        file_names: {image id: file name} of the images.

    Returns:
        {text: image id} of those that are.
    """
    by_name = _names(file_names)
    return {text: found for text in texts if (found := _find(text, by_name)) is not None}


def _names(file_names: Mapping[int, str]) -> dict[str, int | None]:
    """{what an image may be called: its id}; None for what several may be called."""
    by_name: dict[str, int | None] = {}
    # What is more exact comes first and stands.
    for spell in (lambda path: path, lambda path: path.with_suffix(""), _name, lambda path: path.stem):
        level: dict[str, set[int]] = {}
        for image_id, file_name in file_names.items():
            path = PurePosixPath(file_name.replace("\\", "/"))
            if path.name:
                level.setdefault(str(spell(path)), set()).add(image_id)
        by_name = {name: min(ids) if len(ids) == 1 else None for name, ids in level.items()} | by_name
    return by_name


def _name(path: PurePosixPath) -> str:
    return path.name


def _find(text: str, by_name: Mapping[str, int | None]) -> int | None:
    """The id of the image of this name; of another folder's path the last part counts."""
    text = text.replace("\\", "/")
    return by_name[text] if text in by_name else by_name.get(PurePosixPath(text).name)
