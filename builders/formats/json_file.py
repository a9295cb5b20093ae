"""Open a COCO-style JSON file without loading it into memory, and report exactly what is broken.

Annotation files have gigabytes, and one bad record must not cost the others. The file is mapped and
parsed once: that checks it as JSON and yields the byte range of every record, while values stay
undecoded. A record is decoded, and refused if need be, on its own when a shard asks for it.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixedparts.errors import InputError
from mixedparts.files.foreign import HEAD, UTF8_MARK, not_utf8
from mixedparts.files.opening import open_file
from mixedparts.files.text import beginning, parse_json

T = TypeVar("T")
UNREADABLE = (ValueError, RecursionError)
"""What decoding one record may raise: wrong types, bytes that are not UTF-8, deep nesting."""

_HINT = "Download or unpack it again; the source's page lists what the file should contain."
# Matches up to a literal that Python's json writes and standard JSON does not allow. Text within
# quotes is skipped as a whole, so a file name or a run-length string is never changed. Possessive
# quantifiers (`++`, `*+`) never backtrack: the match takes linear time on gigabytes.
_NON_FINITE = re.compile(
    rb'(?:[^"NI]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+(?P<literal>NaN|Infinity)', re.DOTALL
)


class Lists(msgspec.Struct):
    """The three lists of a COCO file; other top-level keys are checked as JSON and ignored."""

    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw]


class Records:
    """The records of one list as byte ranges of the mapped file.

    Args:
        buffer: the whole file.
        ranges: (2, n) int64, offset and length of each record in bytes.
    """

    # Two arrays take 16 bytes a record; a list of `msgspec.Raw` takes several times as much.

    def __init__(self, buffer: memoryview, ranges: NDArray[np.int64]):
        self._buffer = buffer
        self.starts, self.sizes = ranges

    def __len__(self) -> int:
        return len(self.starts)

    def raw(self, position: int) -> memoryview:
        """Return the bytes of one record."""
        start = int(self.starts[position])
        return self._buffer[start : start + int(self.sizes[position])]

    def raws(self, positions: NDArray[Any]) -> list[memoryview]:
        """Return the bytes of some records, in the order of `positions`, `(n,)` integers."""
        starts = self.starts[positions]
        stops = starts + self.sizes[positions]
        buffer = self._buffer
        return [buffer[a:b] for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]


class JsonFile:
    """A mapped file; `release` lets the system drop its pages.

    Args:
        path: the file.

    Raises:
        InputError: the file is missing, empty or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._map = _map(path)
        self._patched = False

    def lists(self) -> Lists:
        """Check the whole file as JSON and cut its lists into records.

        `NaN`, `Infinity` and `-Infinity` are read as an empty text, which no numeric field accepts:
        they cost their record, not the file.

        Raises:
            InputError: the file is not JSON, or not an object with the three lists.
        """
        return self._content(Lists)

    def items(self) -> list[msgspec.Raw]:
        """Check a file that is one list and cut it into records; see `lists`.

        Raises:
            InputError: the file is not JSON, or not a list.
        """
        return self._content(list[msgspec.Raw])

    def _content(self, kind: type[T]) -> T:
        try:
            return self._decode(kind)
        except msgspec.ValidationError as error:
            self._check_text()
            fault = _shape_fault(error) if kind is Lists else "it is not a list of records"
            raise InputError(f"{self.path}: {fault}{beginning(self._map[:HEAD])}", _HINT) from None
        except msgspec.DecodeError as error:
            self._check_text()
            # The search for non-finite literals reads the whole file, so it runs only after the
            # parser has failed, and once.
            if self._patched or not self._blank_non_finite():
                raise InputError(
                    f"{self._sized()} is not valid JSON: {error}{beginning(self._map[:HEAD])}",
                    _HINT,
                ) from None
            self._patched = True
            return self._content(kind)
        except RecursionError:
            raise InputError(f"{self.path} is nested too deeply to be a COCO file", _HINT) from None

    def _check_text(self) -> None:
        """Raise InputError if the file, which the parser has refused, is not text in UTF-8."""
        clause = not_utf8(self._map[:HEAD], str(self.path))
        if clause is not None:
            raise InputError(f"{self._sized()} is not valid JSON; it {clause}", _HINT) from None

    def _sized(self) -> str:
        return f"{self.path} ({len(self._map):,} bytes)"

    @property
    def patched(self) -> bool:
        """Whether non-finite literals were blanked in memory."""
        return self._patched

    def ranges(self, raws: list[msgspec.Raw]) -> NDArray[np.int64]:
        """Return `(2, n)` int64, offsets and lengths of what `lists` or `items` returned."""
        # A `msgspec.Raw` is a view of the mapped bytes, not a copy. Its offset in the file is the
        # distance of the two addresses, which Arrow returns for any buffer.
        base = pa.py_buffer(memoryview(self._map)).address
        ranges = np.empty((2, len(raws)), np.int64)
        starts, sizes = ranges
        for position, raw in enumerate(raws):
            view = pa.py_buffer(raw)
            starts[position] = view.address - base
            sizes[position] = view.size
        return ranges

    def records(self, raws: list[msgspec.Raw]) -> Records:
        """Return the byte ranges of records that `lists` or `items` returned."""
        return self.records_at(self.ranges(raws))

    def records_at(self, ranges: NDArray[np.int64]) -> Records:
        """Return the records at ranges that `ranges` returned for this file."""
        return Records(memoryview(self._map), ranges)

    def release(self) -> None:
        """Let the system drop the mapped pages; they come back from the file when next read."""
        # Pages of a patched file differ from the file: dropped, they would come back unpatched.
        if not self._patched and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def _decode(self, kind: type[T]) -> T:
        view = memoryview(self._map)
        skip = len(UTF8_MARK) if self._map[: len(UTF8_MARK)] == UTF8_MARK else 0
        return msgspec.json.decode(view[skip:], type=kind)

    def _blank_non_finite(self) -> bool:
        """Overwrite non-finite literals; return whether there were any."""
        # A private mapping: writing copies the page in memory and leaves the file as it is. An
        # empty text padded with blanks has the same length, so no byte range moves.
        self._map = _map(self.path, mmap.ACCESS_COPY)
        position, changed = 0, False
        while match := _NON_FINITE.match(self._map, position):
            # A sign belongs to the literal: `-""` would not be JSON.
            start, position = match.span("literal")
            if start and self._map[start - 1] == ord("-"):
                start -= 1
            self._map[start:position] = b'""'.ljust(position - start)
            changed = True
        return changed


def decode_untyped(raw: bytes | memoryview | msgspec.Raw) -> Any:
    """Return a record as plain Python values, to find out what is wrong with it.

    Raises:
        ValueError: it has bytes that are not UTF-8, too many digits, too deep nesting, or half of a
            character.
    """
    # msgspec checks the structure of a whole file, but text and numbers only on decoding them.
    return parse_json(bytes(raw).decode("utf-8"))


def _map(path: Path, access: int = mmap.ACCESS_READ) -> mmap.mmap:
    with open_file(path, hint="Check --root and the source's layout.") as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=access)
        # An empty file cannot be mapped.
        except ValueError:
            raise InputError(f"{path} is empty", _HINT) from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def _shape_fault(error: msgspec.ValidationError) -> str:
    """Return which list is missing or is not a list, from the message of msgspec."""
    text = str(error)
    missing = re.search(r"missing required field `(\w+)`", text)
    if missing:
        return f"it has no list `{missing[1]}`"
    wrong = re.search(r"Expected `array`, got `(\w+)` - at `\$\.(\w+)`", text)
    if wrong:
        return f"`{wrong[2]}` is not a list but {wrong[1]}"
    return f"it is not a JSON object with the lists images, annotations and categories ({text})"
