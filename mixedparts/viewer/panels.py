"""What is above the samples of a page: title, notes, tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RowLink:
    """A cell that opens a sample of the page.

    Attributes:
        text: of the link.
        split, id: of the sample.
    """

    text: str
    split: str
    id: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table; cells are texts, numbers or links to samples. A float is written as it is given.

    Attributes:
        title: its caption.
        header: names of the columns.
        rows: cells, as many a row as columns.
        note: a line under the caption.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | int | float | RowLink]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot.

    Attributes:
        title: its caption.
        svg: bytes of an SVG file. It is shown as an image, which runs no script and loads nothing.
        description: what the plot shows, in words, for people who do not see it.
    """

    title: str
    svg: bytes
    description: str


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a page.

    Attributes:
        title: of the page.
        lead: one line under it, such as the build and the number of samples.
        synthetic: the samples come from synthetic sources; the page then states this.
        notes: further lines.
        panels: tables and figures, in their order.
        marked: a server shows predictions, so that the key explains their marks.
        start: filters that the page of a server starts with, as its address has them.
    """

    title: str
    lead: str = ""
    synthetic: bool = False
    notes: Sequence[str] = ()
    panels: Sequence[Table | Figure] = ()
    marked: bool = False
    start: str = ""
