"""Ids as upstream files write them: integers, whole floats or text; equal ids have one text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Id = int | float | str

# Ids between the limits keep their value; the codes of other ids start below them and still fit in
# an int64.
_LIMIT = 1 << 62
_LONGEST = len(str(-_LIMIT))


def id_text(value: Any) -> str | None:
    """Return an id as text (`5`, `5.0` and `"5"` are one id), or None if it is not an id."""
    # Not `isinstance`: True is an int.
    if type(value) is int:
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    return value if isinstance(value, str) and value else None


def whole_number(value: Any) -> int | None:
    """Return a whole number as int, or None for any other value."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def plain_codes(values: Sequence[Id]) -> NDArray[np.int64] | None:
    """Return the codes of many ids, `(n,)` int64; None unless all are integers with plain codes."""
    try:
        codes = np.array(values)
    except OverflowError:
        return None
    plain = codes.dtype == np.int64 and -_LIMIT < codes.min() <= codes.max() < _LIMIT
    return codes if plain else None


class IdCodes:
    """Maps every id to its own int64, so that the ids of a file fit in one array.

    An id that reads as an integer is that integer; other text gets numbers below all of those.
    """

    # Millions of ids as Python strings in a dict would take a hundred bytes each; nearly all ids
    # are integers and need no entry.

    def __init__(self) -> None:
        self._interned: dict[str, int] = {}

    def code(self, value: Id) -> int | None:
        """Return the number of an id, or None if the value is not an id."""
        if type(value) is int and -_LIMIT < value < _LIMIT:
            return value
        text = id_text(value)
        if text is None:
            return None
        # Long digit strings are not parsed: that takes quadratic time. `007` and digits of other
        # scripts are text, since their integer has another text.
        if len(text) <= _LONGEST and text.removeprefix("-").isdecimal():
            number = int(text)
            if -_LIMIT < number < _LIMIT and text == str(number):
                return number
        return self._interned.setdefault(text, -_LIMIT - 1 - len(self._interned))
