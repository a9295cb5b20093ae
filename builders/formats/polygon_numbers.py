"""Decode the numbers of polygons into arrays, with simdjson where it is installed.

simdjson writes numbers straight into a buffer. Other decoders make a Python object of each, and a
list of objects takes as long again to become an array.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

try:  # it has no wheels for the newest Python; without it, polygons are decoded by msgspec
    import simdjson
except ImportError:
    simdjson = None  # type: ignore[assignment]


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


def _arrays(document: Any) -> list[NDArray[np.float64]]:
    # In a function of its own, so that no name refers to the document afterwards.
    return [np.frombuffer(polygon.as_buffer(of_type="d")) for polygon in document]
