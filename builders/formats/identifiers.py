"""Ids as upstream files write them: integers, whole floats or text; one id has one text."""

from __future__ import annotations

from typing import Any

Id = int | float | str

_LIMIT = 1 << 62
_LONGEST = len(str(-_LIMIT))


def id_text(value: Any) -> str | None:
    """Return an id as text (`5`, `5.0` and `"5"` are one id), or None where it is no id."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    return value if isinstance(value, str) and value else None


def whole(value: Any) -> int | None:
    """Return a whole number as int, or None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None


class IdCodes:
    """Gives every id an int64 of its own, so that ids of a whole file fit in one array.

    An id that reads as an integer is that integer; other text gets numbers below all of those.
    """

    def __init__(self) -> None:
        self._interned: dict[str, int] = {}

    def code(self, value: Id) -> int | None:
        """Return the number of an id, or None where the value is no id."""
        if type(value) is int and -_LIMIT < value < _LIMIT:
            return value
        text = id_text(value)
        if text is None:
            return None
        if len(text) <= _LONGEST and text.removeprefix("-").isdecimal():
            number = int(text)
            if -_LIMIT < number < _LIMIT and text == str(number):
                return number
        return self._interned.setdefault(text, -_LIMIT - 1 - len(self._interned))
