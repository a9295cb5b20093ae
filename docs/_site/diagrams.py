"""Mermaid blocks of a page, and the SVG files that the site shows in their place."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).with_name("diagrams")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class StaleDiagram(Exception):
    """A drawing is missing, or is of another text than the page has."""


def blocks(text: str) -> Iterator[str]:
    """Yield the Mermaid blocks of a page in Markdown."""
    yield from _BLOCK.findall(text)


def svg_path(page: str, number: int) -> Path:
    """Return the file of the n-th diagram of a page, counted from 1."""
    return FOLDER / f"{page}-{number}.svg"


def with_source(svg: str, block: str) -> str:
    """Return an SVG with the digest of the block that it shows."""
    return svg.replace("<svg ", f'<svg data-source="{_digest(block)}" ', 1) + "\n"


def with_drawings(text: str, page: str) -> str:
    """Return a page with its diagrams as SVG.

    Args:
        text: the page in Markdown.
        page: its name without suffix.

    Raises:
        StaleDiagram: a diagram was changed and not drawn again.
    """
    numbers = iter(range(1, 1 + len(_BLOCK.findall(text))))

    def drawing(match: re.Match[str]) -> str:
        path = svg_path(page, next(numbers))
        svg = path.read_text(encoding="utf-8") if path.exists() else ""
        if f'data-source="{_digest(match.group(1))}"' not in svg:
            raise StaleDiagram(
                f"{path.name} does not show the diagram of {page}.md: see render_diagrams.py"
            )
        title = _HEADING.findall(text, 0, match.start())[-1]
        return (
            f'<figure class="diagram" tabindex="0" role="group" aria-label="Diagram: {title}">'
            f"{svg.strip()}</figure>"
        )

    return _BLOCK.sub(drawing, text)


def _digest(block: str) -> str:
    return hashlib.sha256(block.encode()).hexdigest()[:16]
