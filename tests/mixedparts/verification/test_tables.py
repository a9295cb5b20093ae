"""Whatever is changed in the other tables, verification names it, with file and row."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mixedparts import masks
from mixedparts.pipeline.build import build as make_build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.verification.findings import Rule
from mixedparts.verification.verify import verify
from tests.factories.forger import Row, flip_bit, put_mask, rewrite
from tests.oracles.build_tables import iter_rows


def flip_entity_bit(rows: list[Row]) -> None:
    flip_bit(rows[0], measured=False)


def shrink_part(rows: list[Row]) -> None:
    row = next(row for row in rows if row["parts"])
    dense = np.zeros(row["mask"]["size"], np.uint8)
    dense[1, 1] = 1
    put_mask(row["parts"][0], masks.from_dense(dense), measured=True)


def drop_entity_part(rows: list[Row]) -> None:
    next(row for row in rows if len(row["parts"]) > 1)["parts"].pop()


def rename_entity(rows: list[Row]) -> None:
    next(row for row in rows if row["row"] is not None)["category"] = "teapot"


def double_entity(rows: list[Row]) -> None:
    rows.append(dict(rows[0]))


def hide_parts(rows: list[Row]) -> None:
    next(row for row in rows if row["parts"])["parts_known"] = False


def lose_entity_box(rows: list[Row]) -> None:
    rows[0]["bbox"] = None


def move_entity(rows: list[Row]) -> None:
    rows[0]["row"] = (rows[0]["row"] or 0) + 1


def exchange_pictures(rows: list[Row]) -> None:
    rows[0]["image"], rows[1]["image"] = rows[1]["image"], rows[0]["image"]


def forge_digest(rows: list[Row]) -> None:
    rows[0]["sha256"] = "0" * 64


def resize_image(rows: list[Row]) -> None:
    rows[0]["width"], rows[0]["height"] = rows[0]["height"], rows[0]["width"]


def swap_image_rows(rows: list[Row]) -> None:
    rows[0], rows[1] = rows[1], rows[0]


def change_licence(rows: list[Row]) -> None:
    rows[0]["licence"] = "CC0"


def add_unused_image(rows: list[Row]) -> None:
    rows.append({**rows[0], "row": len(rows), "image_id": "nobody"})


def lose_picture(rows: list[Row]) -> None:
    rows[0]["image"]["bytes"] = None


def edit_shown_text(rows: list[Row]) -> None:
    rows[0]["text"] = "Which?\nNone."


def spoil_shown_picture(rows: list[Row]) -> None:
    rows[0]["picture"]["bytes"] = b"no picture"


def edit_benchmark(rows: list[Row]) -> None:
    rows[0]["answer"] += " Really."


def shorten_benchmark(rows: list[Row]) -> None:
    rows.pop()


@pytest.mark.parametrize(
    ("table", "split", "change", "rule"),
    [
        ("entities", "train", flip_entity_bit, Rule.AREA),
        ("entities", "train", shrink_part, Rule.FILTER),
        ("entities", "train", drop_entity_part, Rule.PARTS),
        ("entities", "train", rename_entity, Rule.ENTITY),
        ("entities", "train", double_entity, Rule.REPEATED),
        ("entities", "train", hide_parts, Rule.PARTS),
        ("entities", "train", lose_entity_box, Rule.STRUCTURE),
        ("entities", "train", move_entity, Rule.IMAGE),
        ("images", "validation", exchange_pictures, Rule.PIXELS),
        ("images", "validation", forge_digest, Rule.PIXELS),
        ("images", "validation", resize_image, Rule.PIXELS),
        ("images", "validation", lose_picture, Rule.PIXELS),
        ("images", "validation", swap_image_rows, Rule.ORDER),
        ("images", "validation", change_licence, Rule.IMAGE),
        ("images", "validation", add_unused_image, Rule.IMAGE),
        ("preview", "preview", edit_shown_text, Rule.PREVIEW),
        ("preview", "preview", spoil_shown_picture, Rule.PREVIEW),
        ("pairs", "benchmark", edit_benchmark, Rule.BENCHMARK),
        ("pairs", "benchmark", shorten_benchmark, Rule.BENCHMARK),
    ],
)
def test_deep_names_what_was_changed_in_other_tables(
    build: Path, table: str, split: str, change: Callable[[list[Row]], None], rule: Rule
) -> None:
    rewrite(build, change, table, split)
    assert verify(build, "full").listed == []
    found = verify(build, "deep").listed
    assert rule in {problem.rule for problem in found}
    assert all(problem.row for problem in found)


def test_pictures_that_are_only_referred_to_are_read_where_they_lie(
    native_root: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(native_root, tmp_path / "native"))
    out = tmp_path / "build"
    config = BuildConfig(sources=("paco",), root=root, out=out, samples=60, images="reference")
    make_build(config, Silent())
    assert verify(out, "deep").listed == []
    rows = list(iter_rows(out, "images", "train"))
    Path(rows[0]["image"]["path"]).write_bytes(Path(rows[1]["image"]["path"]).read_bytes())
    Path(rows[2]["image"]["path"]).unlink()
    found = verify(out, "deep").listed
    assert {(problem.rule, problem.row.split()[1]) for problem in found} == {
        (Rule.PIXELS, "0"),
        (Rule.PIXELS, "2"),
    }
