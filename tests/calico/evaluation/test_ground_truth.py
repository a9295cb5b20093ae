"""Ground truth from Parquet: right masks in right images, faults as one message."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico.evaluation.ground_truth import read_ground_truth, spread
from calico.predictions.types import Segment
from mixedparts.errors import InputError, UsageError
from mixedparts.storage.build_folder import BuildFolder
from tests.factories.evaluation import HEIGHT, WIDTH, box, row, small_rows, write_build


def test_a_row_becomes_segments_in_the_order_of_seg(tmp_path: Path) -> None:
    objects = [("cat", 0, box(0, 0, 8, 8)), ("dog", 1, box(1, 1, 8, 8))]
    parts = [("leg", 1, box(2, 2, 2, 2)), ("ear", 0, box(3, 3, 2, 2))]
    seg = [("object", 0), ("object", 1), ("part", 1)]  # the leg is not named by the answer
    build = write_build(
        tmp_path / "b", {"test": [row("r", objects, parts, "unique_parts", seg=seg)]}
    )
    (sample,) = read_ground_truth(BuildFolder.open(build), "test").samples
    assert (sample.id, sample.task, sample.source) == ("r", "unique_parts", "paco")
    assert sample.image_ids == ("r-0", "r-1")
    assert sample.sizes == ((HEIGHT, WIDTH), (HEIGHT, WIDTH))
    assert sample.segments == (
        Segment("cat", 0, box(0, 0, 8, 8)),
        Segment("dog", 1, box(1, 1, 8, 8)),
        Segment("ear", 0, box(3, 3, 2, 2)),
        Segment("leg", 1, box(2, 2, 2, 2)),
    )


def test_shards_are_read_in_order_and_a_limit_spreads(tmp_path: Path) -> None:
    rows = [r for start in range(4) for r in small_rows(start=start)]
    build = write_build(tmp_path / "b", {"test": rows}, shards=3)
    whole = read_ground_truth(BuildFolder.open(build), "test")
    assert [sample.id for sample in whole.samples] == [r["id"] for r in rows]
    assert whole.others == frozenset()
    some = read_ground_truth(BuildFolder.open(build), "test", limit=5)
    assert [rows[position]["id"] for position in some.rows] == [s.id for s in some.samples]
    assert len(some.samples) == 5
    assert some.others == {r["id"] for r in rows} - {s.id for s in some.samples}


@given(st.integers(1, 200), st.integers(1, 250))
def test_spread_is_even(total: int, limit: int) -> None:
    positions = spread(total, limit)
    assert len(positions) == len(set(positions)) == min(total, limit)
    assert positions == sorted(positions)
    assert 0 <= positions[0] <= positions[-1] < total
    gaps = {second - first for first, second in pairwise(positions)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_the_build_id_comes_from_the_manifest(tmp_path: Path) -> None:
    build = write_build(tmp_path / "b", {"test": small_rows()})
    assert BuildFolder.open(build).build_id == "b" * 64
    (build / "manifest.json").write_text('{"build_id": ')
    with pytest.raises(InputError, match="no finished build"):
        BuildFolder.open(build)


@pytest.mark.parametrize("split", ["validation", "../pairs/test", "*", "tes"])
def test_a_split_that_is_not_there(tmp_path: Path, split: str) -> None:
    build = write_build(tmp_path / "b", {"test": small_rows(), "train": small_rows()})
    with pytest.raises(UsageError, match="Splits there: train, test"):
        read_ground_truth(BuildFolder.open(build), split)


def test_an_empty_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no samples"):
        read_ground_truth(BuildFolder.open(write_build(tmp_path / "b", {"test": []})), "test")


def other_size(r: dict[str, Any]) -> None:
    r["objects"][0]["mask"]["size"] = [3, 3]


def other_image(r: dict[str, Any]) -> None:
    r["objects"][1]["image"] = 0


def no_such_image(r: dict[str, Any]) -> None:
    r["objects"][0]["image"] = 2


def cut_mask(r: dict[str, Any]) -> None:
    r["objects"][0]["mask"]["counts"] = "5"


def no_such_part(r: dict[str, Any]) -> None:
    r["seg"].append({"kind": "part", "index": 0})


def counted_from_behind(r: dict[str, Any]) -> None:
    r["seg"].append({"kind": "object", "index": -1})


def no_mask(r: dict[str, Any]) -> None:
    r["objects"][0]["mask"] = None


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (other_size, "a mask of 3 x 3"),
        (other_image, "grounds nothing in image 1"),
        (no_such_image, "in image 2"),
        (cut_mask, "do not cover"),
        (no_such_part, "which is not there"),
        (counted_from_behind, "which is not there"),
        (no_mask, "cannot be used"),
    ],
)
def test_a_row_that_contradicts_itself(tmp_path: Path, fault: Any, message: str) -> None:
    rows = small_rows()
    fault(rows[0])
    build = write_build(tmp_path / "b", {"test": rows})
    with pytest.raises(InputError, match=rf"row 0 of test .*{message}"):
        read_ground_truth(BuildFolder.open(build), "test")


def test_an_id_that_stands_twice(tmp_path: Path) -> None:
    build = write_build(tmp_path / "b", {"test": small_rows() + small_rows()})
    with pytest.raises(InputError, match="twice"):
        read_ground_truth(BuildFolder.open(build), "test", limit=2)


def test_a_broken_shard(tmp_path: Path) -> None:
    build = write_build(tmp_path / "b", {"test": small_rows()})
    (shard,) = (build / "pairs").iterdir()
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        read_ground_truth(BuildFolder.open(build), "test")
