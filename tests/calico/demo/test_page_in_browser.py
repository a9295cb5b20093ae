"""The page in a browser: an example, its answer, a message, and nothing from another machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.calico.demo.conftest import Running
from tests.factories.browser import Watched, chromium, serious_faults


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def opened(browser: Browser, running: Running, **options: Any) -> tuple[Watched, Page]:
    watched = Watched(browser, **options)
    watched.page.goto(running.address)
    expect(watched.page.get_by_role("button", name="Answer")).to_be_visible(timeout=30_000)
    return watched, watched.page


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360), ("light", 360)])
def test_an_example_is_answered(
    browser: Browser, running: Running, scheme: str, width: int
) -> None:
    watched, page = opened(
        browser, running, color_scheme=scheme, viewport={"width": width, "height": 800}
    )
    expect(page.get_by_text("was trained on synthetic images")).to_be_visible()
    expect(page.get_by_text("The examples are noise.")).to_be_visible()
    expect(page.get_by_text("runs/<i>micro")).to_be_visible()  # no markup
    page.get_by_role("textbox", name="Your own question").fill("stale")
    page.locator(".gallery-item, .table-wrap tr.tr-body, tbody tr").first.click()
    expect(page.locator("#image-2 img")).to_be_visible()
    expect(page.get_by_role("radio", name="Their unique parts")).to_be_checked()
    expect(page.get_by_role("textbox", name="Your own question")).to_have_value("")
    page.get_by_role("button", name="Answer").click()
    answer = page.locator("#answer")
    expect(answer).to_contain_text(
        re.compile(r"One object is\s+a mug\s*, the other\s+a kettle\s*\. Both"), timeout=30_000
    )
    phrase = answer.locator(".token", has_text="a mug")
    expect(phrase).to_have_css("background-color", "rgba(227, 74, 51, 0.5)")  # that of its mask
    expect(answer.locator(".token.highlighted")).to_have_count(3)
    expect(page.locator("#overlay img")).to_be_visible()
    expect(page.get_by_role("button", name="Share")).to_have_count(0)  # it would upload
    page.locator("#overlay img").scroll_into_view_if_needed()  # it is loaded when it is seen
    loaded = "async image => { await image.decode(); return image.naturalWidth; }"
    assert page.locator("#overlay img").evaluate(loaded) > 200
    for name in ("prediction.zip", "prediction.json", "overlay.png"):
        expect(page.locator("#files").get_by_text(name.split(".")[0]).first).to_be_visible()
    expect(page.locator("#segments")).to_contain_text("kettle")
    assert serious_faults(page) == []
    # All of the page is there on a narrow screen too: names of files, and lines broken at spaces.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for name in page.locator("#files .filename").all():
        assert name.evaluate("one => one.scrollWidth <= one.clientWidth + 1")
    for link in page.locator("#files a.download-link").all():
        assert link.evaluate("one => one.getBoundingClientRect().right <= innerWidth")
    assert answer.locator(".text").first.evaluate("o => getComputedStyle(o).wordBreak") == "normal"
    expect(page.get_by_role("button", name="Remove this file")).to_have_count(0)
    expect(page.get_by_role("img", name="The images with the masks of the answer")).to_be_visible()
    watched.close()


def test_a_missing_image_is_a_message(browser: Browser, running: Running) -> None:
    watched, page = opened(browser, running)
    page.locator("#image-1 input[type=file]").set_input_files(running.images[0])
    expect(page.locator("#image-1 img")).to_be_visible()
    page.get_by_role("button", name="Answer").click()
    expect(page.get_by_text("Image 2 is missing")).to_be_visible()
    expect(page.get_by_text("Traceback")).to_have_count(0)
    # Gradio's own script says this whenever a function ends with a message.
    watched.complaints = [text for text in watched.complaints if text != "Method not implemented."]
    watched.close()
