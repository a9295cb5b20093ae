"""The benchmark's sources, peer builder and report do what the comparison rests on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks import naive_builder, paco_shaped
from benchmarks.process_tree import CommandFailed, measure
from benchmarks.report import write_section
from benchmarks.same_rows import check_entities, check_rows
from builders.paco import PacoSource
from mixedparts.records import ImageRecord

IMAGES = 40


@pytest.fixture(scope="module")
def shaped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shaped")
    paco_shaped.write(out, IMAGES, seed=3)
    return out


@pytest.fixture(scope="module")
def naive(shaped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("naive")
    assert naive_builder.build(shaped, out, samples=30, seed=0, embed=True) == 30
    return out / "pairs" / "train-00000-of-00001.parquet"


def test_shaped_sources_are_the_same_bytes_again(shaped: Path, tmp_path: Path) -> None:
    paco_shaped.write(tmp_path, IMAGES, seed=3)
    files = sorted(p.relative_to(shaped) for p in shaped.rglob("*") if p.is_file())
    assert len(files) == IMAGES + 1
    assert all((shaped / f).read_bytes() == (tmp_path / f).read_bytes() for f in files)


def test_shaped_file_has_all_categories_and_linked_parts(shaped: Path) -> None:
    body = json.loads((shaped / paco_shaped.ANNOTATIONS).read_text())
    kind = {c["id"]: c["supercategory"] for c in body["categories"]}
    assert len(kind) == 531
    by_id = {a["id"]: a for a in body["annotations"]}
    parts = [a for a in by_id.values() if kind[a["category_id"]] == "PART"]
    assert parts
    for part in parts:
        owner = by_id[part["obj_ann_id"]]
        assert kind[owner["category_id"]] == "OBJECT"
        assert owner["image_id"] == part["image_id"]
        assert isinstance(part["segmentation"], dict)
        assert isinstance(owner["segmentation"], list)


def test_the_reader_takes_the_shaped_file_whole(shaped: Path) -> None:
    source = PacoSource()
    found = [item for shard in source.plan(shaped, "train", 16, "") for item in source.read(shard)]
    records = [item for item in found if isinstance(item, ImageRecord)]
    assert len(records) == len(found) == IMAGES


def test_naive_rows_are_grounded(naive: Path) -> None:
    rows = pq.read_table(naive).to_pylist()
    assert {row["task"] for row in rows} == set(naive_builder.TASKS)
    for row in rows:
        assert row["answer"].count("[SEG]") == len(row["seg"])
        kinds = {"common_parts": {"common"}, "unique_parts": {"unique"}, "common_object": set()}
        assert {part["kind"] for part in row["parts"]} == kinds[row["task"]]
        assert row["images"][0]["image_id"] != row["images"][1]["image_id"]


def test_comparison_sees_a_missing_row_and_a_changed_mask(naive: Path, tmp_path: Path) -> None:
    check_rows([naive], [naive], 30)
    check_entities([naive], [naive])
    table = pq.read_table(naive)
    rows = table.to_pylist()
    for row in rows:
        for item in row["objects"]:
            item["area"] += 1
    changed = tmp_path / "changed.parquet"
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), changed)
    with pytest.raises(CommandFailed, match="masks differ"):
        check_entities([naive], [changed])
    pq.write_table(table.slice(1), changed)
    with pytest.raises(CommandFailed, match="29 rows, not 30"):
        check_rows([naive], [changed], 30)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_children_is_counted(tmp_path: Path) -> None:
    hold = "import time; block = b'x' * 60_000_000; time.sleep(1)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    found = measure([sys.executable, "-c", code], tmp_path / "log")
    assert found.tree > 60
    assert found.largest > 60


def test_a_failed_command_shows_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="no such thing"):
        measure([sys.executable, "-c", "raise SystemExit('no such thing')"], tmp_path / "log")


def test_a_section_is_replaced_and_the_rest_kept(tmp_path: Path) -> None:
    document = tmp_path / "docs" / "b.md"
    write_section(document, "speed", "old numbers")
    document.write_text(document.read_text() + "\n## Another\n")
    write_section(document, "speed", "new numbers")
    text = document.read_text()
    assert "new numbers" in text
    assert "old numbers" not in text
    assert text.startswith("# Benchmarks")
    assert text.rstrip().endswith("## Another")
