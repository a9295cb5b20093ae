"""Runs of length zero and padded numbers: the same masks, whatever their encoder wrote.

The oracle is dense pixels: `merge`, `iou` and `toBbox` of pycocotools 2.0.11 are wrong for such
runs. Its `encode` and `frPyObjects` are right, and `encode` decides which bytes are canonical.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mixedparts import masks
from mixedparts.masks import Rle

Dense = NDArray[np.uint8]


class Written(NamedTuple):
    """A mask as pixels, and run lengths of it that hold runs of zero."""

    dense: Dense
    lengths: list[int]


def dense_of(lengths: list[int], height: int, width: int) -> Dense:
    values = np.arange(len(lengths)) % 2
    return np.repeat(values, lengths).astype(np.uint8).reshape((height, width), order="F")


def string_of(lengths: list[int], height: int, width: int) -> bytes:
    counts: bytes = coco_mask.frPyObjects(
        {"size": [height, width], "counts": lengths}, height, width
    )["counts"]
    return counts


@st.composite
def written(draw: st.DrawFn, height: int, width: int, splits: list[int]) -> Written:
    """A mask whose runs are cut by runs of zero at some of `splits` and at places of its own."""
    area = height * width
    dense = np.array(draw(st.lists(st.integers(0, 1), min_size=area, max_size=area)), np.uint8)
    cuts = {cut for cut in splits if draw(st.booleans())}
    cuts |= draw(st.sets(st.integers(0, area), max_size=3))
    lengths, value = [0], 0
    for pixel, wanted in enumerate(dense.tolist()):
        # Two more runs of zero, or four, change no pixel.
        if pixel in cuts:
            lengths += [0, 0] * draw(st.integers(1, 2))
        if wanted != value:
            lengths.append(0)
            value = wanted
        lengths[-1] += 1
    if area in cuts:
        lengths += [0] * draw(st.integers(1, 3))
    return Written(dense.reshape((height, width), order="F"), lengths)


@st.composite
def stacks(draw: st.DrawFn) -> list[Written]:
    """One to three masks of one size, with runs of zero at shared pixels."""
    height, width = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    splits = draw(st.lists(st.integers(0, height * width), min_size=1, max_size=4))
    return draw(st.lists(written(height, width, splits), min_size=1, max_size=3))


def made(item: Written) -> list[Rle]:
    """The mask by every constructor that takes run lengths, alone and in company."""
    height, width = item.dense.shape
    string = string_of(item.lengths, height, width)
    plain = masks.from_dense(1 - item.dense).counts
    together = masks.from_strings([plain, string.decode(), plain, string], height, width)
    assert [len(outcome) for outcome in together if isinstance(outcome, tuple)] == [2] * 4
    rles = [outcome[0] for outcome in together if isinstance(outcome, tuple)]
    areas = [outcome[1] for outcome in together if isinstance(outcome, tuple)]
    covered = int(item.dense.sum())
    assert areas == [height * width - covered, covered] * 2
    assert rles[0] == rles[2] == masks.from_dense(1 - item.dense)
    return [
        masks.from_counts(item.lengths, height, width),
        masks.from_counts(np.array(item.lengths), height, width),
        masks.from_string(string, height, width),
        masks.from_string(string.decode(), height, width),
        rles[1],
        rles[3],
    ]


@settings(max_examples=300)
@given(stacks())
def test_every_constructor_returns_the_canonical_bytes(stack: list[Written]) -> None:
    for item in stack:
        assert np.array_equal(dense_of(item.lengths, *item.dense.shape), item.dense)
        expected = masks.from_dense(item.dense)
        assert made(item) == [expected] * 6
        assert (masks.runs(expected)[1:] > 0).all()


@settings(max_examples=300)
@given(stacks())
def test_operations_on_them_are_those_of_the_pixels(stack: list[Written]) -> None:
    rles = [made(item)[2] for item in stack]
    dense = [item.dense for item in stack]
    assert masks.union(rles) == masks.from_dense(np.max(dense, axis=0))
    assert masks.intersection(rles) == masks.from_dense(np.min(dense, axis=0))
    ious = masks.iou(rles, rles)
    for i, one in enumerate(dense):
        for j, other in enumerate(dense):
            union = int((one | other).sum())
            shared = int((one & other).sum())
            assert ious[i, j] == pytest.approx(shared / union if union else 0.0)
    for rle, pixels, (area, box) in zip(rles, dense, masks.measure(rles), strict=True):
        assert area == masks.area(rle) == int(pixels.sum())
        assert box == masks.bbox(rle) == box_of(pixels)


def box_of(dense: Dense) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(dense)
    if not rows.size:
        return (0.0, 0.0, 0.0, 0.0)
    x, y = int(columns.min()), int(rows.min())
    return (float(x), float(y), float(columns.max() + 1 - x), float(rows.max() + 1 - y))


@pytest.mark.parametrize(
    ("lengths", "canonical"),
    {
        "at the start": ([0, 0, 5, 19], [5, 19]),
        "before foreground at the first pixel": ([0, 0, 0, 5, 19], [0, 5, 19]),
        "inside background": ([5, 0, 3, 4, 12], [8, 4, 12]),
        "inside foreground": ([5, 2, 0, 3, 14], [5, 5, 14]),
        "several in a row": ([5, 0, 0, 0, 3, 16], [8, 16]),
        "at the end of background": ([5, 4, 15, 0], [5, 4, 15]),
        "at the end of foreground": ([5, 19, 0], [5, 19]),
        "around nothing": ([12, 0, 12], [24]),
        "around everything": ([0, 12, 0, 12], [0, 24]),
        "first and all": ([0, 0, 24], [24]),
    }.values(),
)
def test_each_place_of_a_run_of_zero(lengths: list[int], canonical: list[int]) -> None:
    rle = masks.from_counts(lengths, 4, 6)
    assert masks.runs(rle).tolist() == canonical
    assert masks.runs(masks.from_string(string_of(lengths, 4, 6), 4, 6)).tolist() == canonical
    assert masks.decode(rle).tolist() == dense_of(lengths, 4, 6).tolist()


def test_runs_of_an_encoder_with_sixteen_bits() -> None:
    lengths = [65535, 0, 4465, 20000]
    rle = masks.from_counts(lengths, 300, 300)
    assert rle == masks.from_counts([70000, 20000], 300, 300)
    assert masks.area(masks.union([rle, rle])) == 20000
    assert masks.iou([rle], [rle]).tolist() == [[1.0]]


@settings(max_examples=300)
@given(
    st.lists(st.integers(0, 2**20), min_size=2, max_size=12), st.integers(0, 3), st.integers(1, 3)
)
@example([31, 16, 15, 1000], 1, 1)
def test_padded_numbers_become_the_shortest(lengths: list[int], place: int, more: int) -> None:
    total = sum(lengths)
    if total == 0:
        return
    values = [n - lengths[i - 2] if i > 2 else n for i, n in enumerate(lengths)]
    place %= len(values)
    text = "".join(coded(value, more if i == place else 0) for i, value in enumerate(values))
    expected = masks.from_counts(lengths, total, 1)
    assert masks.from_string(text, total, 1) == expected
    assert masks.from_strings([text], total, 1) == [(expected, sum(lengths[1::2]))]


def coded(value: int, more: int) -> str:
    """One number in the string code, with up to `more` characters that it does not need."""
    groups = [value & 31]
    while not (value >> 5 == 0 and not value & 16) and not (value >> 5 == -1 and value & 16):
        value >>= 5
        groups.append(value & 31)
    sign = 31 if value < 0 else 0
    groups += [sign] * min(more, 6 - len(groups))
    last = len(groups) - 1
    return "".join(chr(48 + bits + (32 if i < last else 0)) for i, bits in enumerate(groups))


@settings(max_examples=200)
@given(
    st.lists(
        st.lists(st.integers(-3, 12).map(lambda half: half / 2), min_size=6, max_size=12),
        min_size=1,
        max_size=3,
    )
)
def test_polygons_give_canonical_runs(polygons: list[list[float]]) -> None:
    rle = masks.from_polygons(polygons, 6, 5)
    assert rle == masks.from_dense(masks.decode(rle))
