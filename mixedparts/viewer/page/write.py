"""Write the page as one self-contained file, which needs no server and no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from markupsafe import Markup

from mixedparts.cards.templates import render
from mixedparts.progress import Progress, Silent
from mixedparts.storage.shards import written_beside
from mixedparts.viewer.page.data import Collector, PageData, Palette
from mixedparts.viewer.page.previews import bytes_of_each, preview
from mixedparts.viewer.panels import Figure, Head, RowLink, Table
from mixedparts.viewer.samples import Sample

MOST_BYTES = 36_000_000  # of the images on a page, in base64
MOST_SIDE = 1024
_SILENT = Silent()
# In this order they are one script: a later one uses names of an earlier one.
_SCRIPTS = (
    *("masks.js", "paint.js", "dom.js", "file_rows.js", "server_rows.js", "stage.js"),
    *("answers.js", "cards.js", "filters.js", "detail.js", "keyboard.js", "main.js"),
)


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """What was written.

    Attributes:
        samples: on the page.
        images: that it contains, each once.
        bytes: size of the file.
        smaller: images that are there as smaller JPEGs.
    """

    samples: int
    images: int
    bytes: int
    smaller: int


def write_page(
    samples: Iterable[Sample],
    out: Path,
    head: Head,
    *,
    most_bytes: int = MOST_BYTES,
    most_side: int = MOST_SIDE,
    progress: Progress = _SILENT,
) -> WrittenPage:
    """Write samples as one HTML file.

    Args:
        samples: to show, in their order.
        out: the file; it is complete or unchanged.
        head: title, notes, tables and figures above the samples.
        most_bytes: for all images together, as text in the page; large images become smaller JPEGs.
        most_side: pixels of the longer side of an image.
        progress: shown while images are read.

    Returns:
        What was written.

    Raises:
        InputError: an image cannot be read.
    """
    collected = Collector()
    for sample in samples:
        collected.add(sample)
    images = collected.images
    each = bytes_of_each(images, most_bytes)
    smaller = 0
    with written_beside(out, flush=False) as temporary, temporary.open("wb") as file:
        file.write(page_text(head, collected.data()).encode())
        progress.start("images", len(images), "images")
        for number, image in enumerate(images):
            if (data := image.read()) is not None:
                made = preview(image, data, each, most_side)
                smaller += (made.width, made.height) != (image.width, image.height)
                # Text, not a script that runs; the page's script finds it by its id.
                address = f'<script type="text/plain" id="image-{number}">{made.address()}</script>'
                file.write(f"{address}\n".encode())
            progress.advance()
        progress.finish()
        file.write(b"</body>\n</html>\n")
        size = file.tell()
    return WrittenPage(len(collected.data().samples), len(images), size, smaller)


def page_text(head: Head, data: PageData | None) -> str:
    """Return the page up to its images; without data it is the page of the server."""
    return render(
        "mixedparts.viewer.page",
        "assets/page.html.jinja",
        head=head,
        tables=[_table(panel) for panel in head.panels if isinstance(panel, Table)],
        figures=[_figure(panel) for panel in head.panels if isinstance(panel, Figure)],
        policy=policy(server=data is None),
        script=Markup(_script()),
        style=Markup(_style()),
        palette=_json(Palette()),
        data=None if data is None else _json(data),
    )


def _json(value: Any) -> Markup:
    """Return a value as JSON inside a `script` element, which no text in it can end."""
    text = msgspec.json.encode(value).decode()
    return Markup(text.replace("<", "\\u003c"))


def _figure(figure: Figure) -> dict[str, str]:
    address = f"data:image/svg+xml;base64,{base64.b64encode(figure.svg).decode()}"
    return {"title": figure.title, "description": figure.description, "address": address}


def _table(table: Table) -> dict[str, Any]:
    rows = [[_link(cell) if isinstance(cell, RowLink) else cell for cell in row]
            for row in table.rows]  # fmt: skip
    return {"title": table.title, "note": table.note, "header": table.header, "rows": rows}


def _link(cell: RowLink) -> dict[str, str]:
    place = f"{quote(cell.split, safe='')}/{quote(cell.id, safe='')}"
    return {"text": cell.text, "address": f"#row={place}"}


def policy(server: bool) -> str:
    """Return the content security policy: this script, this style, images of the page itself."""
    rules = {
        "default-src": "'none'",
        "script-src": f"'{_digest(_script())}'",
        "style-src": f"'{_digest(_style())}'",
        "img-src": "'self' data:" if server else "data:",
        "connect-src": "'self'" if server else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{rule} {value}" for rule, value in rules.items())


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _script() -> str:
    """Return the script of the page: all its files, in one scope of their own."""
    body = "\n".join(_asset(name) for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{body}\n}})();\n'


def _style() -> str:
    return _asset("page.css")


@cache
def _asset(name: str) -> str:
    return resources.files("mixedparts.viewer.page").joinpath("assets", name).read_text("utf-8")
