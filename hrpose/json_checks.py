"""What a parsed JSON value is, asked before it is believed: the same questions wherever files are read."""

import math
from collections.abc import Collection, Iterable, Sized
from typing import Any, TypeGuard


def is_number(value: object) -> TypeGuard[float]:
    """Whether a parsed JSON value is a number that float32, even of a product of two, can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18


def is_id(value: object) -> TypeGuard[int]:
    """Whether a parsed JSON value is a whole number that int64 can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a parsed JSON value is a whole number from 0 that int64 can hold."""
    return is_id(value) and value >= 0


def is_finite(value: object) -> TypeGuard[float]:
    """Whether a parsed JSON value is a number that float64 can hold."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**1023
    return isinstance(value, float) and math.isfinite(value)


def is_list(value: object) -> TypeGuard[Collection[Any]]:
    """Whether a parsed JSON value is a list, or something that stands for one in less memory."""
    return isinstance(value, Iterable) and isinstance(value, Sized) and not isinstance(value, str | dict)


def received(what: str, expected: str, value: object) -> str:
    """Says what is wrong with a value of a file.

    Args:
        what: the value's name in the file.
        expected: what it should be, in words.
        value: what it is.
    """
    return f"{what} should be {expected}, received {repr(value)[:100]}"
