"""The Rle value against raw pycocotools and numpy."""

from __future__ import annotations

import hashlib
import re
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mixedparts import masks
from mixedparts.masks import InvalidMask, Rle

Dense = NDArray[np.uint8]
SIDES = st.integers(1, 24)
DENSE = st.tuples(SIDES, SIDES).flatmap(
    lambda shape: arrays.arrays(np.uint8, shape, elements=st.integers(0, 1))
)
SAME_SIZE = st.tuples(SIDES, SIDES).flatmap(
    lambda shape: st.lists(
        arrays.arrays(np.uint8, shape, elements=st.integers(0, 1)), min_size=1, max_size=5
    )
)
COORDINATE = st.floats(-40, 60, allow_nan=False).map(lambda value: round(value, 2))
POLYGON = st.lists(COORDINATE, min_size=6, max_size=24)


def raw_counts(dense: Dense) -> bytes:
    counts: bytes = coco_mask.encode(np.asfortranarray(dense))["counts"]
    return counts


def lengths_of(dense: Dense) -> list[int]:
    """Run lengths by walking the pixels, column by column, background first."""
    lengths, current = [0], 0
    for value in dense.ravel(order="F").tolist():
        if value != current:
            lengths.append(0)
            current = value
        lengths[-1] += 1
    return lengths


@given(DENSE)
def test_encoding_is_that_of_pycocotools_and_decodes_back(dense: Dense) -> None:
    rle = masks.from_dense(dense)
    assert rle == Rle(dense.shape[0], dense.shape[1], raw_counts(dense))
    assert np.array_equal(masks.decode(rle), dense)


def test_any_value_but_zero_is_foreground() -> None:
    dense = np.array([[0, 1, 255], [0, 7, 0]])
    assert masks.decode(masks.from_dense(dense)).tolist() == [[0, 1, 1], [0, 1, 0]]
    assert masks.decode(masks.from_dense(dense > 5)).tolist() == [[0, 0, 1], [0, 1, 0]]


@given(DENSE)
def test_runs_are_those_of_the_pixels(dense: Dense) -> None:
    assert masks.runs(masks.from_dense(dense)).tolist() == lengths_of(dense)


@given(st.integers(0, 3000), st.lists(st.integers(1, 3000), min_size=1, max_size=40))
def test_runs_of_any_length_come_back(first: int, others: list[int]) -> None:
    lengths = [first, *others]
    total = sum(lengths)
    rle = masks.from_counts(lengths, total, 1)
    assert masks.runs(rle).tolist() == lengths
    assert masks.area(rle) == sum(lengths[1::2])


def test_runs_of_the_largest_picture_come_back() -> None:
    side = 1 << 14
    lengths = [3, side * side - 10, 1, 6]
    assert masks.runs(masks.from_counts(lengths, side, side)).tolist() == lengths


@given(st.lists(POLYGON, min_size=1, max_size=4), SIDES, SIDES)
def test_polygons_are_those_of_pycocotools(
    polygons: list[list[float]], height: int, width: int
) -> None:
    expected = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    assert masks.from_polygons(polygons, height, width).counts == expected["counts"]
    as_arrays = [np.array(polygon) for polygon in polygons]
    assert masks.from_polygons(as_arrays, height, width).counts == expected["counts"]


@given(DENSE)
def test_run_lists_and_strings_are_taken_as_they_are(dense: Dense) -> None:
    height, width = dense.shape
    counts = raw_counts(dense)
    assert masks.from_counts(lengths_of(dense), height, width).counts == counts
    assert masks.from_string(counts, height, width) == Rle(height, width, counts)
    assert masks.from_string(counts.decode(), height, width) == Rle(height, width, counts)


@given(SAME_SIZE)
def test_strings_proven_together_give_masks_and_areas(stack: list[Dense]) -> None:
    height, width = stack[0].shape
    strings = [raw_counts(dense).decode() for dense in stack]
    expected = [(masks.from_dense(dense), int(dense.sum())) for dense in stack]
    assert masks.from_strings(strings, height, width) == expected


@given(SAME_SIZE, st.lists(st.text(max_size=12), min_size=1, max_size=3), st.randoms())
def test_a_broken_string_leaves_its_neighbours_alone(
    stack: list[Dense], broken: list[str], random: Random
) -> None:
    height, width = stack[0].shape
    strings = [raw_counts(dense).decode() for dense in stack] + broken
    random.shuffle(strings)
    for text, outcome in zip(strings, masks.from_strings(strings, height, width), strict=True):
        if isinstance(outcome, InvalidMask):
            with pytest.raises(InvalidMask, match=re.escape(str(outcome))):
                masks.from_string(text, height, width)
            assert str(outcome)
        else:
            assert outcome[0] == masks.from_string(text, height, width)


@settings(max_examples=500)
@given(st.text(st.sampled_from([chr(code) for code in range(47, 113)]), max_size=16), SIDES, SIDES)
def test_what_is_taken_decodes_and_what_does_not_decode_is_refused(
    text: str, height: int, width: int
) -> None:
    try:
        rle = masks.from_string(text, height, width)
    except InvalidMask:
        return
    dense = masks.decode(rle)
    assert dense.shape == (height, width)
    assert int(dense.sum()) == masks.area(rle)
    values = np.arange(len(masks.runs(rle))) % 2
    assert np.array_equal(np.repeat(values, masks.runs(rle)), dense.ravel(order="F"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "0 0",
        "\x00",
        "p",
        "\xff",
        "é",
        "漢",
        "0",  # one run of no pixel
        "d0",  # 20 + 0: too few
        "P",  # cut: says that more follows
        "T4T",
        "O1",  # -1 first
        "ooooooooooooo0",  # a number of over 60 bits
        "PPPPPPPPPPP0d0",
        "d4000",  # 148: too many
    ],
)
def test_broken_strings_are_refused(text: str) -> None:
    with pytest.raises(InvalidMask):
        masks.from_string(text, 6, 7)


BROKEN_RUNS = {
    "too few": [10, 20],
    "too many": [10, 20, 13],
    "negative": [50, -20, 12],
    "none": [],
    "of no pixel": [0, 0],
    "far too many": [10, 20, 12, 2**25],
}


@pytest.mark.parametrize("numbers", BROKEN_RUNS.values(), ids=BROKEN_RUNS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_wrong_runs_are_refused_in_any_company(numbers: list[int], place: int) -> None:
    good = masks.from_counts([10, 20, 12], 6, 7)
    strings = [good.counts.decode()] * 2
    strings.insert(place, encode_numbers(numbers, 6))
    outcomes = masks.from_strings(strings, 6, 7)
    assert isinstance(outcomes.pop(place), InvalidMask)
    assert outcomes == [(good, 20)] * 2
    assert isinstance(masks.from_strings([strings[place]], 6, 7)[0], InvalidMask)


def encode_numbers(numbers: list[int], groups: int) -> str:
    """Write numbers with a fixed number of 5-bit groups each, more than they need."""
    text = ""
    for number in numbers:
        for group in range(groups):
            bits = (number >> (5 * group)) & 31
            text += chr(48 + bits + (32 if group < groups - 1 else 0))
    return text


def test_padded_numbers_are_read_up_to_six_groups() -> None:
    for groups in range(2, 7):
        text = encode_numbers([10, 20, 12], groups)
        rle = masks.from_string(text, 6, 7)
        assert rle == masks.from_counts([10, 20, 12], 6, 7)
        assert masks.from_strings([text], 6, 7) == [(rle, 20)]
        assert masks.area(rle) == 20
        assert int(masks.decode(rle).sum()) == 20
    with pytest.raises(InvalidMask, match="30 bits"):
        masks.from_string(encode_numbers([10, 20, 12], 7), 6, 7)


@pytest.mark.parametrize(
    "counts",
    [[], [41], [43], [-1, 43], [10, -5, 37], [2**63, 1], [2**64], [-(2**70)], [2**62] * 4 + [42]],
)
def test_run_lists_that_do_not_cover_the_image_are_refused(counts: list[int]) -> None:
    with pytest.raises(InvalidMask):
        masks.from_counts(counts, 6, 7)


@given(SAME_SIZE)
def test_union_and_intersection_are_those_of_the_pixels(stack: list[Dense]) -> None:
    rles = [masks.from_dense(dense) for dense in stack]
    assert np.array_equal(masks.decode(masks.union(rles)), np.max(stack, axis=0))
    assert np.array_equal(masks.decode(masks.intersection(rles)), np.min(stack, axis=0))


@given(SAME_SIZE)
def test_union_knows_no_order_and_no_repetition(stack: list[Dense]) -> None:
    rles = [masks.from_dense(dense) for dense in stack]
    once = masks.union(rles)
    assert masks.union(rles[::-1]) == once
    assert masks.union([*rles, *rles]) == once
    assert masks.union([once, rles[0]]) == once


@given(DENSE)
def test_area_and_box_are_those_of_the_pixels(dense: Dense) -> None:
    rle = masks.from_dense(dense)
    assert masks.area(rle) == int(dense.sum())
    if not dense.any():
        assert masks.bbox(rle)[2:] == (0.0, 0.0)
        return
    rows, columns = np.nonzero(dense)
    x, y, w, h = masks.bbox(rle)
    assert (x, y) == (columns.min(), rows.min())
    assert (x + w, y + h) == (columns.max() + 1, rows.max() + 1)


@given(SAME_SIZE, st.data())
def test_iou_is_that_of_the_pixels_and_symmetric(stack: list[Dense], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(stack)))
    first, second = stack[:cut], stack[cut:]
    got = masks.iou(*([masks.from_dense(dense) for dense in side] for side in (first, second)))
    assert got.shape == (len(first), len(second))
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            union = int((a | b).sum())
            assert got[i, j] == pytest.approx(int((a & b).sum()) / union if union else 0.0)
    swapped = masks.iou(*([masks.from_dense(dense) for dense in side] for side in (second, first)))
    assert np.allclose(swapped.T, got)


@given(
    st.tuples(SIDES, SIDES).flatmap(
        lambda shape: arrays.arrays(np.uint16, shape, elements=st.sampled_from([0, 1, 7, 65535]))
    ),
    st.sets(st.sampled_from([0, 1, 7, 300, 65535])),
)
def test_label_maps_give_the_mask_of_each_wanted_value(
    labels: NDArray[np.uint16], wanted: set[int]
) -> None:
    got = masks.from_labels(labels, wanted)
    assert list(got) == sorted(set(labels.ravel().tolist()) & wanted)
    for value, rle in got.items():
        assert rle == masks.from_dense(labels == value)


def test_masks_and_numbers_are_the_recorded_ones() -> None:
    """The same under every allowed version of pycocotools, polygons on pixel borders included."""
    rng = np.random.Generator(np.random.Philox(2))
    strings, numbers = hashlib.sha256(), hashlib.sha256()
    for step in (0.01, 0.5, 1.0) * 100:
        height, width = rng.integers(1, 160, 2).tolist()
        corners = (rng.uniform(-5, 165, (3, 2 * rng.integers(3, 12))) / step).round() * step
        shapes = [masks.from_polygons([polygon], height, width) for polygon in corners]
        shapes += [masks.from_polygons(list(corners), height, width)]
        shapes += [masks.union(shapes[:2]), masks.intersection(shapes[:2])]
        for shape in shapes:
            strings.update(shape.counts)
        numbers.update(masks.iou(shapes, shapes).tobytes())
        numbers.update(repr(masks.measure(shapes)).encode())
    assert strings.hexdigest()[:16] == "693101ab0df19ad9"
    assert numbers.hexdigest()[:16] == "8eae22aa399af813"


def test_more_masks_than_a_byte_counts_are_measured() -> None:
    # `area` of pycocotools refuses more than 255 masks under NumPy 2.
    dense = [np.tri(20, 20, k % 30 - 10, dtype=np.uint8) for k in range(600)]
    measured = masks.measure([masks.from_dense(item) for item in dense])
    assert [area for area, _ in measured] == [int(item.sum()) for item in dense]
    assert measured[29][1] == (0.0, 0.0, 20.0, 20.0)


@given(st.lists(st.tuples(SIDES, SIDES, st.lists(POLYGON, min_size=1, max_size=3)), max_size=6))
def test_polygons_of_many_masks_are_drawn_as_each_alone(
    items: list[tuple[int, int, list[list[float]]]],
) -> None:
    sizes = [(height, width) for height, width, _ in items]
    drawn = masks.from_polygon_lists([polygons for _, _, polygons in items], sizes)
    for (height, width, polygons), rle in zip(items, drawn, strict=True):
        merged = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        assert rle == Rle(height, width, merged["counts"])
        assert masks.is_empty(rle) == (coco_mask.area(merged) == 0)


@given(st.lists(st.tuples(DENSE, st.sampled_from(["", "1", "_", "é", "P"])), max_size=12))
def test_strings_of_several_sizes_are_judged_as_each_alone(
    items: list[tuple[Dense, str]],
) -> None:
    # Whatever is put behind a string of a few pixels breaks it, or does not; both must agree.
    texts = [masks.from_dense(dense).counts.decode() + more for dense, more in items]
    sizes = [(dense.shape[0], dense.shape[1]) for dense, _ in items]
    together = masks.from_sized_strings(texts, sizes)
    for text, size, found in zip(texts, sizes, together, strict=True):
        (alone,) = masks.from_strings([text], *size)
        assert type(found) is type(alone)
        assert str(found) == str(alone)


@given(st.lists(st.lists(DENSE, min_size=1, max_size=4), max_size=4))
def test_groups_are_united_as_each_alone(groups: list[list[Dense]]) -> None:
    sized = [[item for item in group if item.shape == group[0].shape] for group in groups]
    encoded = [[masks.from_dense(item) for item in group] for group in sized]
    assert masks.unions(encoded) == [masks.union(group) for group in encoded]
