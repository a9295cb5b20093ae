"""Labels as text: their plain form, their words, and the rules that say which two are compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from calico.evaluation.matching import Pairs
from mixedparts.text.answers import label_of

_REMEMBERED = 1 << 16  # labels repeat: most calls are answered from memory


@lru_cache(_REMEMBERED)
def plain(label: str) -> str:
    """Return a label as all metrics read it: lower case, spaces for `_`, no leading article."""
    return label_of(label.lower().replace("_", " "))


@lru_cache(_REMEMBERED)
def words(label: str) -> tuple[str, ...]:
    """Return the words of a plain label; what is neither letter, digit nor space is dropped."""
    return tuple("".join(c for c in label if c.isalnum() or c.isspace()).split())


@lru_cache(_REMEMBERED)
def word_iou(first: str, second: str) -> float:
    """Return the IoU of two plain labels' sets of words; 1 where both have none."""
    left, right = set(words(first)), set(words(second))
    union = left | right
    return len(left & right) / len(union) if union else 1.0


def key_of(label: str) -> str:
    """Return what two plain labels must share to count as the same label."""
    return " ".join(words(label))


def whole_string(labels: Iterable[str]) -> str:
    """Join a sample's distinct labels in order of first mention, for rule (c)."""
    return ", ".join(dict.fromkeys(labels))


def assignment(cosines: NDArray[np.float64]) -> Pairs:
    """Return the one-to-one pairs (row, column) of the largest total; min(shape) of them."""
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def summed_word_iou(first: Sequence[str], second: Sequence[str], pairs: Pairs) -> float:
    """Return the sum of `word_iou` over pairs of positions in two lists of plain labels."""
    return sum(word_iou(first[row], second[column]) for row, column in pairs)
