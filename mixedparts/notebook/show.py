"""Show rows of `pairs`: images with their masks, questions, and answers in colours."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from mixedparts.errors import UsageError
from mixedparts.loading.shown_row import ShownRow, lacking, no_row

LIMIT = 12
_GAP = 8


class ShownRows(Sequence[ShownRow]):
    """Several rows below each other.

    Args:
        rows: to show, in their order.
    """

    def __init__(self, rows: Sequence[ShownRow]) -> None:
        self._rows = tuple(rows)

    def __getitem__(self, number: Any) -> Any:
        """Return one of the rows; of a slice, a tuple of them."""
        return self._rows[number]

    def __len__(self) -> int:
        return len(self._rows)

    def picture(self, height: int = 320) -> Image.Image:
        """Return the rows below each other, as RGB.

        Args:
            height: of the images of a row in pixels.
        """
        pictures = [row.picture(height) for row in self._rows]
        width = max(one.width for one in pictures)
        whole = Image.new("RGB", (width, (height + _GAP) * len(pictures) - _GAP), "white")
        for number, one in enumerate(pictures):
            whole.paste(one, (0, number * (height + _GAP)))
        return whole

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the image in the format of the file's suffix, and return its path."""
        self.picture().save(path)
        return Path(path)

    def __repr__(self) -> str:
        return "\n\n".join(map(repr, self._rows))

    def _repr_html_(self) -> str:
        """Return the figures of all rows."""
        return "".join(row._repr_html_() for row in self._rows)


def show(
    rows: Mapping[str, Any] | Iterable[Mapping[str, Any]], limit: int = LIMIT
) -> ShownRow | ShownRows:
    """Show rows of `pairs` in a notebook, or draw them.

    Args:
        rows: a row as `load_dataset` gives it, with pixels; or several of them: a list, a slice
            such as `dataset[:3]`, a `Dataset`, or a stream.
        limit: most rows of several; the first ones are shown.

    Returns:
        What a notebook shows as figures; `picture()` and `save(path)` give the image alone.

    Raises:
        UsageError: a row is not from `pairs` or has no pixels, or there is no row.
        InputError: a mask or an image of a row cannot be read.
    """
    if isinstance(rows, Mapping) and not _is_slice(rows):
        return _shown(rows)
    if limit < 1:
        raise UsageError(f"limit must be at least 1, not {limit}")
    several = _rows_of(rows) if isinstance(rows, Mapping) else rows
    if isinstance(several, str) or not isinstance(several, Iterable):
        raise no_row()
    shown = [_shown(row) for row in islice(several, limit)]
    if not shown:
        raise no_row()
    return ShownRows(shown)


def _shown(row: Any) -> ShownRow:
    fault = lacking(row)
    if fault is not None:
        raise fault
    return ShownRow(row)


def _is_slice(rows: Mapping[str, Any]) -> bool:
    """Return whether a mapping has columns, such as `dataset[:3]`."""
    return isinstance(rows.get("id"), list)


def _rows_of(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
