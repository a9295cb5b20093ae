"""Opens a COCO-style JSON file without reading it into memory, and says clearly what ails it.

The file is mapped, checked as a whole once, and cut into the byte ranges of its records, so that
each record can be decoded, and judged, alone.
"""

from __future__ import annotations

import json
import mmap
import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixedparts.errors import InputError

T = TypeVar("T")
UNREADABLE = (ValueError, RecursionError)
"""What decoding one record may raise: wrong types, bytes that are no UTF-8, nesting."""

_HINT = "Download or unpack it again; the source's page says what the file should hold."
_BOM = b"\xef\xbb\xbf"
# Skips everything up to a literal that Python's json writes and standard JSON does not know. Text
# within quotes is stepped over, so a file name or a run-length string is never touched.
_NON_FINITE = re.compile(
    rb'(?:[^"NI]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+(?P<literal>NaN|Infinity)', re.DOTALL
)


class Lists(msgspec.Struct):
    """The three lists of a COCO file; other top-level keys are checked as JSON and left alone."""

    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw]


class Records:
    """The records of one list as byte ranges of the mapped file.

    Attributes:
        starts, sizes: (n,) int64, bytes from the start of the buffer.
    """

    def __init__(self, buffer: memoryview, starts: NDArray[np.int64], sizes: NDArray[np.int64]):
        self._buffer = buffer
        self.starts = starts
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.starts)

    def raw(self, position: int) -> memoryview:
        """Return the bytes of one record."""
        start = int(self.starts[position])
        return self._buffer[start : start + int(self.sizes[position])]


class JsonFile:
    """A mapped file; pages are given back to the system by `release`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._map = _map(path)
        self._patched = False

    def lists(self) -> Lists:
        """Check the whole file as JSON and cut its lists into records.

        `NaN`, `Infinity` and `-Infinity` outside of text are blanked in a private copy of their
        page, by an empty text of the same length: no field takes that for a number.

        Raises:
            InputError: the file is not JSON, or not an object with the three lists.
        """
        return self._content(Lists)

    def items(self) -> list[msgspec.Raw]:
        """Check a file that is one list, as `lists` does, and cut it into records.

        Raises:
            InputError: the file is not JSON, or not a list.
        """
        return self._content(list[msgspec.Raw])

    def _content(self, kind: type[T]) -> T:
        try:
            return self._decode(kind)
        except msgspec.ValidationError as error:
            fault = _shape_fault(error) if kind is Lists else "it is not a list of records"
            raise InputError(f"{self.path}: {fault}", _HINT) from None
        except msgspec.DecodeError as error:
            if self._patched or not self._blank_non_finite():
                size = f"{len(self._map):,} bytes"
                raise InputError(
                    f"{self.path} ({size}) is not valid JSON: {error}", _HINT
                ) from None
            self._patched = True
            return self._content(kind)
        except RecursionError:
            raise InputError(f"{self.path} is nested too deeply to be a COCO file", _HINT) from None

    def records(self, raws: list[msgspec.Raw]) -> Records:
        """Return the byte ranges of records that `lists` returned."""
        buffer = memoryview(self._map)
        base = pa.py_buffer(buffer).address
        starts = np.empty(len(raws), np.int64)
        sizes = np.empty(len(raws), np.int64)
        for position, raw in enumerate(raws):
            view = pa.py_buffer(raw)
            starts[position] = view.address - base
            sizes[position] = view.size
        return Records(buffer, starts, sizes)

    def release(self) -> None:
        """Let the system drop the mapped pages; they come back from the file when next read."""
        if not self._patched and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def _decode(self, kind: type[T]) -> T:
        view = memoryview(self._map)
        skip = len(_BOM) if self._map[: len(_BOM)] == _BOM else 0
        return msgspec.json.decode(view[skip:], type=kind)

    def _blank_non_finite(self) -> bool:
        self._map = _map(self.path, mmap.ACCESS_COPY)
        position, found = 0, False
        while match := _NON_FINITE.match(self._map, position):
            start, position = match.span("literal")
            if start and self._map[start - 1] == ord("-"):
                start -= 1
            self._map[start:position] = b'""'.ljust(position - start)
            found = True
        return found


def loose(raw: memoryview | msgspec.Raw) -> Any:
    """Return a record as plain Python values, for saying what is wrong with it.

    Raises:
        ValueError: it is JSON in form only: bytes that are no UTF-8, or a number without end.
    """
    try:
        return json.loads(bytes(raw))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _map(path: Path, access: int = mmap.ACCESS_READ) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=access)
    except FileNotFoundError:
        raise InputError(f"{path} is not there", "Check --root and the source's layout.") from None
    except ValueError:
        raise InputError(f"{path} is empty", _HINT) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def _shape_fault(error: msgspec.ValidationError) -> str:
    """Turn msgspec's words into ours: which list is not there, or is not a list."""
    text = str(error)
    missing = re.search(r"missing required field `(\w+)`", text)
    if missing:
        return f"it has no list `{missing[1]}`"
    wrong = re.search(r"Expected `array`, got `(\w+)` - at `\$\.(\w+)`", text)
    if wrong:
        return f"`{wrong[2]}` is not a list but {wrong[1]}"
    return f"it is not a JSON object with the lists images, annotations and categories ({text})"
