"""The site as people read it: on a phone and wide, light and dark, without another machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.factories.browser import Watched, chromium, serious_faults

PAGES = (
    "index.html",
    "architecture.html",
    "read-masks.html",
    "evaluation.html",
    "tables.html",
    "reference/commands/mixedparts-build.html",
    "reference/configuration/model.html",
    "reference/python/sources.html",
    "repository/CONTRIBUTING.html",
    "repository/examples/explore.ipynb.html",
)
LARGE = ("evaluation.html", "reference/configuration/model.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_pages_fit_and_ask_no_other_machine(
    browser: Browser, address: str, width: int, scheme: str
) -> None:
    watched = Watched(browser, viewport={"width": width, "height": 800}, color_scheme=scheme)
    for name in PAGES:
        page = watched.visit(address + name)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        slate = page.locator("body").get_attribute("data-md-color-scheme") == "slate"
        assert slate == (scheme == "dark")
        # The rules take seconds on a large page, and hardly depend on the width.
        if width > 1000 and name not in LARGE:
            assert serious_faults(page) == [], name
    watched.close()


def test_diagrams_are_drawn_in_the_colours_of_the_theme(browser: Browser, address: str) -> None:
    fills = {}
    for scheme in ("light", "dark"):
        watched = Watched(browser, color_scheme=scheme)
        page = watched.visit(address + "architecture.html")
        drawings = page.locator("figure.diagram svg")
        assert drawings.count() == 2
        assert "mixedparts.entities" in (drawings.nth(1).text_content() or "")
        fills[scheme] = page.locator("figure.diagram .node rect").first.evaluate(
            "element => getComputedStyle(element).fill"
        )
        watched.close()
    assert fills["light"] != fills["dark"]


def test_search_finds_an_option_and_a_guide(browser: Browser, address: str) -> None:
    watched = Watched(browser)
    page = watched.visit(address + "index.html")
    for words, wanted in (("max-rejects", "mixedparts build"), ("part filter", "Contributing")):
        page.locator(".md-search__input").fill(words)
        page.locator(".md-search__input").press("End")  # the theme listens to keys
        results = page.locator(".md-search-result__item")
        expect(results.first).to_be_visible()
        expect(results.filter(has_text=wanted).first).to_be_visible()
    watched.close()


def test_the_theme_can_be_switched_and_stays(browser: Browser, address: str) -> None:
    watched = Watched(browser, color_scheme="light")
    page = watched.visit(address + "index.html")
    for title in ("Switch to the light theme", "Switch to the dark theme"):
        page.get_by_title(title).click()
    expect(page.locator("body")).to_have_attribute("data-md-color-scheme", "slate")
    page = watched.visit(address + "building.html")
    expect(page.locator("body")).to_have_attribute("data-md-color-scheme", "slate")
    watched.close()
