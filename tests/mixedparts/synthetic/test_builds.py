"""Builds of synthetic sources, against an independent computation."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from tests.conftest import SOURCES
from tests.oracles import native_files as oracle
from tests.oracles.build_tables import all_rows


def test_samples_of_the_sample_sources_equal_an_independent_computation(
    synthetic_root: Path, synthetic_build: Path
) -> None:
    root, out = synthetic_root, synthetic_build
    manifest = json.loads((out / "manifest.json").read_text())
    images = oracle.native_images(root)
    compared = Counter[str]()
    for row in all_rows(out):
        compared[row["source"]] += oracle.check_row(row, images)
    assert min(compared[source] for source in SOURCES) > 50
    assert manifest["rejects"] == {}
    assert manifest["synthetic"] is True
    assert "synthetic" in (out / "README.md").read_text()
