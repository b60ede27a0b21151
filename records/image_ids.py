"""Lists of pictures to build from and to measure on."""

import io
import json
import re

from records.files import path_of, remote_errors
from records.json_text import json_text, open_json
from records.nesting import loads
from records.people_checks import is_id
from records.shards import RecordsError


def read_image_ids(path):
    """Reads a list of image ids: a JSON list, or text with one a line.

    Text that is a number stands for it, as does 3.0 for 3: tools write ids in all three forms.

    Args:
        path: of the file.

    Returns:
        A frozenset of int.

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
    return frozenset(numbers)


def whole_number(value):
    """The whole number of 64 bits that a parsed JSON value is or stands for: 3, 3.0, "3", "0003"; or None."""
    if (isinstance(value, float) and value.is_integer()) or (
        isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,20}", value)
    ):
        value = int(value)
    return value if is_id(value) else None


def described(value):
    """A parsed JSON value and its type, for messages: 3 (a number), "3" (text)."""
    kind = next((kind for types, kind in _KINDS if isinstance(value, types)), "no value")
    return f"{json.dumps(value)[:100]} ({kind})"


_KINDS = (
    (bool, "true or false"),
    (int | float, "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "an object"),
)
