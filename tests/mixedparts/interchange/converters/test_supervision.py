"""Rows as detections of supervision: masks, names and ids."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import supervision as sv
from pycocotools import mask as coco_mask

from mixedparts.errors import EnvironmentFault, InputError, UsageError
from mixedparts.interchange import class_names, to_supervision
from tests.oracles.build_tables import iter_rows


@pytest.fixture(scope="module")
def rows(built: Path) -> list[dict[str, Any]]:
    return list(iter_rows(built, "pairs", "test"))[:40]


def test_masks_boxes_and_names(rows: list[dict[str, Any]]) -> None:
    classes = class_names(rows)
    assert classes == sorted(set(classes))
    for row in rows:
        found = to_supervision(row, classes=classes)
        assert len(found) == len(row["images"])
        for number, one in enumerate(found):
            own = [
                (item.get("category", item.get("name")), item.get("kind", "object"), item["mask"])
                for item in [*row["objects"], *row["parts"]]
                if item["image"] == number
            ]
            assert one.mask is not None
            assert one.mask.dtype == bool
            ref = row["images"][number]
            assert one.mask.shape == (len(own), ref["height"], ref["width"])
            for at, (name, kind, mask) in enumerate(own):
                np.testing.assert_array_equal(one.mask[at], coco_mask.decode(mask).astype(bool))
                x, y, width, height = coco_mask.toBbox(mask)
                assert one.xyxy[at].tolist() == [x, y, x + width, y + height]
                assert (one.data["class_name"][at], one.data["kind"][at]) == (name, kind)
                assert classes[one.class_id[at]] == name  # type: ignore[index]
            assert set(one.data["category"]) <= {item["category"] for item in row["objects"]}
            assert one.metadata["row"] == row["id"]
            assert one.metadata["image"] == number


def test_supervision_filters_and_draws_them(rows: list[dict[str, Any]]) -> None:
    row = next(row for row in rows if row["parts"])
    (first,) = to_supervision(row, [row["parts"][0]["image"]])
    parts = first[first.data["kind"] != "object"]
    assert len(parts) == sum(p["image"] == row["parts"][0]["image"] for p in row["parts"])
    ref = row["images"][row["parts"][0]["image"]]
    canvas = np.zeros((ref["height"], ref["width"], 3), np.uint8)
    drawn = sv.MaskAnnotator(opacity=1.0).annotate(canvas, parts)
    assert parts.mask is not None
    np.testing.assert_array_equal(drawn.any(axis=2), parts.mask.any(axis=0))


class TestFaults:
    def test_a_row_of_something_else(self, rows: list[dict[str, Any]]) -> None:
        with pytest.raises(InputError, match="a row lacks 'objects'"):
            to_supervision({"id": "1"})

    @pytest.mark.parametrize("counts", ["", "?!", "11"])
    def test_a_mask_that_is_none(self, rows: list[dict[str, Any]], counts: str) -> None:
        row = copy.deepcopy(rows[0])
        row["objects"][0]["mask"]["counts"] = counts
        with pytest.raises(InputError, match=f"row {row['id']} has an invalid mask"):
            to_supervision(row)

    def test_a_mask_of_another_size(self, rows: list[dict[str, Any]]) -> None:
        row = copy.deepcopy(rows[0])
        row["images"][0]["height"] += 1
        with pytest.raises(InputError, match="does not fit an image of the row"):
            to_supervision(row)

    def test_images_and_names_that_are_not_there(self, rows: list[dict[str, Any]]) -> None:
        with pytest.raises(UsageError, match="has no image 2, it has 2"):
            to_supervision(rows[0], [2])
        with pytest.raises(UsageError, match="is not in `classes`"):
            to_supervision(rows[0], classes=["nothing"])

    def test_without_the_extra(
        self, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "supervision", None)
        with pytest.raises(EnvironmentFault, match="to_supervision needs the package") as raised:
            to_supervision(rows[0])
        assert "pip install 'mixedparts[supervision]'" in str(raised.value)
