"""AP50 as COCOeval computes it (segm, IoU .50, area all, 100 detections, one category), vectorised.

Equal scores leave the order of detections open, and AP depends on it. The order here is fixed:
units by (sample id, image id), and within a unit the order of generation. The order of rows, of
shards and of predictions does not change the number.

Shapes: D detections; S samples; R rows of weights, one a bootstrap draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IOU_THRESHOLD = 0.5
MAX_DETECTIONS = 100  # of one unit
_RECALLS = np.linspace(0.0, 1.0, 101)
_BLOCK = 1 << 20  # weights of a block: 8 MB an array


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
        """Return the detections of some samples, which get the numbers of their place.

        Args:
            members: (M,) int64 distinct sample indices.
            samples: number of all samples.
        """
        # The order of detections stays: a group is scored like a split of its own.
        renumber = np.full(samples, -1, np.int64)
        renumber[members] = np.arange(len(members))
        sample = renumber[self.sample]
        return Detections(sample[sample >= 0], self.hit[sample >= 0])


def average_precision(
    detections: Detections, targets: NDArray[np.int64], weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return AP for every row of sample weights.

    Args:
        detections: in order of descending score.
        targets: (S,) int64 annotated masks of each sample.
        weights: (R, S) int64, at least 0: how often a draw has each sample; ones for the estimate.

    Returns:
        (R,) float64 in [0, 1]; NaN where a draw has no annotated mask.
    """
    # A sample of weight k means k copies of each of its detections in a row. Recall rises at true
    # positives only, and of a run of copies the last one has the best precision, so weighted
    # cumulative sums give the same AP as repeated detections, without matching them again.
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
    copies = weights[:, detections.sample]
    seen = np.cumsum(copies, axis=1)
    hits = np.cumsum(copies * detections.hit, axis=1)
    precision = hits / np.maximum(seen, 1)
    # As COCO: precision at a recall is the best one at this recall or a higher one.
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    result = np.full(len(weights), np.nan)
    for row in np.flatnonzero(positives):
        # The mean of the envelope at 101 recall values; one that is never reached counts as 0.
        recall = hits[row] / positives[row]
        places = np.searchsorted(recall, _RECALLS, side="left")
        reached = places[places < recall.size]
        result[row] = envelope[row, reached].sum() / len(_RECALLS)
    return result
