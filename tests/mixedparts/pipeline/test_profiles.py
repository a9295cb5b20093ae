"""A build in the profile `published`: its names, and where the profile is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mixedparts.errors import UsageError
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.plan import make_plan
from mixedparts.progress import Silent
from mixedparts.sources.manifests import load_manifest
from tests.conftest import SOURCES
from tests.oracles.build_tables import iter_rows


def test_names_of_the_rows_are_those_of_the_profile(published: Path, built: Path) -> None:
    for folder, profile in ((published, "published"), (built, "full")):
        seen = set()
        for row in iter_rows(folder, "pairs", "train"):
            known = load_manifest(row["source"], profile)
            assert {item["category"] for item in row["objects"]} <= set(known.by_name)
            parts = {part["name"] for part in row["parts"]}
            assert parts <= set(known.part_names())
            if row["source"] == "partimagenet":
                seen |= parts
        assert ("side mirror" in seen) == (profile == "published")
        assert ("mirror" in seen) == (profile == "full")


def test_manifest_and_card_tell_the_profile(published: Path, built: Path) -> None:
    manifest = json.loads((published / "manifest.json").read_text())
    assert manifest["configuration"]["profile"] == manifest["profile"]["name"] == "published"
    assert len(manifest["sources"]["partimagenet"]["left_out"]) == 11
    renamed = {(r["source"], r["native"], r["name"]) for r in manifest["renames"]}
    assert ("ade20k", "column", "pipe") in renamed
    assert not any(source == "paco" for source, _, _ in renamed)
    card = (published / "README.md").read_text()
    assert "Profile `published`" in card
    assert "left out (inferred): partimagenet Boat, Aeroplane, Bottle" in card
    assert "it is not public" in card
    other = (built / "README.md").read_text()
    assert "Profile `full`" in other
    assert "not public" not in other


def test_the_profile_is_part_of_the_build_id(published: Path, native_root: Path) -> None:
    config = BuildConfig(sources=SOURCES, root=native_root, out=published, samples=300)
    told = json.loads((published / "manifest.json").read_text())
    assert make_plan(config).build_id != told["build_id"]
    with pytest.raises(UsageError, match=r'configuration\.profile: "published" -> "full"'):
        build(config, Silent())


def test_profiles_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no profile '"):
        BuildConfig(sources=("paco",), profile="publisht")
    with pytest.raises(UsageError, match="does not cover source 'partinventory'"):
        BuildConfig(sources=("partinventory",), profile="published")
