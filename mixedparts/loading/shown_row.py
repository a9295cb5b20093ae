"""A row of `pairs` as an image: its images with masks, the question, and the answer in colours."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mixedparts.errors import UsageError
from mixedparts.loading.pixels import PIXELS, png_address
from mixedparts.tables.overlay import colours_of, draw_panels
from mixedparts.tables.preview import marked_of
from mixedparts.viewer.page.pieces import Chip, pieces_of

_HEIGHT = 320
_GAP = 8
_NEEDED = (
    "id",
    "source",
    "split",
    "task",
    "images",
    "objects",
    "parts",
    "question",
    "answer",
    "seg",
)


class ShownRow:
    """A row as an image; a notebook shows it with question and answer.

    Args:
        row: of `pairs`, with pixels.
    """

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.row = row

    def picture(self, height: int = _HEIGHT) -> Image.Image:
        """Return the images side by side with their masks, as RGB.

        Args:
            height: of the images in pixels.
        """
        images = [np.asarray(entry[PIXELS]) for entry in self.row["images"]]
        panels = draw_panels(images, marked_of(self.row), height)
        width = sum(panel.width for panel in panels) + _GAP * (len(panels) - 1)
        picture = Image.new("RGB", (width, height), "white")
        left = 0
        for panel in panels:
            picture.paste(panel, (left, 0))
            left += panel.width + _GAP
        return picture

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the image in the format of the file's suffix, and return its path."""
        self.picture().save(path)
        return Path(path)

    def __repr__(self) -> str:
        row = self.row
        return f"{row['source']} {row['task']} {row['id']}\n{row['question']}\n{row['answer']}"

    def _repr_html_(self) -> str:
        """Return image, question and answer; the phrases have the colours of their masks."""
        row = self.row
        head = escape(f"{row['source']} · {row['split']} · {row['task']} · {row['id']}")
        return (
            '<figure style="margin:0">'
            f'<img src="{png_address(self.picture())}" alt="" style="max-width:100%">'
            f"<figcaption><small>{head}</small><br>{escape(row['question'])}<br>"
            f"{_answer(row)}</figcaption></figure>"
        )


def no_row() -> UsageError:
    """Return the error for what is no row of `pairs`."""
    return UsageError(
        "show wants a row of 'pairs', or several",
        "For example: mixedparts.show(dataset['train'][0])",
    )


def lacking(row: Mapping[str, Any]) -> UsageError | None:
    """Return why something cannot be shown as a row; None if it can."""
    if not isinstance(row, Mapping) or any(name not in row for name in _NEEDED):
        return no_row()
    if any(PIXELS not in entry for entry in row["images"]):
        return UsageError(
            "this row has no pixels", "Load it with mixedparts.load_dataset(…), pixels=True."
        )
    return None


def _answer(row: Mapping[str, Any]) -> str:
    """Return the answer as HTML, phrases in the colours of their masks."""
    labels = [item.label for item in marked_of(row)]
    colours = colours_of(labels)
    pieces = []
    for piece in pieces_of(row["answer"], _regions(row)):
        if isinstance(piece, Chip):
            red, green, blue = colours[labels[piece.regions[0]]] if piece.regions else (90, 90, 90)
            style = f"color:rgb({red},{green},{blue});font-weight:bold"
            pieces.append(f'<span style="{style}">{escape(piece.text)}</span>')
        else:
            pieces.append(escape(piece))
    return "".join(pieces)


def _regions(row: Mapping[str, Any]) -> Sequence[int]:
    """Return for every `[SEG]` its position among the row's objects and parts together."""
    first_part = len(row["objects"])
    return [
        target["index"] + (first_part if target["kind"] == "part" else 0) for target in row["seg"]
    ]
