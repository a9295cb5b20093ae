"""AP50 as COCOeval computes it (segm, IoU .50, area all, 100 detections, one category), vectorised.

Equal scores leave the order of detections open, and AP depends on it. The order here is fixed:
units by (sample id, image id), within a unit the order of generation; neither the order of rows,
of shards nor of predictions changes the number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IOU_THRESHOLD = 0.5
MAX_DETECTIONS = 100  # a unit
_RECALLS = np.linspace(0.0, 1.0, 101)
_BLOCK = 1 << 20  # weights in work at once: 8 MB an array


@dataclass(frozen=True, slots=True)
class Detections:
    """Predicted masks in the order in which AP reads them.

    Attributes:
        sample: (D,) int64 index of the sample that each belongs to.
        hit: (D,) bool, true positive by COCO's matching.
    """

    sample: NDArray[np.int64]
    hit: NDArray[np.bool_]

    def of(self, members: NDArray[np.int64], samples: int) -> Detections:
        """Keep the detections of some samples, which are renumbered in the order of `members`.

        Args:
            members: (M,) int64 distinct sample indices.
            samples: number of all samples.
        """
        renumber = np.full(samples, -1, np.int64)
        renumber[members] = np.arange(len(members))
        sample = renumber[self.sample]
        return Detections(sample[sample >= 0], self.hit[sample >= 0])


def average_precision(
    detections: Detections, targets: NDArray[np.int64], weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return AP for every row of sample weights (a bootstrap draw, or ones).

    A weight of k stands for every detection of the sample occurring k times in a row. Recall rises
    at true positives only, and of a run of copies its last one has the best precision, so sums
    with weights give what the repeated detections would.

    Args:
        detections: in order of descending score.
        targets: (S,) int64 annotated masks of each sample.
        weights: (R, S) int64, at least 0.

    Returns:
        (R,) float64 in [0, 1]; NaN where a draw has no annotated mask.
    """
    rows = max(1, _BLOCK // max(1, len(detections.sample)))
    blocks = [
        _block(detections, targets, weights[start : start + rows])
        for start in range(0, len(weights), rows)
    ]
    return np.concatenate(blocks) if blocks else np.zeros(0)


def _block(
    detections: Detections, targets: NDArray[np.int64], weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    positives = weights @ targets
    found = weights[:, detections.sample]
    seen = np.cumsum(found, axis=1)
    hits = np.cumsum(found * detections.hit, axis=1)
    precision = hits / np.maximum(seen, 1)
    # The envelope: the best precision at this recall or a higher one.
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    result = np.full(len(weights), np.nan)
    for row in np.flatnonzero(positives):
        recall = hits[row] / positives[row]
        places = np.searchsorted(recall, _RECALLS, side="left")
        reached = places[places < recall.size]
        result[row] = envelope[row, reached].sum() / len(_RECALLS)
    return result
