"""One small synthetic set that the tests of this folder read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixedparts.synthetic import make_sources
from mixedparts.synthetic.render import Rendered, render
from mixedparts.synthetic.vocabulary import SOURCES

IMAGES = 40
SEED = 11


@pytest.fixture(scope="package")
def rendered() -> dict[str, list[Rendered]]:
    """The pictures of `made` with their truth, by source, in the order of the image index."""
    return {source: [render(SEED, source, i) for i in range(IMAGES)] for source in SOURCES}


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three layouts with `IMAGES` pictures each; do not write here."""
    out = tmp_path_factory.mktemp("sample") / "sources"
    make_sources(out, IMAGES, SEED, 1, lambda done, total: None)
    return out
