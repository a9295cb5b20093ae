"""What the shared synthetic set shows."""

from __future__ import annotations

import pytest

from mixedparts.synthetic.render import Rendered, render
from mixedparts.synthetic.vocabulary import SOURCES
from tests.factories.synthetic import IMAGES, SEED


@pytest.fixture(scope="package")
def rendered() -> dict[str, list[Rendered]]:
    """The pictures of `synthetic_root` with their truth, by source, in order of the image index."""
    return {source: [render(SEED, source, i) for i in range(IMAGES)] for source in SOURCES}
