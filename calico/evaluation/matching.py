"""Matching of predicted and annotated masks inside one unit (one image of one sample).

IoU matrices have the shape (predicted, annotated), float64 in [0, 1]. Masks stay run lengths.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixedparts import masks
from mixedparts.masks import Rle

Pairs = list[tuple[int, int]]
"""Positions (row, column) of an IoU matrix, one to one."""


def with_empty_agreeing(
    ious: NDArray[np.float64], first: Sequence[Rle], second: Sequence[Rle]
) -> NDArray[np.float64]:
    """Return the IoUs with 1 instead of COCO's 0 where both masks are empty.

    AP50 keeps COCO's rule; all other metrics use this one.

    Args:
        ious: (len(first), len(second)) float64, which is not changed.
        first: masks of the rows.
        second: masks of the columns.

    Returns:
        An array of the same shape; `ious` itself where no two masks are empty.
    """
    # Only rows and columns without any overlap can belong to empty masks: areas are computed for
    # those alone, which in most units is none.
    rows = np.flatnonzero(~ious.any(axis=1)).tolist()
    columns = np.flatnonzero(~ious.any(axis=0)).tolist()
    if rows and columns:
        rows = [row for row in rows if masks.is_empty(first[row])]
        columns = [column for column in columns if masks.is_empty(second[column])]
        if rows and columns:
            ious = ious.copy()
            ious[np.ix_(rows, columns)] = 1.0
    return ious


def greedy_pairs(values: NDArray[np.float64]) -> Pairs:
    """Pair rows with columns one to one, repeatedly taking the largest value above 0.

    Of equal values the first in row-major order is taken: the orientation of the matrix decides.

    Returns:
        The pairs in the order in which they were taken (descending value).
    """
    # One stable sort gives the same pairs as a search for the largest value in every round.
    rows, columns = np.nonzero(values > 0)
    order = np.argsort(-values[rows, columns], kind="stable")
    pairs: Pairs = []
    used_rows: set[int] = set()
    used_columns: set[int] = set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in used_rows and column not in used_columns:
            pairs.append((row, column))
            used_rows.add(row)
            used_columns.add(column)
    return pairs


def coco_hits(ious: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Return which detections COCOeval counts as true positives.

    Args:
        ious: (detections in descending score, annotations), by COCO's rule for empty masks.
        threshold: smallest IoU of a match.

    Returns:
        (detections,) bool.
    """
    # By score and not by IoU: each detection in turn takes the free annotation of largest IoU, of
    # equal ones the last, even if a later detection would fit it better.
    hits = np.zeros(len(ious), bool)
    free = np.ones(ious.shape[1], bool)
    for row in np.flatnonzero((ious >= threshold).any(axis=1)):
        values = np.where(free, ious[row], -1.0)
        best = len(values) - 1 - int(np.argmax(values[::-1]))
        if values[best] >= threshold:
            hits[row] = True
            free[best] = False
    return hits


def recall_glamm(
    ious: NDArray[np.float64], cosines: NDArray[np.float64], least_iou: float, least_cosine: float
) -> Pairs:
    """Return the hits of GLaMM's script: by descending IoU, up to the first failing pair.

    Args:
        ious: (predicted, annotated).
        cosines: (predicted, annotated), of the labels.
        least_iou: smallest IoU of a hit.
        least_cosine: smallest cosine of a hit.

    Returns:
        The pairs that are hits.
    """
    # The script leaves its loop at the first failing pair, so one wrong label at the top IoU hides
    # all hits after it. It is reproduced because published numbers are computed this way;
    # `recall_fixed` has no such rule.
    hits: Pairs = []
    # Of equal IoUs GLaMM takes the first annotation's: its matrix has the annotations as rows.
    for annotated, predicted in greedy_pairs(ious.T):
        place = predicted, annotated
        if ious[place] < least_iou or cosines[place] < least_cosine:
            break
        hits.append(place)
    return hits


def recall_fixed(
    ious: NDArray[np.float64], cosines: NDArray[np.float64], least_iou: float, least_cosine: float
) -> Pairs:
    """Return the hits by descending IoU; a pair that fails is skipped, its masks stay free.

    Args:
        ious: (predicted, annotated).
        cosines: (predicted, annotated), of the labels.
        least_iou: smallest IoU of a hit.
        least_cosine: smallest cosine of a hit.

    Returns:
        The pairs that are hits.
    """
    # A pair that fails gets IoU 0, which greedy pairs never take.
    admitted = (ious >= least_iou) & (cosines >= least_cosine)
    return [(row, column) for column, row in greedy_pairs(np.where(admitted, ious, 0.0).T)]
