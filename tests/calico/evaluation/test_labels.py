"""Plain labels, words, and the pairing of labels."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from calico.evaluation import labels


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("The  Head", "head"),
        ("seat_cushion", "seat cushion"),
        ("an arm", "arm"),
        ("a", "a"),
        ("anchor", "anchor"),
        ("", ""),
    ],
)
def test_plain(label: str, expected: str) -> None:
    assert labels.plain(label) == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("head", "head", 1.0),
        ("seat cushion", "seat", 1 / 2),
        ("t-shirt", "tshirt", 1.0),
        ("car (side)", "side of car", 2 / 3),
        ("leg leg", "leg", 1.0),
        ("", "", 1.0),
        ("!", "head", 0.0),
        ("head", "tail", 0.0),
    ],
)
def test_word_iou(first: str, second: str, expected: float) -> None:
    assert labels.word_iou(first, second) == pytest.approx(expected)


@given(st.text("ab _-", max_size=8), st.text("ab _-", max_size=8))
def test_word_iou_is_symmetric_and_one_for_itself(first: str, second: str) -> None:
    assert labels.word_iou(first, second) == labels.word_iou(second, first)
    assert labels.word_iou(first, first) == 1.0


def test_whole_string_names_each_label_once() -> None:
    assert labels.whole_string(["dog", "dog", "head", "leg", "head"]) == "dog, head, leg"


@given(
    st.tuples(st.integers(0, 4), st.integers(0, 4)).flatmap(
        lambda shape: arrays(np.float64, shape, elements=st.floats(-1, 1))
    )
)
def test_assignment_has_the_largest_total(cosines: NDArray[np.float64]) -> None:
    pairs = labels.assignment(cosines)
    rows, columns = cosines.shape
    wide = cosines if rows <= columns else cosines.T
    best = max(
        sum(wide[row, column] for row, column in enumerate(chosen))
        for chosen in permutations(range(wide.shape[1]), wide.shape[0])
    )
    assert len(pairs) == min(rows, columns)
    assert sum(cosines[pair] for pair in pairs) == pytest.approx(best, abs=1e-9)
