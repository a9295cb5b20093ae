"""Labels over images, and images without pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from mixedparts.masks import from_dense
from mixedparts.viewer import Head, Kind, Region, write_page
from tests.factories.browser import Watched, drawn
from tests.factories.viewer_samples import Dense, sample

Open = Callable[..., Watched]
LONG = [
    "a rather long name of a part " * 3,
    "أداة طويلة الاسم جدا للاختبار",
    "一个很长的部件名称一个很长的部件名称",
]


def dot(x: int, y: int) -> Dense:
    mask = np.zeros((60, 80), np.uint8)
    mask[y, x] = 1
    return mask


@pytest.mark.parametrize("width", [360, 1280])
def test_labels_stay_inside_their_image(tmp_path: Path, watched: Open, width: int) -> None:
    corners = [(0, 0), (79, 0), (0, 59), (79, 59), (40, 30)]
    samples = []
    for number, label in enumerate(LONG):
        one = sample(f"s{number}", [dot(0, 0), dot(1, 1)])
        regions = tuple(
            Region(image, f"{label} {n}", Kind.COMMON, from_dense(dot(x, y)))
            for image in range(2)
            for n, (x, y) in enumerate(corners)
        )
        samples.append(replace(one, answers=(replace(one.answers[0], regions=regions),)))
    write_page(samples, tmp_path / "v.html", Head("Labels"))
    page = watched(viewport={"width": width, "height": 900}).open(tmp_path / "v.html")
    drawn(page.locator("canvas").last)
    outside = page.evaluate(
        """() => [...document.querySelectorAll(".frame")].flatMap((frame) => {
          const outer = frame.getBoundingClientRect();
          return [...frame.querySelectorAll(".tag")].filter((tag) => {
            const inner = tag.getBoundingClientRect();
            return inner.left < outer.left - 1 || inner.right > outer.right + 1;
          }).map((tag) => tag.textContent);
        })"""
    )
    assert outside == []
    assert page.locator(".tag").count() == len(LONG) * 2 * len(corners)


def test_very_many_labels_are_cut(tmp_path: Path, watched: Open) -> None:
    one = sample("many", [dot(0, 0)])
    regions = tuple(
        Region(0, f"part {n}", Kind.COMMON, from_dense(dot(n % 80, n // 80))) for n in range(200)
    )
    answer = replace(one.answers[0], regions=regions, seg=(199,))
    write_page([replace(one, answers=(answer,))], tmp_path / "v.html", Head("Many"))
    page = watched().open(tmp_path / "v.html")
    drawn(page.locator("canvas"))
    assert page.locator(".tag").count() == 60
    page.locator(".chip").focus()  # what is lit up has its label
    expect(page.locator(".tag")).to_have_text(["part 199"])


def test_an_image_without_pixels_says_so(tmp_path: Path, watched: Open) -> None:
    mask = dot(5, 7)
    one = sample("one", [mask, mask])
    images = (replace(one.images[0], read=lambda: None), one.images[1])
    write_page([replace(one, images=images)], tmp_path / "v.html", Head("Nothing"))
    page = watched().open(tmp_path / "v.html")
    for number in range(2):
        np.testing.assert_array_equal(drawn(page.locator("canvas").nth(number)) > 0, mask > 0)
    expect(page.locator("figcaption").first).to_contain_text(" 60 · no pixels")
    expect(page.locator("figcaption").last).not_to_contain_text("no pixels")
    # Its description stays for screen readers, and does not lie over the masks.
    assert page.locator("img").first.evaluate("e => getComputedStyle(e).opacity") == "0"
    assert "spot 0" in (page.locator("img").first.get_attribute("alt") or "")
