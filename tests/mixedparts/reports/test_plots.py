"""Plots, the page of statistics and frames show the counts, whatever characters names have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Browser

import mixedparts
from mixedparts.reports.frames import StatisticsFrames, frames_of
from mixedparts.reports.plots import draw_plots
from mixedparts.reports.plots.draw import PLOTS
from mixedparts.reports.plots.style import legible, plot_style, save_figure, svg_of
from mixedparts.reports.statistics import Statistics, coco_sizes, collect
from mixedparts.reports.statistics_page import write_statistics_page
from tests.factories.browser import Watched, chromium, serious_faults
from tests.oracles.build_tables import iter_rows

HOSTILE = '</text><script>alert(1)</script>"$x^{'


@pytest.fixture(scope="module")
def found(built: Path) -> Statistics:
    """Counts of a build to which names of all kinds were added."""
    statistics = collect(built)
    most = max(statistics.parts.values())
    statistics.parts.update({HOSTILE: most + 9, "قبضة": most + 8, "a" * 60: most + 7})
    statistics.rejects.update({("paco", "train", "part", "orphan_part"): 140,
                               ("ade20k", "test", "object", "empty_mask"): 30,
                               (HOSTILE, "test", "object", "empty_mask"): 12})  # fmt: skip
    return statistics


def texts(svg: bytes) -> list[str]:
    """Return the texts of an SVG file, which must be well-formed and have no script."""
    root = ElementTree.fromstring(svg)
    assert not [e for e in root.iter() if e.tag.endswith("script")]
    return ["".join(e.itertext()).strip() for e in root.iter() if e.tag.endswith("}text")]


@pytest.fixture(scope="module")
def written(found: Statistics, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plots")
    files = draw_plots(found, folder / "plots")
    assert files == [
        folder / "plots" / f"{name}.{kind}" for name in PLOTS for kind in ("png", "svg", "pdf")
    ]
    write_statistics_page(found, folder / "page.html")
    return folder


def test_plots_are_pictures(written: Path) -> None:
    for path in (written / "plots").glob("*.png"):
        with Image.open(path) as picture:
            shades = np.asarray(picture.convert("L"))
        assert min(shades.shape) > 100
        assert (shades < 200).mean() > 0.005  # something is drawn


def test_the_same_counts_give_the_same_files(
    found: Statistics, written: Path, tmp_path: Path
) -> None:
    with plot_style():
        figure = PLOTS["mask_sizes"].draw(found)
        again = save_figure(figure, tmp_path, "mask_sizes", ["pdf", "svg"])
    for path in again:
        assert path.read_bytes() == (written / "plots" / path.name).read_bytes()


def test_names_are_text_in_svg_and_pdf(written: Path) -> None:
    names = texts((written / "plots/names.svg").read_bytes())
    assert HOSTILE[:31] + "…" in names
    assert "قبضة" in names
    assert "a" * 31 + "…" in names
    for path in (written / "plots").glob("*.pdf"):
        data = path.read_bytes()
        assert b"/FontFile2" in data  # TrueType, embedded
        assert b"/Type3" not in data


def test_the_map_of_class_pairs_counts_samples(found: Statistics, built: Path) -> None:
    pairs: Counter[tuple[str, ...]] = Counter()
    for split in ("train", "validation", "test"):
        for row in iter_rows(built, "pairs", split):
            pairs[tuple(sorted(o["category"] for o in row["objects"]))] += 1
    with plot_style():
        figure = PLOTS["class_pair_map"].draw(found)
        axes = figure.axes[0]
        image = np.nan_to_num(np.asarray(axes.images[0].get_array().filled(np.nan)))
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert names == [label.get_text() for label in axes.get_xticklabels()]
    for one, other in np.ndindex(image.shape):
        assert image[one, other] == pairs[tuple(sorted((names[one], names[other])))]


def test_rejects_are_drawn_by_reason(found: Statistics) -> None:
    with plot_style():
        drawn = texts(svg_of(PLOTS["rejects"].draw(found)))
        none = texts(svg_of(PLOTS["rejects"].draw(Statistics(found.manifest))))
    own = Counter()
    for (_, _, level, reason), number in found.rejects.items():
        own[f"{reason} ({level})"] += number
    for name, number in own.items():
        assert legible(name) in drawn
        assert f"{number:,}" in drawn
    assert any("every record" in text for text in none)


def test_sizes_have_the_names_of_their_limits(found: Statistics, written: Path) -> None:
    sizes = coco_sizes(np.array([1, 1023, 1024, 9215, 9216, 10**6]))
    assert sizes == {"small": 2, "medium": 2, "large": 2}
    drawn = {name: texts((written / f"plots/{name}.svg").read_bytes()) for name in PLOTS}
    assert {"small ends: 32²", "medium ends: 96²"} <= set(drawn["mask_sizes"])
    least = found.manifest["configuration"]["min_part_area"]
    assert f"min_part_area {100 * least:g} %" in drawn["mask_areas"]


def test_a_character_without_a_font_is_its_number() -> None:
    with plot_style():
        assert legible("a\U0010fffdb") == "a[U+10FFFD]b"
        assert legible("قبضة $x$") == "قبضة $x$"


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.text: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_has_all_plots_and_loads_nothing(written: Path) -> None:
    page = _Page()
    page.feed((written / "page.html").read_text())
    assert page.tags["img"] == len(PLOTS)
    assert page.tags["script"] == 0
    assert all(address.startswith("data:") for address in page.addresses)
    assert HOSTILE in page.text
    assert "orphan_part" in page.text


def test_statistics_are_frames(built: Path) -> None:
    frames = mixedparts.stats(built)
    assert isinstance(frames, StatisticsFrames)
    rows = [r for s in ("train", "validation", "test") for r in iter_rows(built, "pairs", s)]
    assert frames.samples["samples"].sum() == len(rows)
    assert frames.class_pairs["samples"].sum() == len(rows)
    parts = Counter(part["name"] for row in rows for part in row["parts"])
    assert frames.parts.set_index("name")["masks"].to_dict() == parts
    paired = frames.class_pairs.groupby(["first", "second"])["samples"].sum().to_dict()
    own = Counter(tuple(sorted(o["category"] for o in row["objects"])) for row in rows)
    assert paired == own
    assert frames.image_use["samples"].sum() == sum(len(row["images"]) for row in rows)
    areas = [
        entity["area"]
        for split in ("train", "validation", "test")
        for entity in iter_rows(built, "entities", split)
    ]
    objects = frames.masks[frames.masks["level"] == "object"]
    assert sorted(objects["pixels"]) == sorted(areas)
    words = frames.answer_words
    assert (words["words"] * words["answers"]).sum() == sum(len(r["answer"].split()) for r in rows)
    assert re.search("<table", frames._repr_html_())


def test_frames_of_rejects(found: Statistics) -> None:
    frame = frames_of(found).rejects
    assert frame["records"].sum() == found.rejects.total()
    wanted = frame[(frame["reason"] == "orphan_part") & (frame["source"] == "paco")]
    assert isinstance(wanted, pd.DataFrame)
    assert wanted["records"].sum() >= 140


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; without it, the test is skipped."""
    with chromium() as started:
        yield started


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(
    written: Path, browser: Browser, scheme: Literal["light", "dark"]
) -> None:
    watched = Watched(browser, viewport={"width": 360, "height": 800}, color_scheme=scheme)
    watched.page.goto((written / "page.html").as_uri())
    watched.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert watched.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert watched.page.evaluate("[...document.images].every(one => one.naturalWidth > 100)")
    assert HOSTILE in watched.page.inner_text("body")
    assert serious_faults(watched.page) == []
    watched.close()
