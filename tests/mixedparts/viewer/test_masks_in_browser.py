"""What the page draws equals the run lengths, pixel for pixel."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import expect

from mixedparts import masks
from mixedparts.viewer import Head, write_page
from tests.factories.browser import Watched, drawn
from tests.factories.viewer_samples import sample

Dense = NDArray[np.uint8]


def holed() -> Dense:
    mask = np.zeros((61, 83), np.uint8)
    mask[5:55, 8:70] = 1
    mask[20:30, 20:40] = 0
    mask[40, 50] = 0  # a hole of one pixel
    mask[24, 30] = 1  # an island in the hole
    return mask


def spots() -> Dense:
    mask = np.zeros((40, 50), np.uint8)
    for y, x in ((0, 0), (39, 49), (0, 49), (39, 0), (17, 23)):
        mask[y, x] = 1
    return mask


def one_pixel() -> Dense:
    mask = np.zeros((33, 47), np.uint8)
    mask[16, 31] = 1
    return mask


def noise(height: int, width: int, seed: int) -> Dense:
    return np.random.default_rng(seed).integers(0, 2, (height, width), np.uint8)


def ends(height: int, width: int) -> Dense:
    mask = np.zeros((height, width), np.uint8)
    mask.flat[[0, 7, 8, 9, -1]] = 1
    return mask


PAIRS: dict[str, tuple[Dense, Dense]] = {
    "holes and one pixel": (holed(), one_pixel()),
    "corners and everything": (spots(), np.ones((30, 20), np.uint8)),
    "noise": (noise(64, 80, 1), noise(101, 7, 2)),
    "a wide and a tall line": (ends(1, 4000), ends(4000, 1)),
    "a single pixel, and none": (np.ones((1, 1), np.uint8), np.zeros((9, 9), np.uint8)),
    "large": (noise(300, 700, 3), ends(1200, 1600)),
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "view.html"
    write_page((sample(name, pair) for name, pair in PAIRS.items()), out, Head("Masks"))
    return out


@pytest.mark.parametrize("outlines", [True, False])
def test_a_mask_is_drawn_pixel_for_pixel(
    page: Path, watched: Callable[..., Watched], outlines: bool
) -> None:
    opened = watched().open(page)
    if not outlines:
        opened.get_by_role("button", name="Outlines").click()
    for name, pair in PAIRS.items():
        card = opened.locator(".card", has_text=name)
        card.scroll_into_view_if_needed()
        for number, mask in enumerate(pair):
            alpha = drawn(card.locator("canvas").nth(number))
            np.testing.assert_array_equal(alpha > 0, mask > 0, err_msg=f"{name}, {number}")


def test_a_smaller_image_says_so_and_its_masks_stay_exact(
    tmp_path: Path, watched: Callable[..., Watched]
) -> None:
    mask = noise(90, 120, 4)
    write_page([sample("one", [mask])], tmp_path / "v.html", Head("x"), most_side=40)
    page = watched().open(tmp_path / "v.html")
    np.testing.assert_array_equal(drawn(page.locator("canvas")) > 0, mask > 0)
    caption = page.locator("figcaption")
    expect(caption).to_contain_text(re.compile("120 . 90 · shown at 40 . 30$"))
    assert page.locator("img").evaluate("image => image.naturalWidth") == 40


def test_a_mask_of_a_build_is_drawn_alone_and_in_place(
    built: Path, tmp_path: Path, watched: Callable[..., Watched]
) -> None:
    """Objects lie under their parts; a clicked phrase shows its own masks alone."""
    from mixedparts.viewer.build_page import PageRequest, write_build_page
    from mixedparts.viewer.selection import Query
    from tests.oracles.build_tables import iter_rows

    out = tmp_path / "view.html"
    query = Query(tasks=("common_parts", "unique_parts"), splits=("test",))
    write_build_page(built, out, PageRequest(query, limit=4))
    page = watched().open(out)
    rows = {row["id"]: row for row in iter_rows(built, "pairs", "test")}
    checked = 0
    for card in page.locator(".card").all():
        row = rows[card.locator(".meta bdi").nth(2).inner_text()]
        card.scroll_into_view_if_needed()
        regions = [*row["objects"], *row["parts"]]
        chips = card.locator(".answer .chip").all()
        seg = [s["index"] + (len(row["objects"]) if s["kind"] == "part" else 0) for s in row["seg"]]
        for chip in chips:
            chip.click()
            page.mouse.move(0, 0)
            alphas = [drawn(card.locator("canvas").nth(n)) for n in range(len(row["images"]))]
            label = chip.inner_text().removeprefix("the ").removeprefix("an ").removeprefix("a ")
            wanted = [np.zeros(alpha.shape, np.uint8) for alpha in alphas]
            for at in seg:
                region = regions[at]
                if (region.get("category") or region["name"]) == label:
                    height, width = region["mask"]["size"]
                    rle = masks.from_string(region["mask"]["counts"], height, width)
                    wanted[region["image"]] |= masks.decode(rle)
                    checked += 1
            for alpha, mask in zip(alphas, wanted, strict=True):
                np.testing.assert_array_equal(alpha > 0, mask > 0)
            chip.click()
            page.mouse.move(0, 0)
    assert checked >= 12
