"""The preview of a build as one self-contained HTML page, with the images inside."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mixedparts.storage.build_folder import BuildFolder
from mixedparts.storage.shards import write_text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; color: #222; }
figure { margin: 0 0 2rem; } img { max-width: 100%; border-radius: 4px; }
figcaption { margin-top: .4rem; } .task { color: #777; font-size: 13px; }
.note { background: #fff3cd; padding: .6rem 1rem; border-radius: 4px; }
"""


def write_page(build: Path, out: Path) -> int:
    """Write the page, and return the number of samples on it.

    Raises:
        InputError: there is no finished build in the folder.
    """
    opened = BuildFolder.open(build)
    figures = [_figure(row) for row in opened.rows("preview")]
    write_text(out, "\n".join(_page(opened, figures)))
    return len(figures)


def _page(build: BuildFolder, figures: list[str]) -> Iterator[str]:
    """Yield the parts of the page; HTML lets a page leave out the tags of head and body."""
    made = " (synthetic)" if build.synthetic else ""
    yield "<!doctype html><html lang=en><meta charset=utf-8>"
    yield f"<title>MixedParts{made}</title><style>{_STYLE}</style><h1>MixedParts{made}</h1>"
    yield f"<p>Build <code>{build.build_id}</code>, {len(figures)} samples.</p>"
    if build.synthetic:
        yield "<p class=note>Synthetic: images and masks were drawn by a program.</p>"
    yield from figures
    yield "</html>\n"


def _figure(row: dict[str, Any]) -> str:
    """Return the HTML of one row of `preview`: its image, question, answer, task and id."""
    # A data URL keeps the page in one file that can be sent around.
    image = base64.b64encode(row["picture"]["bytes"]).decode()
    question, _, answer = row["text"].partition("\n")
    # Questions and answers contain names from the sources, which may have any character.
    return (
        f'<figure><img alt="{html.escape(answer, quote=True)}"'
        f' src="data:image/jpeg;base64,{image}">'
        f"<figcaption><b>{html.escape(question)}</b><br>{html.escape(answer)}"
        f"<div class=task>{row['task']} · {row['id']}</div></figcaption></figure>"
    )
