"""Segmentations against raw pycocotools; identifiers; file names."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from builders.formats.identifiers import IdCodes, id_text, whole_number
from builders.formats.paths import is_resource_fork, safe_name
from builders.formats.segmentation import Refusal, read_segmentations
from mixedparts import masks

WIDTH, HEIGHT = 31, 23
COORDINATE = st.integers(-20, 50) | st.floats(-20, 50).map(lambda value: round(value, 2))
POLYGONS = st.lists(st.lists(COORDINATE, min_size=6, max_size=14), min_size=1, max_size=4)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from([6, 31, 23, 31 * 23, 1e5, 1e6, "0", "a"])
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=8)
        | st.dictionaries(st.sampled_from(["size", "counts", "x"]), inner, max_size=3)
        | st.fixed_dictionaries({"size": st.just([HEIGHT, WIDTH]), "counts": inner})
    ),
    max_leaves=20,
)


def read(value: Any) -> Any:
    (found,) = read_segmentations([memoryview(json.dumps(value).encode())], WIDTH, HEIGHT)
    return found


@given(POLYGONS)
def test_polygons_are_merged_as_pycocotools_does(polygons: list[list[float]]) -> None:
    merged = coco_mask.merge(coco_mask.frPyObjects(polygons, HEIGHT, WIDTH))
    found = read(polygons)
    assert found.dropped == ()
    if coco_mask.area(merged) == 0:
        assert isinstance(found.mask, Refusal)
    else:
        assert found.mask == masks.Rle(HEIGHT, WIDTH, merged["counts"])


@settings(max_examples=1000)
@given(st.lists(ANYTHING, max_size=3))
def test_anything_is_a_proven_mask_or_a_refusal(values: list[Any]) -> None:
    # Python's json writes what the readers never see: those literals were blanked before.
    texts = [json.dumps(value) for value in values]
    texts = [t.replace("-Infinity", '""').replace("Infinity", '""') for t in texts]
    raws = [memoryview(t.replace("NaN", '""').encode()) for t in texts]
    found = read_segmentations(raws, WIDTH, HEIGHT)
    assert len(found) == len(values)
    for segmentation in found:
        if not isinstance(segmentation.mask, Refusal):
            dense = masks.decode(segmentation.mask)
            assert dense.shape == (HEIGHT, WIDTH)
            assert dense.any()


def test_each_is_judged_alone() -> None:
    dense = np.zeros((HEIGHT, WIDTH), np.uint8)
    dense[3:9, 4:20] = 1
    good = {"size": [HEIGHT, WIDTH], "counts": masks.from_dense(dense).counts.decode()}
    values = [good, good | {"counts": "broken"}, [], good, [[1, 2]], good | {"size": [1, 1]}, good]
    raws = [memoryview(json.dumps(value).encode()) for value in values]
    found = read_segmentations(raws, WIDTH, HEIGHT)
    proven = [not isinstance(segmentation.mask, Refusal) for segmentation in found]
    assert proven == [True, False, False, True, False, False, True]
    assert found[0] == found[3] == found[6]


@pytest.mark.parametrize("counts", ["list", "floats", "string"])
def test_run_lengths_in_every_form(counts: str) -> None:
    dense = np.zeros((HEIGHT, WIDTH), np.uint8)
    dense[3:9, 4:20] = 1
    rle = masks.from_dense(dense)
    forms: dict[str, Any] = {
        "list": masks.runs(rle).tolist(),
        "floats": [float(run) for run in masks.runs(rle)],
        "string": rle.counts.decode(),
    }
    for size in ([HEIGHT, WIDTH], [float(HEIGHT), float(WIDTH)]):
        assert read({"size": size, "counts": forms[counts], "more": None}).mask == rle


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"), (5.0, "5"), ("5", "5"), (-3, "-3"), ("a/b", "a/b"), (0, "0"),
        (10**30, str(10**30)), (True, None), (None, None), (1.5, None), ("", None), ([1], None),
        (float("nan"), None), (float("inf"), None), ({}, None),
    ],
)  # fmt: skip
def test_ids_have_one_text(value: object, text: str | None) -> None:
    assert id_text(value) == text


IDS = st.integers() | st.text(max_size=4) | st.floats() | st.integers().map(str) | st.just(10**30)
EDGE = 1 << 62  # from here on a number is coded like a text


@given(st.lists(IDS | st.integers(EDGE - 2, EDGE + 2).map(lambda n: -n), max_size=12))
@example([-(10**17), str(-(10**17)), 10**18, str(10**18), EDGE, str(EDGE), -EDGE, str(-EDGE)])
def test_codes_are_equal_exactly_where_texts_are(values: list[Any]) -> None:
    codes = IdCodes()
    found = [(id_text(value), codes.code(value)) for value in values]
    for text, code in found:
        assert (text is None) == (code is None)
        assert all((text == t) == (code == c) for t, c in found)
        assert code is None or -(2**63) <= code < 2**63


@pytest.mark.parametrize("value", [True, None, "3", 2.5, float("nan"), float("inf"), [3], {}])
def test_what_is_no_whole_number(value: object) -> None:
    assert whole_number(value) is None


def test_whole_numbers() -> None:
    assert (whole_number(3), whole_number(3.0), whole_number(-2.0)) == (3, 3, -2)


@pytest.mark.parametrize(
    "name", ["a.jpg", "train2017/a.jpg", "a b.jpg", "ä/日本 .jpg", "./a.jpg", "a//b.jpg", "..a.jpg"]
)
def test_names_that_stay_inside(name: str) -> None:
    assert safe_name(name) == PurePosixPath(name)


@given(st.text(st.sampled_from("a./\\:C\x00\n "), max_size=12))
def test_no_name_leaves_its_folder(name: str) -> None:
    path = safe_name(name)
    if path is not None:
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert not set("\\\x00\n") & set(name)


def test_resource_forks_are_told_from_pictures() -> None:
    assert is_resource_fork(PurePosixPath("a/._b.jpg"))
    assert is_resource_fork(PurePosixPath("__MACOSX/b.jpg"))
    assert not is_resource_fork(PurePosixPath("a_/.b.jpg"))
