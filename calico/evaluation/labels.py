"""Labels as text: plain form, words, and the rules by which SS and S-IoU pair them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import fsum

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from calico.evaluation.matching import Pairs
from mixedparts.text.answers import label_of

_REMEMBERED = 1 << 16  # labels repeat, so most calls are answered from the cache


@lru_cache(_REMEMBERED)
def plain(label: str) -> str:
    """Return a label in lower case, with spaces for `_` and without a leading article."""
    # All metrics read labels in this form; ground truth and predictions go through it alike.
    return label_of(label.lower().replace("_", " "))


@lru_cache(_REMEMBERED)
def words(label: str) -> tuple[str, ...]:
    """Return the words of a plain label, without characters but letters and digits."""
    # As "Vocabulary-free Image Classification" and Osprey split words for S-IoU.
    return tuple("".join(c for c in label if c.isalnum() or c.isspace()).split())


@lru_cache(_REMEMBERED)
def word_iou(first: str, second: str) -> float:
    """Return the IoU of two plain labels' sets of words; 1 if both are empty."""
    left, right = set(words(first)), set(words(second))
    union = left | right
    return len(left & right) / len(union) if union else 1.0


def key_of(label: str) -> str:
    """Return the key of a plain label: two labels with one key count as the same label."""
    return " ".join(words(label))


def whole_string(labels: Iterable[str]) -> str:
    """Join a sample's distinct labels in order of their first occurrence, for rule (c)."""
    return ", ".join(dict.fromkeys(labels))


def assignment(cosines: NDArray[np.float64]) -> Pairs:
    """Return the one-to-one pairs (row, column) with the largest total, for rule (b)."""
    # The optimum and not greedy pairs: with synonyms a greedy choice could spoil a later exact one.
    # min(shape) labels are paired; the caller counts the rest as 0.
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def summed_word_iou(first: Sequence[str], second: Sequence[str], pairs: Pairs) -> float:
    """Sum `word_iou` over pairs of labels.

    Args:
        first: plain labels, which the rows of the pairs index.
        second: plain labels, which the columns of the pairs index.
        pairs: positions (row, column).

    Returns:
        The sum, at most the number of pairs.
    """
    return fsum(word_iou(first[row], second[column]) for row, column in pairs)
