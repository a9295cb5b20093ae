"""A contact sheet: chosen samples with their masks on A4 pages at 300 dpi, as PDF or PNG.

Images and masks are pixels; questions and answers are text, which stays text in a PDF.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mixedparts.errors import EnvironmentFault, InputError, UsageError
from mixedparts.images.opening import rgb_image
from mixedparts.reports.plots.style import INK, legible, load_matplotlib, plot_style
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.storage.digest_list import check_output
from mixedparts.storage.shards import written_beside
from mixedparts.tables.overlay import draw_panels
from mixedparts.tables.preview import marked_of
from mixedparts.viewer.build_page import open_row_images
from mixedparts.viewer.build_rows import ReadImage, images_split
from mixedparts.viewer.selection import Query
from mixedparts.viewer.selection.choose import choose
from mixedparts.viewer.selection.read import read_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 300
LIMIT = 24
SUFFIXES = (".pdf", ".png")
_WIDTH, _HEIGHT = 2480 / DPI, 3508 / DPI  # A4, in inches, as all lengths here
_MARGIN, _GAP = 0.45, 0.3
_COLUMNS, _ROWS = 2, 4
_CELL = (_WIDTH - 2 * _MARGIN - (_COLUMNS - 1) * _GAP) / _COLUMNS
_STEP = (_HEIGHT - 2 * _MARGIN) / _ROWS
_TALLEST = 1.75  # of the images of a sample
_BETWEEN = 0.06  # two images of a sample
_LETTERS = 80  # characters of a line
_LINES = 5  # of an answer
_TAGS = re.compile(r"<p>\s*|\s*</p>|\s*\[SEG\]|\s*\(IMAGE\d+\)")


@dataclass(frozen=True, slots=True)
class WrittenSheet:
    """What was written.

    Attributes:
        files: one PDF, or a PNG a page.
        samples: on the pages.
        total: rows that the filters leave.
    """

    files: tuple[Path, ...]
    samples: int
    total: int


def write_contact_sheet(
    build: Path, out: Path, query: Query | None = None, limit: int = LIMIT
) -> WrittenSheet:
    """Write a contact sheet.

    Args:
        build: the build folder.
        out: a name that ends in `.pdf` or `.png`; further pages of a PNG get `-2`, `-3`, …
        query: filters of the rows.
        limit: most rows, evenly over splits, sources and tasks; rows named by id are all taken.

    Returns:
        What was written.

    Raises:
        UsageError: the name ends otherwise, a filter names something that the build does not have,
            or no row passes.
        InputError: there is no finished build, or it has no pixels or damaged ones.
        EnvironmentFault: matplotlib is not installed, or a file cannot be written.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"a contact sheet is a PDF or PNG, not {out.name}",
            "Give a name that ends in .pdf or .png.",
        )
    load_matplotlib()  # a missing package shows before the rows are read
    opened = BuildFolder.open(build)
    check_output(build, out)
    chosen = choose(opened, query or Query(), limit)
    rows = list(read_rows(opened, chosen.found))
    with ExitStack() as stack, plot_style():
        read = open_row_images(opened, rows, stack)
        pages = [rows[n : n + _COLUMNS * _ROWS] for n in range(0, len(rows), _COLUMNS * _ROWS)]
        made = "; synthetic: images and masks were drawn by a program" if opened.synthetic else ""
        head = f"MixedParts, build {opened.build_id}{made}"
        figures = (
            _page(page, read, f"{head}; page {number} of {len(pages)}")
            for number, page in enumerate(pages, 1)
        )
        try:
            files = (
                _write_pdf(figures, out)
                if out.suffix.lower() == ".pdf"
                else _write_pngs(figures, out)
            )
        except OSError as error:
            raise EnvironmentFault(f"{out} cannot be written: {error.strerror or error}") from error
    return WrittenSheet(tuple(files), len(rows), chosen.total)


def _write_pdf(figures: Iterator[Figure], out: Path) -> list[Path]:
    from matplotlib.backends.backend_pdf import PdfPages

    # Without times and versions: the same rows give the same bytes.
    facts = {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None}
    with written_beside(out, flush=False) as temporary, PdfPages(temporary, metadata=facts) as file:
        for figure in figures:
            file.savefig(figure, dpi=DPI)
    return [out]


def _write_pngs(figures: Iterator[Figure], out: Path) -> list[Path]:
    files = []
    for number, figure in enumerate(figures, 1):
        path = out if number == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")
        with written_beside(path, flush=False) as temporary:
            figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})
        files.append(path)
    return files


def _page(rows: Sequence[Mapping[str, Any]], read: ReadImage, head: str) -> Figure:
    """Return a page with up to eight samples, in reading order, under a line of text."""
    figure: Figure = load_matplotlib().Figure(figsize=(_WIDTH, _HEIGHT))
    for number, row in enumerate(rows):
        down, across = divmod(number, _COLUMNS)
        left = _MARGIN + across * (_CELL + _GAP)
        _sample(figure, row, read, (left, _HEIGHT - _MARGIN - down * _STEP))
    place = _MARGIN / _WIDTH, 1 - _MARGIN / 2 / _HEIGHT
    figure.text(*place, legible(head, longest=None), fontsize=6, color="#666666")
    return figure


def _sample(
    figure: Figure, row: Mapping[str, Any], read: ReadImage, corner: tuple[float, float]
) -> None:
    """Draw a sample below and right of a corner (x, y), in inches from the lower left."""
    images = [_pixels(row, image, read) for image in row["images"]]
    # As tall as the width of the column allows; panels of very wide images are white above.
    tall = draw_panels(images, (), round(_TALLEST * DPI))
    free = _CELL - _BETWEEN * (len(images) - 1)
    height = min(_TALLEST, _TALLEST * free * DPI / sum(panel.width for panel in tall))
    panels = draw_panels(images, marked_of(row), round(height * DPI), scale=DPI / 160)
    left, top = corner
    for panel in panels:
        width = panel.width / DPI
        place = (left / _WIDTH, (top - height) / _HEIGHT, width / _WIDTH, height / _HEIGHT)
        axes = figure.add_axes(place)
        axes.set_axis_off()
        axes.imshow(np.asarray(panel), interpolation="none", aspect="auto")
        left += width + _BETWEEN
    _caption(figure, row, corner[0], top - height - 0.05)


def _pixels(row: Mapping[str, Any], image: Mapping[str, Any], read: ReadImage) -> Any:
    """Return `(H, W, 3)` uint8 RGB of an image of a row.

    Raises:
        InputError: the build has no pixels of it, or they cannot be decoded.
    """
    data = read(images_split(row["split"]), image["row"])
    if data is None:
        raise InputError(
            f"row {row['id']} of {row['split']}: the build has no pixels of image"
            f" {image['image_id']}",
            "Build with --images embed or reference, or point at the build it was copied from.",
        )
    decoded: Image.Image = rgb_image(data, image["image_id"])
    return np.asarray(decoded)


def _caption(figure: Figure, row: Mapping[str, Any], left: float, top: float) -> None:
    """Write id, question and answer below the images."""
    answer = wrap(_TAGS.sub("", row["answer"]), _LETTERS)
    if len(answer) > _LINES:
        answer = [*answer[: _LINES - 1], f"{answer[_LINES - 1][: _LETTERS - 2]} …"]
    origin = f"{row['id']}  {row['split']}  {row['source']}  {row['task'].replace('_', ' ')}"
    lines = [(origin, "#666666"), *((line, INK) for line in wrap(row["question"], _LETTERS)[:2])]
    lines += [(line, "#444444") for line in answer]
    for number, (line, colour) in enumerate(lines):
        place = left / _WIDTH, (top - 0.1 * number) / _HEIGHT
        figure.text(*place, legible(line, longest=None), fontsize=6, color=colour, va="top")
