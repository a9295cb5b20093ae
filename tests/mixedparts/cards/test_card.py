"""The card of a build: its YAML fits the tables, its numbers are the manifest's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml

from mixedparts.cards.card import card
from mixedparts.storage.schema import CONFIGS
from tests.conftest import SOURCES
from tests.oracles.build_tables import read_manifest


@pytest.fixture(scope="module")
def manifest(built: Path) -> dict[str, Any]:
    found = read_manifest(built)
    assert found is not None
    return found


def test_yaml_names_tables_and_size(built: Path) -> None:
    text = (built / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n", 2)[1])
    assert {info["config_name"] for info in front["dataset_info"]} == set(CONFIGS)
    assert [c["config_name"] for c in front["configs"] if c.get("default")] == ["pairs"]
    assert front["size_categories"] == ["n<1K"]
    for config in front["configs"]:
        for entry in config["data_files"]:
            assert list(built.glob(entry["path"]))


def test_sections_tell_counts_licences_limits_and_citations(
    manifest: dict[str, Any], built: Path
) -> None:
    text = (built / "README.md").read_text()
    assert text == card(manifest)
    for source in SOURCES:
        facts = manifest["sources"][source]
        for key in ("title", "homepage", "licence", "image_licence", "citation"):
            assert facts[key] in text, (source, key)
        for split, counts in manifest["counts"][source].items():
            row = f"| {source} | {split} | {counts['images']} | {counts['entities']} |"
            assert f"{row} {counts['common_object']} |" in text
    for words in ("## Limits", "## Citation", "2412.19331", "not a statement about the world",
                  "not the bundle"):  # fmt: skip
        assert words in text
    assert "Synthetic data" not in text


def test_what_is_synthetic_rejected_or_large_is_said(manifest: dict[str, Any]) -> None:
    sources = {name: {**item, "synthetic": True} for name, item in manifest["sources"].items()}
    shards = [
        {**shard, "rows": 2_400_000} if shard["path"].startswith("pairs/train") else shard
        for shard in manifest["shards"]
    ]
    changed = {"synthetic": True, "sources": sources, "rejects": {"empty_mask": 3}}
    text = card({**manifest, **changed, "shards": shards})
    assert "# MixedParts (synthetic)" in text
    assert "**Synthetic data.**" in text
    assert "| `empty_mask` | 3 |" in text
    assert yaml.safe_load(text.split("---\n", 2)[1])["size_categories"] == ["1M<n<10M"]


def test_the_card_carries_the_schema_and_the_counts(built: Path) -> None:
    manifest = read_manifest(built)
    assert manifest is not None
    assert (built / "README.md").read_text() == card(manifest)
    info = datasets.load_dataset_builder(str(built)).info
    assert info.features == datasets.load_dataset(str(built), split="train").features
