"""Compare the masks of a prediction with those of the ground truth, for the eye.

A predicted mask belongs to the mask of the ground truth that it overlaps most, in the same image,
each mask once, best overlap first; an IoU of at least 0.5 is needed. The scores of an evaluation
have rules of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mixedparts import masks
from mixedparts.text.answers import label_of
from mixedparts.viewer.samples import Answer, Mark, Region

LEAST_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Compared:
    """Two answers with marks and notes in their regions.

    Attributes:
        truth: the ground truth.
        predicted: the prediction.
        mean_iou: over the masks of the ground truth; one that the prediction misses, or names
            wrongly, counts as 0.
        false_positives: masks of the prediction that belong to none.
    """

    truth: Answer
    predicted: Answer
    mean_iou: float
    false_positives: int


def compared(truth: Answer, predicted: Answer) -> Compared:
    """Mark what a prediction found, missed, added and named wrongly.

    Args:
        truth: the ground truth.
        predicted: the prediction; its regions and those of `truth` have masks.

    Returns:
        Both answers with their marks.
    """
    total = 0.0
    pairs = _pairs(truth.regions, predicted.regions)
    right, wrong = list(truth.regions), list(predicted.regions)
    for n, region in enumerate(right):
        right[n] = replace(region, mark=Mark.MISS, note="no mask of the prediction")
    for n, region in enumerate(wrong):
        wrong[n] = replace(region, mark=Mark.FALSE_POSITIVE, note="no mask of the ground truth")
    for one, two, iou in pairs:
        names = truth.regions[one].label, predicted.regions[two].label
        mark = Mark.MATCH if label_of(names[0]) == label_of(names[1]) else Mark.WRONG_NAME
        total += iou if mark is Mark.MATCH else 0.0
        right[one] = replace(right[one], mark=mark, note=f"IoU {iou:.2f} with {names[1]}")
        wrong[two] = replace(wrong[two], mark=mark, note=f"IoU {iou:.2f} with {names[0]}")
    return Compared(
        replace(truth, regions=tuple(right)),
        replace(predicted, regions=tuple(wrong)),
        total / max(1, len(right)),
        len(wrong) - len(pairs),
    )


def _pairs(truth: Sequence[Region], predicted: Sequence[Region]) -> list[tuple[int, int, float]]:
    """Return the masks that belong together and their IoU, each mask at most once."""
    found: list[tuple[float, bool, int, int]] = []
    for image in sorted({region.image for region in truth}):
        ours = [n for n, region in enumerate(truth) if region.image == image and region.mask]
        theirs = [n for n, region in enumerate(predicted) if region.image == image and region.mask]
        table = masks.iou(
            [mask for n in ours if (mask := truth[n].mask) is not None],
            [mask for n in theirs if (mask := predicted[n].mask) is not None],
        )
        for row, one in enumerate(ours):
            for column, two in enumerate(theirs):
                iou = float(table[row, column])
                if iou >= LEAST_IOU:
                    same = label_of(truth[one].label) == label_of(predicted[two].label)
                    found.append((iou, same, one, two))
    pairs, taken = [], set()
    # Among equal overlaps, those of equal names first.
    for iou, _, one, two in sorted(found, key=lambda item: (-item[0], not item[1], item[2:])):
        if ("truth", one) not in taken and ("predicted", two) not in taken:
            taken |= {("truth", one), ("predicted", two)}
            pairs.append((one, two, iou))
    return pairs
