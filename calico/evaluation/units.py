"""Comparison of one unit: the predicted and annotated masks of one image of one sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np
from numpy.typing import NDArray

from calico.evaluation import labels as text
from calico.evaluation import matching
from calico.evaluation.average_precision import IOU_THRESHOLD, MAX_DETECTIONS
from calico.evaluation.matching import Pairs
from calico.evaluation.text import TextModel
from calico.predictions.types import Segment
from mixedparts import masks

LEAST_IOU = 0.5  # of a Recall hit
LEAST_COSINE = 0.5
UnitKey = tuple[str, str, int]
"""Sample id, image id and image number: the fixed order of units."""


@dataclass(frozen=True, slots=True)
class DetectedUnit:
    """Detections of one unit for AP50, in the order of generation and by score.

    Attributes:
        key: the place of the unit in the fixed order.
        sample: index of the sample.
        hits: (d,) bool true positives in the order of generation.
        by_score: (d,) int64 positions of the detections in descending score.
        scores: (d,) float64, descending.
        scored_hits: (d,) bool true positives by score.
    """

    key: UnitKey
    sample: int
    hits: NDArray[np.bool_]
    by_score: NDArray[np.int64]
    scores: NDArray[np.float64]
    scored_hits: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class UnitScore:
    """What the metrics found in one unit. Pairs are positions (predicted, annotated).

    Attributes:
        image: number of the image, from 0.
        predicted: masks of the answer in the order of generation.
        annotated: masks of the ground truth.
        pairs: greedy pairs by descending IoU.
        ious: of the pairs; two empty masks have 1.
        cosines: of the labels of the pairs, by the model of SS.
        words: IoU of the words of the labels of the pairs.
        hits_glamm: hits of GLaMM's Recall.
        hits_fixed: hits of the corrected Recall.
        detected: for AP50.
    """

    image: int
    predicted: tuple[Segment, ...]
    annotated: tuple[Segment, ...]
    pairs: Pairs
    ious: tuple[float, ...]
    cosines: tuple[float, ...]
    words: tuple[float, ...]
    hits_glamm: Pairs
    hits_fixed: Pairs
    detected: DetectedUnit

    @property
    def iou_greedy(self) -> float:
        """Mean IoU of the pairs, as in GLaMM's mIoU; 0 without a pair."""
        # Misses and extra masks cost nothing as long as one pair overlaps. `fsum` rounds once,
        # whatever the order; from Python 3.12 on, `sum` gives other last digits.
        return fsum(self.ious) / len(self.pairs) if self.pairs else 0.0

    @property
    def iou_strict(self) -> float:
        """Sum of the pairs' IoU over the larger number of masks: misses and extras count as 0."""
        return fsum(self.ious) / max(len(self.predicted), len(self.annotated), 1)


def compare_unit(
    key: UnitKey,
    sample: int,
    predicted: Sequence[Segment],
    annotated: Sequence[Segment],
    models: tuple[TextModel, TextModel],
) -> UnitScore:
    """Compare the masks of one unit.

    Args:
        key: the place of the unit in the fixed order.
        sample: index of the sample.
        predicted: masks of the answer in the order of generation.
        annotated: masks of the ground truth, at least one.
        models: text models of SS and of Recall.

    Returns:
        Pairs, hits and detections.
    """
    first, second = [s.mask for s in predicted], [s.mask for s in annotated]
    ious = masks.iou(first, second)
    detected = _detections(key, sample, predicted, ious)
    pairs: Pairs = []
    glamm: Pairs = []
    fixed: Pairs = []
    if predicted:
        ious = matching.with_empty_agreeing(ious, first, second)
        pairs = matching.greedy_pairs(ious)
    said = [text.plain(segment.label) for segment in predicted]
    true = [text.plain(segment.label) for segment in annotated]
    cosines = np.zeros((len(said), len(true)))
    if predicted:
        ss_model, recall_model = models
        cosines = recall_model.similarity(said, true)
        glamm = matching.recall_glamm(ious, cosines, LEAST_IOU, LEAST_COSINE)
        fixed = matching.recall_fixed(ious, cosines, LEAST_IOU, LEAST_COSINE)
        if recall_model is not ss_model:
            cosines = ss_model.similarity(said, true)
    return UnitScore(
        image=key[2],
        predicted=tuple(predicted),
        annotated=tuple(annotated),
        pairs=pairs,
        ious=tuple(float(ious[pair]) for pair in pairs),
        cosines=tuple(float(cosines[pair]) for pair in pairs),
        words=tuple(text.word_iou(said[row], true[column]) for row, column in pairs),
        hits_glamm=glamm,
        hits_fixed=fixed,
        detected=detected,
    )


def _detections(
    key: UnitKey, sample: int, predicted: Sequence[Segment], ious: NDArray[np.float64]
) -> DetectedUnit:
    """Match the detections of a unit by COCO's rules, in the order of generation and by score."""
    # The limit cuts before matching, as in COCOeval, and after sorting by score.
    scores = np.array([segment.score for segment in predicted], np.float64)
    by_score = np.argsort(-scores, kind="stable")[:MAX_DETECTIONS]
    hits = scored_hits = matching.coco_hits(ious[:MAX_DETECTIONS], IOU_THRESHOLD)
    if (by_score != np.arange(len(by_score))).any():
        scored_hits = matching.coco_hits(ious[by_score], IOU_THRESHOLD)
    return DetectedUnit(key, sample, hits, by_score, scores[by_score], scored_hits)
