"""Debian's Chromium, driven by Playwright: opens pages and keeps what went wrong in them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from numpy.typing import NDArray
from playwright.sync_api import (
    Browser,
    ElementHandle,
    Locator,
    Page,
    Request,
    expect,
    sync_playwright,
)

CHROMIUM = Path("/usr/bin/chromium")
_OPTIONS = [
    "--no-sandbox",  # it would refuse to start as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]
_LOCAL = ("127.0.0.1", "localhost")
# Alpha of each pixel of a canvas, as text.
_ALPHA = """canvas => {
  const { width, height } = canvas;
  if (!width) return null;
  const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  let text = "";
  for (let at = 3; at < data.length; at += 4) text += String.fromCharCode(data[at]);
  return { width, height, alpha: btoa(text) };
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a browser; skip the test where there is none."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not there; install it with: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=_OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page with what it asked for and complained about.

    Args:
        browser: to open it in.
        options: of the browser context, such as `viewport` and `color_scheme`.
    """

    def __init__(self, browser: Browser, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.page.on("console", lambda message: self._said(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked)

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def _asked(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme in ("http", "https", "ws", "wss") and address.hostname not in _LOCAL:
            self.foreign.append(request.url)

    def open(self, address: str | Path) -> Page:
        """Open a file or an address, and wait until its samples are listed."""
        self.page.goto(address.as_uri() if isinstance(address, Path) else address)
        expect(self.page.locator("#status")).not_to_have_text("Loading …")
        return self.page

    def visit(self, address: str) -> Page:
        """Open an address, and wait until everything that it needs has come."""
        self.page.goto(address, wait_until="networkidle")
        return self.page

    def close(self) -> None:
        """Close the page; it must not have complained, nor asked another machine for anything."""
        self.context.close()
        assert self.complaints == []
        assert self.foreign == []


def drawn(canvas: Locator | ElementHandle) -> NDArray[np.uint8]:
    """Return the (H, W) uint8 alpha of a canvas, once something is drawn on it."""
    value: dict[str, Any] | None = None
    for _ in range(200):
        value = canvas.evaluate(_ALPHA)
        if value is not None:
            break
        canvas.evaluate("() => new Promise(done => setTimeout(done, 20))")
    assert value is not None, "nothing is drawn"
    flat = np.frombuffer(base64.b64decode(value["alpha"]), np.uint8)
    return flat.reshape(value["height"], value["width"])


def serious_faults(page: Page) -> list[str]:
    """Return what axe-core calls serious or critical in a page, with the elements."""
    result = Axe().run(page).response
    return [
        f"{fault['id']}: {node['html']}"
        for fault in result["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
