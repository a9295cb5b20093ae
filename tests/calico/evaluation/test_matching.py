"""Matching of masks against formulas written with dense arrays and explicit search."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from calico.evaluation import matching
from mixedparts import masks
from mixedparts.masks import Rle

Matrix = NDArray[np.float64]

# Few distinct values, so that ties, zeros and values at the threshold are frequent.
VALUES = st.sampled_from([0.0, 0.2, 0.4, 0.5, 0.6, 0.6, 0.9, 1.0])


def matrices() -> st.SearchStrategy[Matrix]:
    shapes = st.tuples(st.integers(0, 5), st.integers(0, 5))
    return shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=VALUES))


def two_matrices() -> st.SearchStrategy[tuple[Matrix, Matrix]]:
    return matrices().flatmap(
        lambda one: st.tuples(st.just(one), arrays(np.float64, one.shape, elements=VALUES))
    )


def iou_of(first: list[Rle], second: list[Rle]) -> Matrix:
    return matching.with_empty_agreeing(masks.iou(first, second), first, second)


@given(arrays(np.bool_, (3, 4, 5)), arrays(np.bool_, (2, 4, 5)))
def test_iou_equals_counting_pixels(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> None:
    found = iou_of(
        [masks.from_dense(mask) for mask in first], [masks.from_dense(mask) for mask in second]
    )
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            union = (one | other).sum()
            assert found[i, j] == ((one & other).sum() / union if union else 1.0)


def test_iou_of_nothing() -> None:
    mask = masks.from_dense(np.eye(3))
    assert iou_of([], [mask]).shape == (0, 1)
    assert iou_of([mask], []).shape == (1, 0)


@given(matrices())
def test_greedy_takes_the_largest_that_is_left(values: Matrix) -> None:
    left = values.copy()
    expected = []
    while left.size and left.max() > 0:
        row, column = (int(i) for i in np.unravel_index(left.argmax(), left.shape))
        expected.append((row, column))
        left[row, :] = left[:, column] = 0
    assert matching.greedy_pairs(values) == expected


@given(two_matrices())
def test_glamm_stops_at_the_first_pair_that_fails(both: tuple[Matrix, Matrix]) -> None:
    ious, cosines = both
    left, expected = ious.T.copy(), 0  # annotations are the rows, as in GLaMM
    while left.size:
        annotated, predicted = np.unravel_index(left.argmax(), left.shape)
        if left[annotated, predicted] < 0.5 or cosines[predicted, annotated] < 0.5:
            break
        expected += 1
        left[annotated, :] = left[:, predicted] = 0
    assert len(matching.recall_glamm(ious, cosines, 0.5, 0.5)) == expected


@given(two_matrices())
def test_fixed_recall_passes_over_pairs_that_fail(both: tuple[Matrix, Matrix]) -> None:
    ious, cosines = both
    candidates = sorted(
        ((-ious[p, a], a, p) for p, a in np.ndindex(ious.shape)), key=lambda entry: entry[:3]
    )
    used: set[tuple[str, int]] = set()
    expected = 0
    for negative, a, p in candidates:
        if -negative >= 0.5 and cosines[p, a] >= 0.5 and not used & {("a", a), ("p", p)}:
            used |= {("a", a), ("p", p)}
            expected += 1
    fixed = len(matching.recall_fixed(ious, cosines, 0.5, 0.5))
    assert fixed == expected
    assert fixed <= min(ious.shape)


def test_of_equal_ious_glamm_takes_the_first_annotation() -> None:
    ious = np.array([[0.0, 0.6], [0.6, 0.0]])
    wrong_second = np.array([[0.0, 0.1], [1.0, 0.0]])
    assert len(matching.recall_glamm(ious, wrong_second, 0.5, 0.5)) == 1
    assert len(matching.recall_glamm(ious, 1.1 - wrong_second, 0.5, 0.5)) == 0


def test_the_two_recalls_by_hand() -> None:
    ious = np.array([[0.9, 0.0, 0.0], [0.0, 0.8, 0.0], [0.0, 0.0, 0.7]])
    right, wrong = 1.0, 0.1
    cosines = np.diag([wrong, right, right])
    assert (
        len(matching.recall_glamm(ious, cosines, 0.5, 0.5)) == 0
    )  # the best mask has a wrong label
    assert len(matching.recall_fixed(ious, cosines, 0.5, 0.5)) == 2
    cosines = np.diag([right, wrong, right])
    assert len(matching.recall_glamm(ious, cosines, 0.5, 0.5)) == 1
    assert len(matching.recall_fixed(ious, cosines, 0.5, 0.5)) == 2


@settings(max_examples=200)
@given(matrices())
def test_coco_hits_are_one_to_one_and_above_the_threshold(ious: Matrix) -> None:
    hits = matching.coco_hits(ious, 0.5)
    reach = (ious >= 0.5).any(axis=1)
    assert not (hits & ~reach).any()
    assert hits.sum() <= (ious >= 0.5).any(axis=0).sum()
    if reach.any():
        assert hits[np.flatnonzero(reach)[0]]  # the first detection that can have a match has one


def test_of_equal_ious_coco_takes_the_last_annotation() -> None:
    assert matching.coco_hits(np.array([[0.7, 0.7], [0.9, 0.0]]), 0.5).tolist() == [True, True]
    assert matching.coco_hits(np.array([[0.7, 0.7], [0.0, 0.9]]), 0.5).tolist() == [True, False]
