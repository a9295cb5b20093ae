"""The page as people use it: filters, search, links between phrases and masks, keys, themes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from mixedparts import masks
from mixedparts.viewer.build_page import PageRequest, write_build_page
from tests.factories.browser import Watched, drawn, serious_faults
from tests.oracles.build_tables import iter_rows

Row = dict[str, Any]
Open = Callable[..., Watched]
LIMIT = 70  # over one page of the list


@pytest.fixture(scope="module")
def rows(built: Path) -> dict[str, Row]:
    return {
        f"{split}/{row['id']}": row
        for split in ("train", "validation", "test")
        for row in iter_rows(built, "pairs", split)
    }


@pytest.fixture(scope="module")
def file(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "view.html"
    write_build_page(built, out, PageRequest(limit=LIMIT))
    return out


def shown(page: Page) -> list[str]:
    """Split and id of the listed samples."""
    meta = [line.split(" · ") for line in page.locator(".card .meta").all_inner_texts()]
    return [f"{facts[1]}/{facts[2]}" for facts in meta]


def classes(row: Row) -> set[str]:
    return {item["category"] for item in row["objects"]}


def all_shown(page: Page) -> list[str]:
    """Those of all pages of the list."""
    found = shown(page)
    while page.get_by_role("button", name="Next page").is_enabled():
        page.get_by_role("button", name="Next page").click()
        page.wait_for_timeout(50)
        found += shown(page)
    return found


def test_samples_are_listed_with_their_texts(
    file: Path, rows: dict[str, Row], watched: Open
) -> None:
    page = watched().open(file)
    expect(page.locator("#status")).to_have_text("70 samples, page 1 of 2")
    assert page.locator(".card").count() == 48
    for name, card in list(zip(shown(page), page.locator(".card").all(), strict=True))[:6]:
        row = rows[name]
        assert card.locator(".question").inner_text() == row["question"]
        plain = card.locator(".answer").evaluate("element => element.textContent")
        for tag in ("[SEG]", "(IMAGE1)", "(IMAGE2)", "<p>", "</p>"):
            assert tag not in plain
        assert plain.replace(" ", "").startswith(row["answer"].split("<p>")[0].replace(" ", ""))
        assert card.locator("figure").count() == 2
        alt = card.locator("img").first.get_attribute("alt")
        assert alt is not None
        assert row["objects"][0]["category"] in alt


def test_filters_search_and_counts(file: Path, rows: dict[str, Row], watched: Open) -> None:
    page = watched().open(file)
    every = all_shown(page)
    assert len(every) == len(set(every)) == LIMIT
    name, number = Counter(c for key in every for c in classes(rows[key])).most_common(1)[0]
    page.get_by_label("Class").select_option(name)
    expect(page.locator("#status")).to_contain_text(f"{number} samples")
    assert {name} <= set.intersection(*(classes(rows[key]) for key in shown(page)))
    tasks = Counter(rows[key]["task"] for key in every if name in classes(rows[key]))
    for task, count in tasks.items():
        words = task.replace("_", " ")
        expect(page.get_by_role("button", name=f"{words} ({count})")).to_be_visible()
    part = next(p["name"] for key in every for p in rows[key]["parts"])
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("Part").select_option(part)
    having = [key for key in every if part in {p["name"] for p in rows[key]["parts"]}]
    assert sorted(all_shown(page)) == sorted(having)
    page.get_by_role("button", name="Clear").click()
    wanted = rows[every[5]]
    page.get_by_label("Search").fill(f"{wanted['id'].upper()} {wanted['source']}")
    expect(page.locator("#status")).to_contain_text("1 sample,")
    page.get_by_label("Search").fill("nothing has these words")
    expect(page.locator("#status")).to_have_text("No sample fits these filters.")


def test_a_phrase_and_its_masks_light_up_together(
    file: Path, rows: dict[str, Row], watched: Open
) -> None:
    page = watched().open(file)
    at = next(n for n, key in enumerate(shown(page)) if rows[key]["task"] == "common_parts")
    card = page.locator(".card").nth(at)
    card.scroll_into_view_if_needed()
    row = rows[shown(page)[at]]
    part = row["parts"][0]
    chip = card.locator(".answer .chip", has_text=part["name"]).first
    canvas = card.locator("canvas").first
    before = drawn(canvas)
    mask = mask_of(part)
    others = (before > 0) & ~mask
    for light in (chip.hover, chip.focus):
        light()
        after = drawn(canvas)
        # Its own masks stay as strong as they were but for the object under them; all else fades.
        assert after[others].mean() < 0.6 * before[others].mean()
        assert after[mask].mean() > 0.85 * before[mask].mean()
        page.mouse.move(0, 0)
        chip.evaluate("element => element.blur()")
        np.testing.assert_array_equal(drawn(canvas), before)
    y, x = np.argwhere(mask)[mask.sum() // 2]
    box = canvas.bounding_box()
    assert box is not None
    place = ((x + 0.5) / mask.shape[1] * box["width"], (y + 0.5) / mask.shape[0] * box["height"])
    page.mouse.move(box["x"] + place[0], box["y"] + place[1])
    lit = card.locator(".answer .chip.lit").all_inner_texts()
    assert [text.removeprefix("the ") for text in lit] == [part["name"]]


def mask_of(region: Row) -> np.ndarray[Any, np.dtype[np.bool_]]:
    height, width = region["mask"]["size"]
    rle = masks.from_string(region["mask"]["counts"], height, width)
    return masks.decode(rle).astype(bool)


def test_layers_can_be_switched_off(file: Path, rows: dict[str, Row], watched: Open) -> None:
    page = watched().open(file)
    at = next(n for n, key in enumerate(shown(page)) if rows[key]["parts"])
    card, row = page.locator(".card").nth(at), rows[shown(page)[at]]
    card.scroll_into_view_if_needed()
    regions = {"Objects": row["objects"], "Parts": row["parts"]}
    for switched, left in (("Objects", "Parts"), ("Parts", "Objects")):
        button = page.get_by_role("button", name=switched, exact=True)
        button.click()
        assert button.get_attribute("aria-pressed") == "false"
        alpha = drawn(card.locator("canvas").first)
        union = np.zeros(alpha.shape, bool)
        for region in regions[left]:
            if region["image"] == 0:
                union |= mask_of(region)
        np.testing.assert_array_equal(alpha > 0, union)
        button.click()
    assert card.locator(".tag").count() > 0
    page.get_by_role("button", name="Labels").click()
    assert card.locator(".tag").count() == 0


def test_a_part_has_one_colour_in_both_images(
    file: Path, rows: dict[str, Row], watched: Open
) -> None:
    page = watched().open(file)
    at = next(n for n, key in enumerate(shown(page)) if rows[key]["task"] == "common_parts")
    card, row = page.locator(".card").nth(at), rows[shown(page)[at]]
    card.scroll_into_view_if_needed()
    page.get_by_role("button", name="Outlines").click()
    page.get_by_role("button", name="Objects", exact=True).click()
    names = list(dict.fromkeys(part["name"] for part in row["parts"]))
    seen: dict[str, set[tuple[int, ...]]] = {name: set() for name in names}
    for part in row["parts"]:
        free = mask_of(part)
        for other in row["parts"]:
            if other is not part and other["image"] == part["image"]:
                free &= ~mask_of(other)
        if not free.any():
            continue
        y, x = (int(v) for v in np.argwhere(free)[free.sum() // 2])
        pixel = "(c, [x, y]) => [...c.getContext('2d').getImageData(x, y, 1, 1).data]"
        drawn(card.locator("canvas").nth(part["image"]))
        colour = card.locator("canvas").nth(part["image"]).evaluate(pixel, [x, y])
        seen[part["name"]].add(tuple(round(v / 8) for v in colour))
    assert all(len(colours) == 1 for colours in seen.values()), seen
    assert len({colour for colours in seen.values() for colour in colours}) == len(names)


def test_keys(file: Path, rows: dict[str, Row], watched: Open) -> None:
    page = watched().open(file)
    cards = page.locator(".card")
    page.keyboard.press("ArrowRight")
    expect(cards.nth(1)).to_have_class("card current")
    page.keyboard.press("ArrowLeft")
    expect(cards.nth(0)).to_have_class("card current")
    page.keyboard.press("Enter")
    expect(page.locator("#detail")).to_be_visible()
    assert page.url.endswith(f"#row={shown(page)[0]}")
    page.keyboard.press("ArrowRight")
    assert page.url.endswith(f"#row={shown(page)[1]}")
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).not_to_be_visible()
    page.keyboard.press("2")
    expect(page.locator('[data-task="common_parts"]')).to_have_attribute("aria-pressed", "true")
    assert {rows[key]["task"] for key in shown(page)} == {"common_parts"}
    page.keyboard.press("2")
    page.keyboard.press("/")
    expect(page.get_by_label("Search")).to_be_focused()
    page.keyboard.type("?1o")  # text, not keys
    expect(page.locator("#help")).not_to_be_visible()
    expect(page.get_by_label("Search")).to_have_value("?1o")
    page.get_by_label("Search").fill("")
    page.locator("#rows").focus()
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.get_by_role("checkbox").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#help")).not_to_be_visible()


def test_the_end_of_a_page_leads_to_the_next(file: Path, watched: Open) -> None:
    page = watched().open(file)
    first = shown(page)
    page.locator(".card").last.locator("h2 a").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#status")).to_contain_text("page 2 of 2")
    assert not set(shown(page)) & set(first)
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#status")).to_contain_text("page 1 of 2")
    expect(page.locator(".card").last).to_have_class("card current")


def test_every_row_has_a_link(file: Path, rows: dict[str, Row], watched: Open) -> None:
    page = watched().open(file)
    name = all_shown(page)[-1]
    link = page.locator(".card h2 a").last.get_attribute("href")
    assert link == f"#row={name}"
    other = watched().open(f"{file.as_uri()}{link}")
    expect(other.locator("#detail")).to_be_visible()
    expect(other.locator("#detail .meta")).to_contain_text(name.partition("/")[2])
    row = rows[name]
    regions = [*row["objects"], *row["parts"]]
    table = other.locator("#detail tbody tr")
    assert table.count() == len(regions)
    pixels = [line.split("\t")[3] for line in table.all_inner_texts()]
    assert pixels == [f"{region['area']:,}" for region in regions]
    page.goto(f"{file.as_uri()}#row=test/nothing")
    expect(page.locator("#status")).to_contain_text("There is no sample test/nothing here.")


def test_filters_are_in_the_address(file: Path, watched: Open) -> None:
    page = watched().open(file)
    page.keyboard.press("3")
    page.get_by_label("Split").select_option("test")
    expect(page.locator("#status")).to_contain_text("sample")
    again = watched().open(page.url)
    assert shown(again) == shown(page)
    expect(again.get_by_label("Split")).to_have_value("test")


@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_the_screen(file: Path, watched: Open, width: int) -> None:
    page = watched(viewport={"width": width, "height": 740}).open(file)
    wide = "() => document.documentElement.scrollWidth"
    assert page.evaluate(wide) <= width
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#detail")).to_be_visible()
    assert page.evaluate(wide) <= width
    box = page.locator("#detail").bounding_box()
    assert box is not None
    assert box["width"] <= width
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.evaluate(wide) <= width


def test_light_and_dark(file: Path, watched: Open) -> None:
    page = watched(color_scheme="dark").open(file)
    ground = "() => getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    assert dark == "rgb(20, 23, 27)"
    page.get_by_role("button", name="Theme").click()
    light = page.evaluate(ground)
    assert light == "rgb(255, 255, 255)"
    page.reload()  # the choice is kept
    assert page.evaluate(ground) == light
    page.get_by_role("button", name="Theme: light").click()
    assert page.evaluate(ground) == dark


def test_printing_draws_every_card_and_no_controls(file: Path, watched: Open) -> None:
    page = watched().open(file)
    assert page.locator('.card canvas[width="0"]').count() > 0
    page.emulate_media(media="print", color_scheme="dark")
    for control in ("#text", "#theme", "#page-after", "#layer-parts"):
        expect(page.locator(control)).not_to_be_visible()
    expect(page.locator('.card canvas[width="0"]')).to_have_count(0)
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_fault_of_accessibility(
    built: Path, tmp_path: Path, watched: Open, scheme: str
) -> None:
    # Few cards of each kind: axe-core takes its time with each element.
    write_build_page(built, tmp_path / "view.html", PageRequest(limit=3))
    page = watched(color_scheme=scheme).open(tmp_path / "view.html")
    drawn(page.locator("canvas").first)
    found = serious_faults(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#detail")).to_be_visible()
    found += serious_faults(page)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    found += serious_faults(page)
    page.keyboard.press("Escape")
    page.locator(".card .chip").first.click()
    found += serious_faults(page)
    assert found == []


def test_an_address_with_several_names(file: Path, rows: dict[str, Row], watched: Open) -> None:
    page = watched().open(file)
    every = all_shown(page)
    names = [name for name, _ in Counter(c for k in every for c in classes(rows[k])).most_common(2)]
    page = watched().open(f"{file.as_uri()}#class={names[0]}&class={names[1]}")
    wanted = [key for key in every if classes(rows[key]) & set(names)]
    assert sorted(all_shown(page)) == sorted(wanted)
    menu = page.get_by_label("Class")
    entry = "e => e.selectedOptions[0].textContent"
    assert menu.evaluate(entry) == f"2 of them: {names[0]}, {names[1]}"
    menu.select_option(names[0])
    one = [key for key in every if names[0] in classes(rows[key])]
    expect(page.locator("#status")).to_contain_text(f"{len(one)} sample")
    menu.select_option(index=1)  # both again
    expect(page.locator("#status")).to_contain_text(f"{len(wanted)} sample")
    ids = [key.partition("/")[2] for key in every[:2]]
    page = watched().open(f"{file.as_uri()}#id={ids[0]}&id={ids[1]}")
    assert sorted(shown(page)) == sorted(every[:2])


@pytest.mark.parametrize("start", ["48", "50", "1000000", "9" * 400])
def test_a_page_of_the_address_that_there_is_not(file: Path, watched: Open, start: str) -> None:
    page = watched().open(f"{file.as_uri()}#start={start}")
    expect(page.locator("#status")).to_have_text(f"{LIMIT} samples, page 2 of 2")
    assert page.locator(".card").count() == LIMIT - 48


def test_forced_colours_show_what_is_chosen(file: Path, watched: Open) -> None:
    page = watched(forced_colors="active").open(file)
    ground = "e => getComputedStyle(e).backgroundColor"
    button = page.get_by_role("button", name="Labels")
    pressed = button.evaluate(ground)
    button.click()
    page.mouse.move(0, 0)
    button.evaluate("e => e.blur()")
    assert button.evaluate(ground) != pressed
    chip = page.locator(".card .chip").first
    plain = chip.evaluate(ground)
    chip.focus()
    # The colour of a chip changes within a tenth of a second.
    expect(chip).not_to_have_css("background-color", plain)
    colours = page.locator(".card .swatch").evaluate_all(
        "list => list.map(e => getComputedStyle(e).borderColor)"
    )
    assert len(set(colours)) > 2
