"""How deeply JSON may be nested: the same on every Python.

How many lists and objects may stand in one another is a matter of the version for Python's own parser (992,
1,497 and 9,998 levels in 3.11, 3.12 and 3.13), and what shows, compares or writes a value again may stop a
few levels earlier. A limit of our own, far below all of these, leaves no such place.
"""

import json
import re
from collections.abc import Callable
from typing import Any

#: Levels of lists and objects. COCO's files have 5, exports of annotation tools seldom more than 10.
MAX_DEPTH = 100

#: Texts, whose brackets do not count, and brackets.
_SIGNS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


def loads(text: str, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Parses a JSON text as `json.loads` does, within `MAX_DEPTH`.

    Raises:
        ValueError: if it is not JSON, or as `check_nesting`.
    """
    check_nesting(text)
    return json.loads(text, object_hook=object_hook)


def check_nesting(text: str, inside: int = 0) -> None:
    """Sees to it that a JSON text is nested no deeper than `MAX_DEPTH`.

    Args:
        text: It need not be right, or end where it should.
        inside: how many lists and objects the text stands in.

    Raises:
        ValueError: if it is.
    """
    if inside + text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = inside
    for sign in _SIGNS.finditer(text):
        if sign[0] in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(
                    f"with more than {MAX_DEPTH} levels, its lists and objects are nested too deeply"
                )
        elif sign[0] in "]}":
            depth -= 1
