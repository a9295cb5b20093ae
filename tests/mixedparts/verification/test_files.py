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
from mixedparts.storage.shards import sha256_of
from mixedparts.verification.findings import Rule
from mixedparts.verification.verify import verify
from tests.factories.forger import Row, stamp


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
    path = build / "preview" / "preview-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path), path)
    stamp(build)
    path.write_bytes(b"PAR1" + b"\0" * (path.stat().st_size - 8) + b"PAR1")
    digest = sha256_of(path)
    for file in [build / "manifest.json", *(build / "_build" / "commits").glob("preview*.json")]:
        value = json.loads(file.read_text())
        for item in value.get("shards", value.get("files")):
            if item["path"].startswith("preview/"):
                item["sha256"] = digest
        file.write_text(json.dumps(value))


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
    (forge_rows, "quick", Rule.COMMIT, "preview/preview-00000-of-00001.parquet"),
    (remove_card, "quick", Rule.FILE, "README.md"),
    (flip_byte, "full", Rule.DIGEST, "images/test-00000-of-00001.parquet"),
    (drop_column, "full", Rule.COLUMNS, "pairs/train-00000-of-00001.parquet"),
    (write_no_parquet, "full", Rule.COLUMNS, "preview/preview-00000-of-00001.parquet"),
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


def test_an_unfinished_build_is_an_input_error(build: Path) -> None:
    (build / "manifest.json").unlink()
    with pytest.raises(InputError, match="no finished build"):
        verify(build)
