"""`mixedparts view` through the installed command, and what its documentation lists."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from mixedparts.viewer.page.data import PageData
from tests.checkout import DOCS
from tests.oracles.build_tables import iter_rows

Run = Callable[..., "subprocess.CompletedProcess[str]"]


class DataOf(HTMLParser):
    """The data of a page, found as a browser finds it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.here = False
        self.text = ""
        self.images = 0
        self.feed(page.read_text(encoding="utf-8"))
        self.data = msgspec.json.decode(self.text, type=PageData)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = dict(attrs).get("id") or ""
        self.here = tag == "script" and name == "page-data"
        self.images += name.startswith("image-")

    def handle_endtag(self, tag: str) -> None:
        self.here = False

    def handle_data(self, data: str) -> None:
        self.text += data if self.here else ""


def test_chosen_rows_are_on_the_page(built: Path, tmp_path: Path, run_mixedparts: Run) -> None:
    rows = list(iter_rows(built, "pairs", "train"))
    name = rows[0]["objects"][0]["category"]
    words = ["--split", "train", "--class", name, "--task", "common_parts", "unique_parts"]
    run = run_mixedparts("view", built, *words, "--limit", 1000)
    assert run.returncode == 0, run.stderr
    page = DataOf(tmp_path / "view.html")
    wanted = [
        row
        for row in rows
        if row["task"] != "common_object" and name in {o["category"] for o in row["objects"]}
    ]
    assert [sample.id for sample in page.data.samples] == [row["id"] for row in wanted]
    for sample, row in zip(page.data.samples, wanted, strict=True):
        regions = sample.answers[0].regions
        items = [*row["objects"], *row["parts"]]
        assert [page.data.masks[r.mask] for r in regions] == [i["mask"]["counts"] for i in items]
        assert [r.area for r in regions] == [i["area"] for i in items]
        assert [page.data.images[n].key for n in sample.images] == [
            f"train/{image['row']}" for image in row["images"]
        ]
    assert page.images == len(page.data.images) == len({i.key for i in page.data.images})
    assert f"view.html: {len(wanted)} samples, {page.images} images" in run.stdout


def test_a_few_rows_of_many(built: Path, tmp_path: Path, run_mixedparts: Run) -> None:
    ids = [row["id"] for row in iter_rows(built, "pairs", "test")][3:5]
    run = run_mixedparts("view", built, "--ids", *ids, "--out", "some/page.html")
    assert run.returncode == 0, run.stderr
    assert [s.id for s in DataOf(tmp_path / "some/page.html").data.samples] == ids
    run = run_mixedparts("view", built, "--limit", 7, "--out", "few.html")
    assert len(DataOf(tmp_path / "few.html").data.samples) == 7
    assert "few.html: 7 samples of " in run.stdout
    assert "--serve" in run.stdout


def test_a_build_without_pixels_still_has_masks(
    built: Path, tmp_path: Path, run_mixedparts: Run
) -> None:
    copy = Path(shutil.copytree(built, tmp_path / "build"))
    for path in (copy / "images").glob("*.parquet"):
        table = pq.read_table(path)
        field = table.schema.field("image")
        place = table.schema.get_field_index("image")
        pq.write_table(table.set_column(place, field, pa.nulls(len(table), field.type)), path)
    run = run_mixedparts("view", copy, "--limit", 5)
    assert run.returncode == 0, run.stderr
    page = DataOf(tmp_path / "view.html")
    assert (len(page.data.samples), page.images) == (5, 0)
    assert page.data.masks


def test_every_option_and_key_is_documented(run_mixedparts: Run) -> None:
    text = (DOCS / "viewing.md").read_text(encoding="utf-8")
    options = set(re.findall(r"(?<!-)--[a-z-]+", run_mixedparts("view", "--help").stdout))
    common = {"--help", "--quiet", "--verbose", "--version", "--out"}
    assert {option for option in options - common if f"`{option}" not in text} == set()
    page = resources.files("mixedparts.viewer.page")
    script = page.joinpath("assets/keyboard.js").read_text(encoding="utf-8")
    keys = [k for line in re.findall(r'^  \["([^"]+)", "', script, re.M) for k in line.split(" ")]
    assert len(keys) > 12
    assert [key for key in keys if f"`{key}`" not in text] == []
