"""Which predicted mask goes with which annotated one, inside one unit (one image of one sample).

Matrices are IoUs of shape (predicted, annotated), float64 in [0, 1]. Masks stay run lengths.
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

    AP50 keeps COCO's rule, everything else uses this.

    Args:
        ious: (len(first), len(second)), left as it is.
        first, second: the masks.
    """
    rows = np.flatnonzero(~ious.any(axis=1)).tolist()
    columns = np.flatnonzero(~ious.any(axis=0)).tolist()
    if rows and columns:
        rows = [row for row in rows if masks.area(first[row]) == 0]
        columns = [column for column in columns if masks.area(second[column]) == 0]
        if rows and columns:
            ious = ious.copy()
            ious[np.ix_(rows, columns)] = 1.0
    return ious


def greedy_pairs(values: NDArray[np.float64]) -> Pairs:
    """Pair rows with columns one to one, always taking the largest value above 0 that is left.

    Equal values are taken row by row, so the caller decides by the matrix's orientation.

    Returns:
        The pairs in the order in which they were taken (descending value).
    """
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
    """Tell which detections COCOeval counts as true positives.

    Args:
        ious: (detections in descending score, annotations), by COCO's rule for empty masks.
        threshold: least IoU of a match.

    Returns:
        (detections,) bool. A detection takes the annotation of the largest IoU among those still
        free; of equal ones the last.
    """
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
) -> int:
    """Count hits as GLaMM's script does: by descending IoU, up to the first pair that fails.

    Args:
        ious, cosines: (predicted, annotated).
        least_iou, least_cosine: what a pair needs to be a hit.
    """
    hits = 0
    # Of equal IoUs GLaMM takes the first annotation's: its matrix has the annotations as rows.
    for annotated, predicted in greedy_pairs(ious.T):
        place = predicted, annotated
        if ious[place] < least_iou or cosines[place] < least_cosine:
            break
        hits += 1
    return hits


def recall_fixed(
    ious: NDArray[np.float64], cosines: NDArray[np.float64], least_iou: float, least_cosine: float
) -> int:
    """Count hits by descending IoU, passing over pairs that fail; both members stay free."""
    admitted = (ious >= least_iou) & (cosines >= least_cosine)
    return len(greedy_pairs(np.where(admitted, ious, 0.0).T))
