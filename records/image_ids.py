"""Lists of pictures to build from and to measure on."""

from records.files import path_of, remote_errors
from records.json_text import parse_json
from records.shards import RecordsError


def read_image_ids(path):
    """Reads a list of image ids: a JSON list of whole numbers, or text with one a line.

    Args:
        path: of the file.

    Returns:
        A frozenset of int.

    Raises:
        RecordsError: if it is missing, anything else, or empty.
    """
    try:
        with remote_errors(path):
            text = path_of(path).read_text(errors="replace").strip()
    except OSError as error:
        raise RecordsError(
            f"the list of image ids {path} cannot be read: {error.strerror or error}"
        ) from error
    try:
        ids = parse_json(text) if text.startswith("[") else [int(line) for line in text.split()]
    except ValueError as error:
        raise RecordsError(f"{path} is not a list of image ids (JSON, or one a line): {error}") from error
    wrong = [value for value in ids if type(value) is not int]
    if wrong or not ids:
        received = str(wrong[0])[:100] if wrong else "none"
        raise RecordsError(f"{path}: expected image ids, whole numbers, received {received}")
    return frozenset(ids)
