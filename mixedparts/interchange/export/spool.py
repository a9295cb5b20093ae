"""Long JSON lists that are written item by item and joined at the end.

A COCO file mixes lists that grow at the same time (images, annotations), so each list has a file
of its own until all are complete. Memory use does not depend on the number of items.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


class Spool:
    """A JSON list in a working file, written item by item.

    A context manager that removes the working file at the end.

    Args:
        path: the working file; its folder is created if needed.

    Attributes:
        items: number of items so far.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._handle = path.open("wb")
        self.items = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handle.close()
        self._path.unlink(missing_ok=True)

    def add(self, item: Any) -> None:
        """Append one item, any value that msgspec can encode as JSON."""
        # One item a line: a file of millions of items can then be read by line tools.
        if self.items:
            self._handle.write(b",\n")
        self._handle.write(_encode(item))
        self.items += 1

    def close(self) -> Path:
        """Close the working file, and return its path; it contains the items without brackets."""
        self._handle.close()
        return self._path


def write_document(target: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object, keys in the order given; values are spools or plain JSON values."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as handle:
        handle.write(b"{")
        for number, (key, value) in enumerate(values.items()):
            handle.write((b",\n" if number else b"\n") + _encode(key) + b": ")
            _write_value(handle, value)
        handle.write(b"\n}\n")


def write_list(target: Path, spool: Spool) -> None:
    """Write the items of a spool as a JSON file that is one list."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as handle:
        _write_value(handle, spool)
        handle.write(b"\n")


def _write_value(handle: Any, value: Any) -> None:
    if isinstance(value, Spool):
        handle.write(b"[\n")
        # Copied as bytes: the items are encoded already.
        with value.close().open("rb") as items:
            shutil.copyfileobj(items, handle, 1 << 20)
        handle.write(b"\n]")
    else:
        handle.write(_encode(value))
