"""One self-contained HTML page with the preview of a build."""

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
    """Write the page; returns how many samples it shows.

    Raises:
        InputError: there is no finished build in the folder.
    """
    opened = BuildFolder.open(build)
    figures = [_figure(row) for row in opened.rows("preview")]
    write_text(out, "\n".join(_page(opened, figures)))
    return len(figures)


def _page(build: BuildFolder, figures: list[str]) -> Iterator[str]:
    made = " (synthetic)" if build.synthetic else ""
    yield "<!doctype html><html lang=en><meta charset=utf-8>"
    yield f"<title>MixedParts{made}</title><style>{_STYLE}</style><h1>MixedParts{made}</h1>"
    yield f"<p>Build <code>{build.build_id}</code>, {len(figures)} samples.</p>"
    if build.synthetic:
        yield "<p class=note>Synthetic: pictures and masks were drawn by a program.</p>"
    yield from figures
    yield "</html>\n"


def _figure(row: dict[str, Any]) -> str:
    picture = base64.b64encode(row["picture"]["bytes"]).decode()
    question, _, answer = row["text"].partition("\n")
    return (
        f'<figure><img alt="{html.escape(answer, quote=True)}"'
        f' src="data:image/jpeg;base64,{picture}">'
        f"<figcaption><b>{html.escape(question)}</b><br>{html.escape(answer)}"
        f"<div class=task>{row['task']} · {row['id']}</div></figcaption></figure>"
    )
