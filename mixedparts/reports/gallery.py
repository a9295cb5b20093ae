"""The preview of a build as one self-contained HTML page, with the images inside."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixedparts.cards.templates import render
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.storage.checked_rows import checked_rows
from mixedparts.storage.shards import write_text


@dataclass(frozen=True, slots=True)
class _Sample:
    """One row of `preview`; `image` is a JPEG in base64."""

    id: str
    task: str
    question: str
    answer: str
    image: str


def write_page(build: Path, out: Path) -> int:
    """Write the page, and return the number of samples on it.

    Raises:
        InputError: there is no finished build in the folder.
    """
    opened = BuildFolder.open(build)
    samples = [_sample(row) for row in checked_rows(opened, "preview")]
    page = render(
        "mixedparts.reports",
        "gallery.html.jinja",
        build_id=opened.build_id,
        synthetic=opened.synthetic,
        samples=samples,
    )
    write_text(out, page)
    return len(samples)


def _sample(row: dict[str, Any]) -> _Sample:
    # A data URL keeps the page in one file that can be sent around.
    image = base64.b64encode(row["picture"]["bytes"]).decode()
    question, _, answer = row["text"].partition("\n")
    return _Sample(row["id"], row["task"], question, answer, image)
