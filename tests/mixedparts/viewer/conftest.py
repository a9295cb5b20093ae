"""A browser for the tests of a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.factories.browser import Watched, chromium


# Not for the session: while Playwright runs, no other test of this thread can run asyncio.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; without it, the test is skipped."""
    with chromium() as started:
        yield started


@pytest.fixture
def watched(browser: Browser) -> Iterator[Callable[..., Watched]]:
    """Open pages that must neither complain nor ask another machine for anything."""
    opened: list[Watched] = []

    def new(**options: Any) -> Watched:
        opened.append(Watched(browser, **options))
        return opened[-1]

    yield new
    for one in opened:
        one.close()
