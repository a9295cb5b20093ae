"""Rows as a FiftyOne dataset: groups, fields, and masks to the pixel."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

import mixedparts
from mixedparts.errors import EnvironmentFault, InputError, UsageError
from mixedparts.interchange import to_fiftyone
from mixedparts.interchange.converters.fiftyone_dataset import relative_span
from tests.factories.fake_fiftyone import fake_fiftyone
from tests.factories.forger import rewrite
from tests.oracles.build_tables import iter_rows


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = fake_fiftyone()
    monkeypatch.setitem(sys.modules, "fiftyone", module)
    return module


def expected_masks(row: dict[str, Any], image: int, key: str) -> list[tuple[Any, ...]]:
    """Name, kind and packed mask of the regions of an image, decoded by pycocotools."""
    name = "category" if key == "objects" else "name"
    return [
        (item[name], item.get("kind", "object"), coco_mask.decode(item["mask"]).tobytes())
        for item in row[key]
        if item["image"] == image
    ]


def test_a_build(built: Path, library: ModuleType, tmp_path: Path) -> None:
    dataset: Any = to_fiftyone(built, "mine", tmp_path / "media", limit=15)
    assert (dataset.name, dataset.default_group_slice) == ("mine", "image1")
    rows = [
        row
        for split in ("train", "validation", "test")
        for row in list(iter_rows(built, "pairs", split))[:15]
    ]
    stored = {
        (split, one["row"]): one["image"]["bytes"]
        for split in ("train", "validation", "test")
        for one in iter_rows(built, "images", split)
    }
    samples = iter(dataset.samples)
    compared = 0
    for row in rows:
        groups = set()
        for number, ref in enumerate(row["images"]):
            sample = next(samples)
            groups.add(sample.group.id)
            assert sample.group.name == f"image{number + 1}"
            assert (sample.row, sample.question, sample.answer, sample.tags) == (
                row["id"], row["question"], row["answer"], [row["split"]],
            )  # fmt: skip
            assert Path(sample.filepath).read_bytes() == stored[row["split"], ref["row"]]
            width, height = sample.metadata.width, sample.metadata.height
            for key in ("objects", "parts"):
                found = getattr(sample, key).detections
                assert [
                    (one.label, one.kind, one.pasted(width, height).astype(np.uint8).tobytes())
                    for one in found
                ] == expected_masks(row, number, key)
                compared += len(found)
            categories = {one.category for one in sample.parts.detections}
            assert categories <= {one.label for one in sample.objects.detections}
        assert len(groups) == 1
    assert next(samples, None) is None
    assert compared > 100
    assert not list((tmp_path / "media").glob(".*"))


def test_loaded_rows(built: Path, library: ModuleType, tmp_path: Path) -> None:
    rows = mixedparts.load_dataset(built, split="test").select(range(3))
    dataset: Any = to_fiftyone(rows, "rows", tmp_path)
    assert len(dataset.samples) == sum(len(row["images"]) for row in rows)
    with Image.open(dataset.samples[0].filepath) as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(rows[0]["images"][0]["pixels"]))
    bare = mixedparts.load_dataset(built, split="test", pixels=False).select(range(1))
    with pytest.raises(InputError, match="has no pixels"):
        to_fiftyone(bare, "bare", tmp_path)


@given(st.data())
def test_shares_give_the_same_pixels(data: st.DataObject) -> None:
    side = data.draw(st.integers(1, 5_000))
    start = data.draw(st.integers(0, side - 1))
    length = data.draw(st.integers(0, side - start))
    first, share = relative_span(start, length, side)
    assert (int(side * first), int(side * (first + share))) == (start, start + length)
    assert (round(side * first), round(side * (first + share))) == (start, start + length)
    assert 0 <= first <= first + share <= 1


def test_a_quotient_alone_would_not_do() -> None:
    assert int(49 * (1 / 49)) == 0
    assert int(49 * relative_span(1, 5, 49)[0]) == 1


class TestFaults:
    def test_a_name_that_is_taken(self, built: Path, library: ModuleType, tmp_path: Path) -> None:
        to_fiftyone(built, "mine", tmp_path, limit=1)
        with pytest.raises(UsageError, match="FiftyOne has a dataset 'mine'"):
            to_fiftyone(built, "mine", tmp_path, limit=1)

    def test_a_fault_leaves_no_dataset(
        self, built: Path, library: ModuleType, tmp_path: Path
    ) -> None:
        rows = [mixedparts.load_dataset(built, split="test")[n] for n in range(2)]
        broken = {**rows[1], "objects": [{**rows[1]["objects"][0], "image": 9}]}
        with pytest.raises(InputError, match="does not fit an image"):
            to_fiftyone([rows[0], broken], "mine", tmp_path)
        dataset: Any = to_fiftyone(rows[0], "mine", tmp_path)  # one row, and the name is free
        assert [sample.row for sample in dataset.samples] == [rows[0]["id"]] * 2

    def test_a_build_without_pixels(self, built: Path, library: ModuleType, tmp_path: Path) -> None:
        copy = Path(shutil.copytree(built, tmp_path / "copy"))

        def without(rows: list[dict[str, Any]]) -> None:
            for row in rows:
                row["image"] = None

        rewrite(copy, without, "images", "test")
        with pytest.raises(InputError, match="has no pixels"):
            to_fiftyone(copy, "mine", tmp_path / "media", splits=["test"])
        with pytest.raises(UsageError, match="limit must be at least 1, not 0"):
            to_fiftyone(copy, "mine", tmp_path / "media", limit=0)

    def test_no_database(self, built: Path, library: Any, tmp_path: Path) -> None:
        def dataset_exists(name: str) -> bool:
            raise RuntimeError("MongoDB could not be\n installed")

        library.dataset_exists = dataset_exists
        with pytest.raises(EnvironmentFault, match="MongoDB could not be installed") as raised:
            to_fiftyone(built, "mine", tmp_path)
        assert "FIFTYONE_DATABASE_URI" in str(raised.value)

    def test_without_the_extra(
        self, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "fiftyone", None)
        with pytest.raises(EnvironmentFault, match="to_fiftyone needs the package fiftyone") as one:
            to_fiftyone(built, "mine", tmp_path)
        assert "pip install 'mixedparts[fiftyone]'" in str(one.value)

    def test_other_splits_and_folders(
        self, built: Path, library: ModuleType, tmp_path: Path
    ) -> None:
        with pytest.raises(UsageError, match="Did you mean 'validation'"):
            to_fiftyone(built, "mine", tmp_path, splits=["validtion"])
        with pytest.raises(UsageError, match="splits are those of a build"):
            to_fiftyone([], "mine", tmp_path, splits=["train"])
        with pytest.raises(InputError, match="no finished build"):
            to_fiftyone(tmp_path, "mine", tmp_path)
