"""Whatever is changed in files and records of a build, verification names it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mixedparts.errors import InputError
from mixedparts.verification.findings import Rule
from mixedparts.verification.verify import verify
from tests.factories.forger import Row, damage, record_digest, stamp

PREVIEW = "preview/preview-00000-of-00001.parquet"


def edit_manifest(build: Path, change: Callable[[Row], None]) -> None:
    value = json.loads((build / "manifest.json").read_text())
    change(value)
    (build / "manifest.json").write_text(json.dumps(value))


def cut_file(build: Path) -> None:
    path = build / "pairs" / "train-00000-of-00001.parquet"
    os.truncate(path, path.stat().st_size // 2)


def remove_file(build: Path) -> None:
    (build / "images" / "test-00000-of-00001.parquet").unlink()


def add_file(build: Path) -> None:
    shutil.copy(build / "rejects.parquet", build / "pairs" / "train-00001-of-00001.parquet")


def flip_byte(build: Path) -> None:
    path = build / "images" / "test-00000-of-00001.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def drop_column(build: Path) -> None:
    path = build / "pairs" / "train-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["question"]), path)
    manifest = json.loads((build / "manifest.json").read_text())
    stamp(build)
    assert manifest["counts"] == json.loads((build / "manifest.json").read_text())["counts"]


def write_no_parquet(build: Path) -> None:
    path = build / PREVIEW
    path.write_bytes(b"PAR1" + b"\0" * (path.stat().st_size - 8) + b"PAR1")
    record_digest(build, PREVIEW)


def damage_counted_column(build: Path) -> None:
    damage(build, "entities/test-00000-of-00001.parquet", "source")


def count_wrong(build: Path) -> None:
    edit_manifest(build, lambda m: m["counts"]["paco"]["train"].update(common_object=7))


def count_images_wrong(build: Path) -> None:
    edit_manifest(build, lambda m: m["counts"]["paco"]["train"].update(images=7))


def count_rejects_wrong(build: Path) -> None:
    edit_manifest(build, lambda m: m["rejects"].update(empty_mask=7))


def forge_rows(build: Path) -> None:
    def edit(manifest: Row) -> None:
        shard = next(s for s in manifest["shards"] if s["path"].startswith("preview/"))
        shard["rows"] += 7

    edit_manifest(build, edit)


def forge_configuration(build: Path) -> None:
    edit_manifest(build, lambda m: m["configuration"].update(min_part_area=0.5))


def forge_build_id(build: Path) -> None:
    edit_manifest(build, lambda m: m.update(build_id="f" * 32))


def forge_plan(build: Path) -> None:
    path = build / "_build" / "plan.json"
    value = json.loads(path.read_text())
    value["identity"]["configuration"]["seed"] = 99
    path.write_text(json.dumps(value))


def spoil_manifest(build: Path) -> None:
    edit_manifest(build, lambda m: m.update(counts=["many"]))


def leave_the_folder(build: Path) -> None:
    edit_manifest(build, lambda m: m["shards"][0].update(path="../pairs.parquet"))


def later_schema(build: Path) -> None:
    edit_manifest(build, lambda m: m.update(schema_version=99))


def remove_commit(build: Path) -> None:
    next((build / "_build" / "commits").glob("pairs-train-*.json")).unlink()


def spoil_commit(build: Path) -> None:
    next((build / "_build" / "commits").glob("pairs-train-*.json")).write_text("{")


def remove_card(build: Path) -> None:
    (build / "README.md").unlink()


def edit_card(build: Path) -> None:
    path = build / "README.md"
    path.write_text(path.read_text().replace("pairs/train-*", "pairs/test-*"))


def edit_croissant(build: Path) -> None:
    path = build / "croissant.json"
    path.write_text(path.read_text().replace('"cr:FileSet"', '"cr:FileObject"', 1))


def spoil_croissant(build: Path) -> None:
    (build / "croissant.json").write_text("[")


FILE_CHANGES = [
    (cut_file, "quick", Rule.FILE, "pairs/train-00000-of-00001.parquet"),
    (remove_file, "quick", Rule.FILE, "images/test-00000-of-00001.parquet"),
    (add_file, "quick", Rule.FILE, "pairs/train-00001-of-00001.parquet"),
    (forge_configuration, "quick", Rule.PLAN, "manifest.json"),
    (forge_build_id, "quick", Rule.PLAN, "manifest.json"),
    (forge_plan, "quick", Rule.PLAN, "_build/plan.json"),
    (spoil_manifest, "quick", Rule.MANIFEST, "manifest.json"),
    (leave_the_folder, "quick", Rule.MANIFEST, "manifest.json"),
    (later_schema, "quick", Rule.MANIFEST, "manifest.json"),
    (remove_commit, "quick", Rule.COMMIT, "pairs/train-00000-of-00001.parquet"),
    (spoil_commit, "quick", Rule.COMMIT, "_build/commits/pairs-train-00000.json"),
    (forge_rows, "quick", Rule.COMMIT, PREVIEW),
    (remove_card, "quick", Rule.FILE, "README.md"),
    (flip_byte, "full", Rule.DIGEST, "images/test-00000-of-00001.parquet"),
    (drop_column, "full", Rule.COLUMNS, "pairs/train-00000-of-00001.parquet"),
    (write_no_parquet, "full", Rule.COLUMNS, PREVIEW),
    (damage_counted_column, "full", Rule.COLUMNS, "entities/test-00000-of-00001.parquet"),
    (count_wrong, "full", Rule.COUNTS, "manifest.json"),
    (count_images_wrong, "full", Rule.COUNTS, "manifest.json"),
    (count_rejects_wrong, "full", Rule.COUNTS, "manifest.json"),
    (edit_card, "full", Rule.CARD, "README.md"),
    (edit_croissant, "full", Rule.METADATA, "croissant.json"),
    (spoil_croissant, "full", Rule.METADATA, "croissant.json"),
]


@pytest.mark.parametrize(("change", "level", "rule", "file"), FILE_CHANGES)
def test_quick_and_full_name_the_file_that_was_changed(
    build: Path, change: Callable[[Path], None], level: str, rule: Rule, file: str
) -> None:
    change(build)
    if level == "full":
        assert verify(build, "quick").listed == []
    found = verify(build, level).listed
    assert (rule, file) in {(problem.rule, problem.file) for problem in found}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("shard", "column"),
    [
        ("pairs/train-00000-of-00001.parquet", "question"),
        ("pairs/train-00000-of-00001.parquet", "objects.list.element.mask.counts"),
        ("pairs/benchmark-00000-of-00001.parquet", "answer"),
        ("images/train-00000-of-00001.parquet", "image.bytes"),
        ("images/train-00000-of-00001.parquet", "width"),
        ("entities/test-00000-of-00001.parquet", "parts.list.element.area"),
        (PREVIEW, "text"),
    ],
)
def test_deep_names_a_file_that_is_damaged_in_the_middle(
    build: Path, shard: str, column: str, workers: int
) -> None:
    damage(build, shard, column)
    assert verify(build, "full", workers).listed == []
    listed = verify(build, "deep", workers).listed
    assert [(problem.rule, problem.file) for problem in listed] == [(Rule.COLUMNS, shard)]
    assert listed[0].text.startswith("cannot be read: ")


def test_deep_names_every_damaged_file_once(build: Path) -> None:
    images, entities = (f"{t}/train-00000-of-00001.parquet" for t in ("images", "entities"))
    damage(build, images, "sha256")
    damage(build, entities, "area")
    listed = verify(build, "deep").listed
    # Rows of `pairs` need the entities, so two tasks meet the second file.
    assert [problem.file for problem in listed] == [images, entities]


def test_an_unfinished_build_is_an_input_error(build: Path) -> None:
    (build / "manifest.json").unlink()
    with pytest.raises(InputError, match="no finished build"):
        verify(build)
