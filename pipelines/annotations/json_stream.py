"""JSON files from any file system, as a whole, or, of a few long lists, an entry at a time.

Memory for a long file is that of what is kept of its entries. Python's own scanner reads each of them, so
that NaN, huge numbers and whatever else it accepts mean the same as in `json.loads`. What it refuses is left
to `loads` of the whole file, for its words and places.
"""

import codecs
import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from hrpose.json_text import check_nesting, json_text, loads, open_json
from pipelines.errors import BuildError
from pipelines.instances import as_json
from pipelines.storage import open_if_there

#: Bytes read at once.
BLOCK = 1 << 22

_SPACE = re.compile(r"[ \t\n\r]*")
_scan = json.JSONDecoder().raw_decode


class Entries:
    """A list of parsed JSON that keeps each entry as its text, in a fifth of the objects' memory."""

    def __init__(self, entries: Iterable[Any] = ()) -> None:
        """Args: the entries, an iterable of anything that JSON can hold."""
        self._texts = list(map(as_json, entries))

    def __len__(self) -> int:
        return len(self._texts)

    def __iter__(self) -> Iterator[Any]:
        return map(json.loads, self._texts)


def read_json(path: str, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Reads a JSON file from any file system Beam knows.

    Args:
        path: the file.
        object_hook: as that of `json.loads`.

    Raises:
        BuildError: if it is missing or not JSON; the message names the path and the place.
    """
    try:
        with _open(path) as file:
            text = json_text(file.read())
        return loads(text, object_hook)
    except ValueError as error:  # also bad UTF-8, endless nesting, endless numbers
        raise BuildError(f"{path} is not JSON: {error}") from error


def read_long_json(path: str, trims: Mapping[str | None, Callable[[Any], Any]]) -> Any:
    """Reads a file that is an object with long lists, or one such list.

    Args:
        path: the file.
        trims: {key: function that brings an entry of this list to what is needed of it}; the key None stands
            for a list that is the whole file.

    Returns:
        What `read_json` does, but `Entries` for these lists.

    Raises:
        BuildError: as `read_json`.
    """
    with contextlib.suppress(ValueError, RecursionError), _open(path) as file:
        return _read_trimmed(_Window(file), trims)
    # For the words of the refusal, with a hook that keeps nothing: a cut-off file needs memory for its text
    # only. Of what is JSON, nothing but a single number or text comes this way.
    return read_json(path, object_hook=lambda entry: None)


@contextlib.contextmanager
def _open(path):
    file = open_if_there(str(path))
    if file is None:
        raise BuildError(f"{path} does not exist; expected an annotation file in COCO format there")
    with file:
        yield open_json(file)


def _read_trimmed(window, trims):
    """The content, see `read_long_json`.

    Raises:
        ValueError, RecursionError: if it is not JSON, neither object nor list, or nested too deeply.
    """
    if window.take("{[") == "[":
        content = Entries(map(trims[None], _members(window, "]")))
    else:
        content = {}
        for key in _members(window, "}"):
            window.take(":")
            if key in trims and window.sign() == "[":
                window.take("[")
                content[key] = Entries(map(trims[key], _members(window, "]")))
            else:
                content[key] = window.value()
    if window.sign():
        raise ValueError("there is more after the end")
    return content


def _members(window, closing):
    """The values up to a closing sign: a list's entries, or an object's keys if the caller takes the rest."""
    if window.sign() == closing:
        window.take(closing)
        return
    while True:
        value = window.value()
        if closing == "}" and not isinstance(value, str):
            raise ValueError("a key that is no text")
        yield value
        if window.take(f",{closing}") == closing:
            return


class _Window:
    """A JSON text of which only the part that is being read is in memory."""

    def __init__(self, file):
        self._file = file
        # Four bytes tell json.loads the encoding; it takes halves of surrogate pairs, too.
        head = file.read(4)
        self._decoder = codecs.getincrementaldecoder(json.detect_encoding(head))("surrogatepass")
        self._text, self._place = self._decoder.decode(head), 0
        self._inside = 0  # how many lists and objects

    def _more(self):
        """Reads on, as much again as is waiting: however long a value is, the work grows with its length."""
        block = self._file.read(max(BLOCK, len(self._text) - self._place))
        self._text = self._text[self._place :] + self._decoder.decode(block, final=not block)
        self._place = 0
        return bool(block)

    def sign(self):
        """The next character that is not white space; "" at the end."""
        while True:
            self._place = _SPACE.match(self._text, self._place).end()
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._more():
                return ""

    def take(self, signs):
        """Passes the next character that is not white space, and returns it.

        Raises:
            ValueError: if it is none of these.
        """
        sign = self.sign()
        if not sign or sign not in signs:
            raise ValueError(f"{sign!r} instead of one of {signs}")
        self._place += 1
        self._inside += (sign in "[{") - (sign in "]}")
        return sign

    def value(self):
        """Passes the next value and returns it, parsed.

        It counts only once what follows it is there too: 1 may go on as 12, and "1." as 1.5.

        Raises:
            ValueError: if there is none up to the end, or as `check_nesting`.
        """
        self.sign()
        while True:
            try:
                value, end = _scan(self._text, self._place)
                end = _SPACE.match(self._text, end).end()
                whole = self._text[end : end + 1] in (":", ",", "]", "}")
            except json.JSONDecodeError:
                whole = False
            if whole:
                check_nesting(self._text[self._place : end], self._inside)
                self._place = end
                return value
            if not self._more():
                raise ValueError("no whole value up to the end")
