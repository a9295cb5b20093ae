"""Samples of three images or of two sources: every format holds them or says that it does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mixedparts.errors import UsageError
from mixedparts.interchange.export.request import ExportRequest, Format
from mixedparts.interchange.export.run import export
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from tests.conftest import SOURCES
from tests.oracles.build_tables import iter_rows


def test_three_images_and_two_sources(native_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "three"
    build(
        BuildConfig(SOURCES, root=native_root, out=out, samples=60, images_per_sample=3), Silent()
    )
    export(ExportRequest(out, Format.COCO, tmp_path / "coco", splits=("train",)), Silent())
    content = json.loads((tmp_path / "coco" / "annotations" / "instances_train.json").read_text())
    found = {pair["id"]: pair for pair in content["mixedparts_pairs"]}
    for row in iter_rows(out, "pairs", "train"):
        assert len(found[row["id"]]["images"]) == len(row["images"]) == 3
        assert len(found[row["id"]]["seg"]) == len(row["seg"])
    with pytest.raises(UsageError, match="two images"):
        export(ExportRequest(out, Format.PUBLISHED, tmp_path / "bundle"), Silent())
    assert not (tmp_path / "bundle").exists()

    out = tmp_path / "across"
    build(BuildConfig(SOURCES, root=native_root, out=out, samples=90, cross_source=True), Silent())
    report = export(ExportRequest(out, Format.PUBLISHED, tmp_path / "bundle"), Silent())
    across = sum("+" in row["source"] for split in ("train", "validation", "test")
                 for row in iter_rows(out, "pairs", split))  # fmt: skip
    assert across
    assert report.values["left_out"] == {"images of two sources": across}
    assert f"left out, images of two sources: {across} rows" in report.text
    # A limited export has the entities of its images, of both sources.
    export(ExportRequest(out, Format.COCO, tmp_path / "few", splits=("train",), limit=20), Silent())
    few = json.loads((tmp_path / "few" / "annotations" / "instances_train.json").read_text())
    known = {item["id"] for item in few["annotations"]}
    images = {item["id"] for item in few["images"]}
    assert len({pair["source"] for pair in few["mixedparts_pairs"] if "+" in pair["source"]}) > 0
    for pair in few["mixedparts_pairs"]:
        assert set(pair["images"]) <= images
        assert set(pair["seg"]) <= known
    assert {item["image_id"] for item in few["annotations"]} == images
