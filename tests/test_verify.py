"""Whatever is changed in a build, verification names it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixedparts import masks
from mixedparts.errors import InputError
from mixedparts.masks import Rle
from mixedparts.parquet import write_parquet
from mixedparts.schema import PAIRS
from mixedparts.shards import sha256_of
from mixedparts.verify import verify

Row = dict[str, Any]


@pytest.fixture
def build(built: Path, tmp_path: Path) -> Path:
    """A copy of a build that a test may spoil."""
    return Path(shutil.copytree(built, tmp_path / "build"))


def rewrite(build: Path, change: Callable[[list[Row]], None], split: str = "train") -> None:
    """Change rows of a shard and make sizes, digests and counts fit, as a forger would."""
    path = build / "pairs" / f"{split}-00000-of-00001.parquet"
    rows = pq.read_table(path).to_pylist()
    change(rows)
    write_parquet(path, PAIRS, [pa.RecordBatch.from_pylist(rows, schema=PAIRS)])
    manifest = json.loads((build / "manifest.json").read_text())
    for shard in manifest["shards"]:
        if shard["path"] == f"pairs/{path.name}":
            shard |= {"rows": len(rows), "bytes": path.stat().st_size, "sha256": sha256_of(path)}
    (build / "manifest.json").write_text(json.dumps(manifest))


def first(rows: list[Row], task: str) -> Row:
    return next(row for row in rows if row["task"] == task)


def flip_mask(rows: list[Row]) -> None:
    item = rows[0]["objects"][0]
    height, width = item["mask"]["size"]
    dense = masks.decode(Rle(height, width, item["mask"]["counts"].encode()))
    item["mask"]["counts"] = masks.from_dense(dense[::-1, ::-1] ^ 1).counts.decode()


def cut_mask(rows: list[Row]) -> None:
    mask = rows[0]["objects"][1]["mask"]
    mask["counts"] = mask["counts"][:-1]


def wrong_area(rows: list[Row]) -> None:
    rows[0]["objects"][0]["area"] += 1


def wrong_box(rows: list[Row]) -> None:
    rows[0]["objects"][0]["bbox"][2] += 1.0


def drop_part(rows: list[Row]) -> None:
    first(rows, "common_parts")["parts"].pop()


def rename_part(rows: list[Row]) -> None:
    first(rows, "unique_parts")["parts"][0]["name"] = "antenna"


def edit_answer(rows: list[Row]) -> None:
    row = first(rows, "common_object")
    row["answer"] = row["answer"].replace("<p> a", "<p> an odd")


def swap_tags(rows: list[Row]) -> None:
    row = first(rows, "common_object")
    answer = row["answer"].replace("(IMAGE1)", "(IMAGE0)").replace("(IMAGE2)", "(IMAGE1)")
    row["answer"] = answer.replace("(IMAGE0)", "(IMAGE2)")


def swap_seg(rows: list[Row]) -> None:
    rows[0]["seg"][0], rows[0]["seg"][1] = rows[0]["seg"][1], rows[0]["seg"][0]


def wrong_image_row(rows: list[Row]) -> None:
    refs = rows[0]["images"]
    refs[0]["row"], refs[1]["row"] = refs[1]["row"], refs[0]["row"]


def double_id(rows: list[Row]) -> None:
    rows[1]["id"] = rows[0]["id"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (flip_mask, "area"),
        (cut_mask, "mask does not decode"),
        (wrong_area, "area"),
        (wrong_box, "box"),
        (drop_part, "not in both images"),
        (rename_part, "the answer says"),
        (edit_answer, "the answer says"),
        (swap_tags, "the answer says"),
        (swap_seg, "the answer says"),
        (wrong_image_row, "is not row"),
        (double_id, "the id occurs twice"),
    ],
)
def test_deep_names_what_a_forger_changed(
    build: Path, change: Callable[[list[Row]], None], words: str
) -> None:
    assert verify(build, "deep") == []
    rewrite(build, change)
    assert verify(build, "full") == []
    problems = verify(build, "deep")
    assert problems
    assert any(words in problem for problem in problems)
    assert all(problem.startswith("train ") for problem in problems)


def test_full_counts_rows(build: Path) -> None:
    rewrite(build, lambda rows: rows.pop())
    assert any("recorded" in problem for problem in verify(build, "full"))


def test_full_sees_one_changed_byte(build: Path) -> None:
    path = build / "images" / "test-00000-of-00001.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert verify(build, "quick") == []
    assert verify(build, "full") == [f"images/{path.name} does not match its recorded sha256"]


def test_quick_sees_missing_longer_and_foreign_files(build: Path) -> None:
    (build / "pairs" / "test-00000-of-00001.parquet").unlink()
    with (build / "images" / "train-00000-of-00001.parquet").open("ab") as handle:
        handle.write(b"x")
    shutil.copy(
        build / "pairs" / "train-00000-of-00001.parquet",
        build / "pairs" / "train-00001-of-00001.parquet",
    )
    problems = "\n".join(verify(build, "quick"))
    for words in ("test-00000-of-00001.parquet is missing", "recorded", "not part of the build"):
        assert words in problems


def test_an_unfinished_build_is_an_input_error(build: Path) -> None:
    (build / "manifest.json").unlink()
    with pytest.raises(InputError, match="no finished build"):
        verify(build)
