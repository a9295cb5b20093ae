"""Annotations decoded together equal those decoded one by one, for sound and for broken records."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from builders.bases.coco_annotations import Columns, annotation_of, annotations_of

IDS = st.integers(-5, 2**70) | st.integers(0, 9).map(float) | st.sampled_from(["7", "a", "7.0"])
ODD = st.none() | st.booleans() | st.just("") | st.just(0.5) | st.just([1])
SEGMENTATION = st.none() | st.just([[1, 2, 3, 4, 5, 6.5]]) | st.just({"size": [1, 2]})


@st.composite
def records(draw: st.DrawFn, sound: bool) -> bytes:
    ids = IDS if sound else IDS | ODD
    record: dict[str, Any] = {key: draw(ids) for key in ("id", "image_id", "category_id")}
    record["segmentation"] = draw(SEGMENTATION)
    if draw(st.booleans()):
        record["owner"] = draw(IDS | ODD)
    if not sound and draw(st.booleans()):
        del record[draw(st.sampled_from(sorted(record)))]
    return json.dumps(record).encode()


def one_by_one(raws: list[bytes]) -> Columns | None:
    columns = Columns([], [], [], [])
    for position, raw in enumerate(raws):
        fault, fields, mask = annotation_of(memoryview(raw), position, "owner")
        if fault is not None:
            return None
        columns.add(fields, mask)
    return columns


def values(columns: Columns | None) -> Any:
    """Return columns in a form that can be compared."""
    return columns and (*columns[:3], list(map(bytes, columns.masks)))


@given(st.lists(records(sound=True), max_size=6))
def test_sound_records_are_decoded_together_as_one_by_one(raws: list[bytes]) -> None:
    together = annotations_of(list(map(memoryview, raws)), "owner")
    assert together is not None
    assert values(together) == values(one_by_one(raws))


@given(st.lists(records(sound=False), max_size=4))
def test_a_broken_record_leaves_all_to_the_decoder_of_single_ones(raws: list[bytes]) -> None:
    together = annotations_of(list(map(memoryview, raws)), "owner")
    assert values(together) == values(one_by_one(raws))


def test_columns_are_cut_into_lots() -> None:
    columns = Columns(["1", "2", "3"], ["a", "b", "c"], [None, 1, "x"], [])
    cut = columns.cut([0, 2, 1])
    assert [lot.ids for lot in cut] == [[], ["1", "2"], ["3"]]
    assert [lot.category_ids for lot in cut] == [[], ["a", "b"], ["c"]]
    assert [lot.links for lot in cut] == [[], [None, 1], ["x"]]
