"""The Croissant file of a build is valid and reads the build's tables."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import datasets
import pytest

from mixedparts.cards.croissant import CROISSANT, croissant
from mixedparts.storage.schema import CONFIGS
from tests.oracles.build_tables import iter_rows, read_manifest

mlcroissant = pytest.importorskip("mlcroissant")
pytestmark = [  # of its own dependencies
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated"),
    pytest.mark.filterwarnings("ignore:The inplace keyword"),
]


@pytest.fixture(scope="module")
def metadata(built: Path) -> Any:
    logging.getLogger("absl").setLevel(logging.ERROR)
    return mlcroissant.Dataset(str(built / CROISSANT))


def test_mlcroissant_finds_no_error(metadata: Any) -> None:
    issues = metadata.metadata.ctx.issues
    assert issues.errors == set()
    told = " ".join(issues.warnings)
    assert not told or "datePublished" in told  # a build has no date: same inputs, same bytes
    assert len(issues.warnings) <= 1
    assert {record_set.id for record_set in metadata.metadata.record_sets} == {
        *CONFIGS,
        "benchmark",
    }


def plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def test_records_are_the_rows_of_the_tables(metadata: Any, built: Path) -> None:
    rows = {row["id"]: row for s in ("train", "validation", "test") for row in
            iter_rows(built, "pairs", s)}  # fmt: skip
    seen = 0
    for record in metadata.records("pairs"):
        row = rows[plain(record["pairs/id"])]
        assert plain(record["pairs/answer"]) == row["answer"]
        masks = [plain(item["pairs/parts/mask.counts"]) for item in record["pairs/parts"]]
        assert masks == [part["mask"]["counts"] for part in row["parts"]]
        boxes = [item["pairs/objects/bbox"] for item in record["pairs/objects"]]
        assert boxes == [item["bbox"] for item in row["objects"]]
        seen += 1
    assert seen == len(rows)


def test_pictures_come_as_pictures(metadata: Any, built: Path) -> None:
    record = next(iter(metadata.records("images")))
    row = next(iter_rows(built, "images"))
    assert plain(record["images/image_id"]) == row["image_id"]
    assert record["images/image"].size == (row["width"], row["height"])


def test_files_have_their_digests(built: Path) -> None:
    manifest = read_manifest(built)
    assert manifest is not None
    described = {f["@id"]: f.get("sha256") for f in croissant(manifest)["distribution"]}
    for shard in manifest["shards"]:
        assert described[shard["path"]] == shard["sha256"]


def test_datasets_loads_the_build_with_the_file_beside_it(built: Path) -> None:
    assert (built / CROISSANT).is_file()
    loaded = datasets.load_dataset(str(built), "entities", split="test", streaming=True)
    assert next(iter(loaded))["split"] == "test"
