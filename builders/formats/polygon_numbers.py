"""Decode the numbers of polygons into arrays, with simdjson where it is installed.

simdjson writes numbers straight into a buffer. Other decoders make a Python object of each, and a
list of objects takes as long again to become an array.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

try:  # it has no wheels for the newest Python; without it, polygons are decoded by msgspec
    import simdjson
except ImportError:
    simdjson = None  # type: ignore[assignment]


class Polygons(NamedTuple):
    """The polygons of several JSON values, one after the other.

    Attributes:
        numbers: `(n,)` float64, the numbers of all polygons.
        lengths: how many numbers each polygon has.
        counts: how many polygons each value has.
    """

    numbers: NDArray[np.float64]
    lengths: list[int]
    counts: list[int]


class PolygonNumbers:
    """Decodes JSON lists of lists of numbers.

    Attributes:
        available: whether simdjson is installed; if not, nothing is decoded here.
    """

    available = simdjson is not None

    def __init__(self) -> None:
        self._parser = simdjson.Parser() if self.available else None

    def decode(self, raw: bytes) -> list[NDArray[np.float64]] | None:
        """Return the numbers of each polygon.

        Args:
            raw: a JSON value.

        Returns:
            `(n,)` float64 for each inner list; None for any other value, including lists that hold
            anything but numbers.
        """
        if self._parser is None:
            return None
        try:
            polygons = _arrays(self._parser.parse(raw))
        # Text, huge integers, infinities, objects; with which exceptions is not documented.
        except Exception:
            # A parser cannot be used again while a traceback refers to its last document.
            self._parser = simdjson.Parser()
            return None
        # A list within a polygon would be flattened without an error.
        return polygons if raw.count(b"[") == len(polygons) + 1 else None

    def decode_many(self, raws: Sequence[bytes]) -> Polygons | None:
        """Return the polygons of several values, decoded in one call.

        Args:
            raws: JSON values.

        Returns:
            The polygons; None if any value is not a list of lists of numbers, or an empty one.
        """
        if self._parser is None or not raws:
            return None
        text = b"[" + b",".join(raws) + b"]"
        try:
            polygons = _flat(self._parser.parse(text))
        except Exception:  # see `decode`
            self._parser = simdjson.Parser()
            return None
        # One bracket for the whole, one a value and one a polygon: no list within a polygon.
        lists = 1 + len(polygons.counts) + len(polygons.lengths)
        # A number beside the polygons of a value has no length, and `_flat` refuses it.
        sound = len(polygons.counts) == len(raws) and all(polygons.counts) and all(polygons.lengths)
        return polygons if sound and text.count(b"[") == lists else None


def _flat(document: Any) -> Polygons:
    """Return the polygons of a list of values.

    Raises:
        TypeError: an item of a value is no list.
    """
    lengths: list[int] = []
    counts: list[int] = []
    for value in document:
        lengths += map(len, value)
        counts.append(len(value))
    return Polygons(np.frombuffer(document.as_buffer(of_type="d")), lengths, counts)


def _arrays(document: Any) -> list[NDArray[np.float64]]:
    # In a function of its own, so that no name refers to the document afterwards.
    return [np.frombuffer(polygon.as_buffer(of_type="d")) for polygon in document]
