"""Sums a sample from ground truth and predictions; every metric is a ratio of two of them.

Definitions and variants: docs/evaluation.md. A unit is one image of one sample, because the ground
truth of an image depends on its partner. Sums of samples, and not of units, because the bootstrap
draws samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, auto
from itertools import islice
from math import fsum

import numpy as np
from numpy.typing import NDArray

from calico.evaluation import labels as text
from calico.evaluation import matching
from calico.evaluation.average_precision import IOU_THRESHOLD, MAX_DETECTIONS, Detections
from calico.evaluation.ground_truth import SampleGroundTruth
from calico.evaluation.text import TextModel
from calico.predictions.types import InvalidPrediction, Prediction, Segment, check_prediction
from mixedparts import masks
from mixedparts.errors import InputError

LEAST_IOU = 0.5  # of a Recall hit
LEAST_COSINE = 0.5
_CHUNK = 512  # samples whose texts are encoded together


class Sum(IntEnum):
    """Columns of `ScoreTable.sums`; the letters A, B and C are the pair rules of SS and S-IoU."""

    UNITS = 0
    TARGETS = auto()  # annotated masks
    # Sums over units: the mean IoU of greedy pairs, and the IoU of pairs over the larger number.
    IOU_GREEDY = auto()
    IOU_STRICT = auto()
    HITS_GLAMM = auto()
    HITS_FIXED = auto()
    # Sums over compared label pairs: cosines, and IoU of words.
    SS_A = auto()
    WORDS_A = auto()
    SS_B = auto()
    WORDS_B = auto()
    COMPARED_B = auto()
    SS_C = auto()
    WORDS_C = auto()
    COMPARED_C = auto()
    # Sums over units of the sizes of label sets.
    LABELS_HIT = auto()
    LABELS_HIT_TWICE = auto()
    LABELS_PREDICTED = auto()
    LABELS_ANNOTATED = auto()
    LABELS_EITHER = auto()  # predicted + annotated, the denominator of F1


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Sums of every sample, in the order of their ids, and the detections of AP50.

    Attributes:
        tasks: one a sample.
        sources: one a sample.
        class_pairs: one a sample: its object classes by the alphabet, such as `bus / truck`.
        sums: (S, len(Sum)) float64.
        detections: with score 1.0 for all, so in the order of generation.
        scored: ordered by the model's own scores.
        missing: number of samples without a prediction; they count as an empty one.
        segments: number of predicted masks.
        untagged: number of `[SEG]` without a tag.
    """

    tasks: tuple[str, ...]
    sources: tuple[str, ...]
    class_pairs: tuple[str, ...]
    sums: NDArray[np.float64]
    detections: Detections
    scored: Detections
    missing: int
    segments: int
    untagged: int


@dataclass(frozen=True, slots=True)
class _Unit:
    """Detections of one unit for AP50, in the order of generation and by score.

    Attributes:
        key: sample id, image id and image number, the fixed order of units.
        sample: index of the sample.
        hits: (d,) bool true positives in the order of generation.
        scores: (d,) float64, descending.
        scored_hits: (d,) bool true positives by score.
    """

    key: tuple[str, str, int]
    sample: int
    hits: NDArray[np.bool_]
    scores: NDArray[np.float64]
    scored_hits: NDArray[np.bool_]


def score(
    samples: Sequence[SampleGroundTruth],
    predictions: Mapping[str, Prediction],
    ss_model: TextModel,
    recall_model: TextModel,
) -> ScoreTable:
    """Compare predictions with the ground truth.

    Args:
        samples: to score; one without a prediction counts as having an empty one.
        predictions: by sample id.
        ss_model: text model of SS.
        recall_model: text model of Recall's label test; may be the same.

    Returns:
        Sums of all samples.

    Raises:
        InputError: a prediction cannot belong to its sample.
    """
    # By id: neither sums nor bootstrap draws depend on the order of rows.
    samples = sorted(samples, key=lambda sample: sample.id)
    sums = np.zeros((len(samples), len(Sum)))
    units: list[_Unit] = []
    given = [predictions.get(sample.id) or Prediction(sample.id, "", ()) for sample in samples]
    for chunk in _chunks(range(len(samples)), _CHUNK):
        _prepare([(samples[i], given[i]) for i in chunk], ss_model, recall_model)
        for index in chunk:
            sample, prediction = samples[index], given[index]
            try:
                check_prediction(prediction, sample.sizes)
            except InvalidPrediction as error:
                raise InputError(f"the prediction for '{sample.id}': {error}") from error
            row = sums[index]
            for image in range(len(sample.sizes)):
                predicted = [s for s in prediction.segments if s.image == image]
                annotated = [s for s in sample.segments if s.image == image]
                key = (sample.id, sample.image_ids[image], image)
                ious = masks.iou([s.mask for s in predicted], [s.mask for s in annotated])
                units.append(_detections(key, index, predicted, ious))
                _score_unit(row, predicted, annotated, ious, ss_model, recall_model)
            _score_texts(row, prediction.segments, sample.segments, ss_model)
    return ScoreTable(
        tasks=tuple(sample.task for sample in samples),
        sources=tuple(sample.source for sample in samples),
        class_pairs=tuple(" / ".join(sorted(sample.classes)) for sample in samples),
        sums=sums,
        detections=_in_order(units, scored=False),
        scored=_in_order(units, scored=True),
        missing=sum(sample.id not in predictions for sample in samples),
        segments=sum(len(prediction.segments) for prediction in given),
        untagged=sum(prediction.untagged for prediction in given),
    )


def _chunks(items: Iterable[int], size: int) -> Iterator[list[int]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def _plain(segments: Sequence[Segment]) -> list[str]:
    return [text.plain(segment.label) for segment in segments]


def _prepare(
    pairs: Sequence[tuple[SampleGroundTruth, Prediction]],
    ss_model: TextModel,
    recall_model: TextModel,
) -> None:
    """Let the text models encode all texts of the chunk in one call each."""
    predicted = [_plain(prediction.segments) for _, prediction in pairs]
    annotated = [_plain(sample.segments) for sample, _ in pairs]
    every = {label for group in (*predicted, *annotated) for label in group}
    recall_model.prepare(every)
    strings = [
        (text.whole_string(p), text.whole_string(g))
        for p, g in zip(predicted, annotated, strict=True)
    ]
    # Equal strings have cosine 1 without the model, and whole strings take longest to encode.
    different = {string for pair in strings if pair[0] != pair[1] for string in pair}
    ss_model.prepare(every | different)


def _score_unit(
    row: NDArray[np.float64],
    predicted: Sequence[Segment],
    annotated: Sequence[Segment],
    ious: NDArray[np.float64],
    ss_model: TextModel,
    recall_model: TextModel,
) -> None:
    """Add one unit to the sums that depend on masks, and to those of label sets."""
    predicted_labels, annotated_labels = _plain(predicted), _plain(annotated)
    row[Sum.UNITS] += 1
    row[Sum.TARGETS] += len(annotated)
    predicted_keys = {text.key_of(label) for label in predicted_labels}
    annotated_keys = {text.key_of(label) for label in annotated_labels}
    row[Sum.LABELS_HIT] += len(predicted_keys & annotated_keys)
    row[Sum.LABELS_HIT_TWICE] += 2 * len(predicted_keys & annotated_keys)
    row[Sum.LABELS_PREDICTED] += len(predicted_keys)
    row[Sum.LABELS_ANNOTATED] += len(annotated_keys)
    row[Sum.LABELS_EITHER] += len(predicted_keys) + len(annotated_keys)
    # Without predictions all other sums of the unit are 0; its targets and itself are counted.
    if not predicted:
        return
    ious = matching.with_empty_agreeing(
        ious, [s.mask for s in predicted], [s.mask for s in annotated]
    )
    pairs = matching.greedy_pairs(ious)
    # `fsum` rounds once, whatever the order; from Python 3.12 on, `sum` gives other last digits.
    total = fsum(ious[pair] for pair in pairs)
    # GLaMM's mIoU averages over matched pairs only: misses and extra masks cost nothing as long as
    # one pair overlaps. The strict form divides by the larger number, so both count as 0.
    row[Sum.IOU_GREEDY] += total / len(pairs) if pairs else 0.0
    row[Sum.IOU_STRICT] += total / max(len(predicted), len(annotated))
    cosines = recall_model.similarity(predicted_labels, annotated_labels)
    row[Sum.HITS_GLAMM] += matching.recall_glamm(ious, cosines, LEAST_IOU, LEAST_COSINE)
    row[Sum.HITS_FIXED] += matching.recall_fixed(ious, cosines, LEAST_IOU, LEAST_COSINE)
    if recall_model is not ss_model:
        cosines = ss_model.similarity(predicted_labels, annotated_labels)
    # Rule (a): labels of mask-matched pairs; annotated masks without a match count as 0, because
    # the denominator is the number of all of them.
    row[Sum.SS_A] += fsum(cosines[pair] for pair in pairs)
    row[Sum.WORDS_A] += text.summed_word_iou(predicted_labels, annotated_labels, pairs)


def _score_texts(
    row: NDArray[np.float64],
    predicted: Sequence[Segment],
    annotated: Sequence[Segment],
    ss_model: TextModel,
) -> None:
    """Add one sample to the sums of rules (b) and (c), which use no mask."""
    predicted_labels, annotated_labels = _plain(predicted), _plain(annotated)
    # Rule (b): all labels of the sample, images ignored, paired for the largest total cosine. What
    # is left over on either side counts as 0, since the larger number is the denominator.
    row[Sum.COMPARED_B] += max(len(predicted), len(annotated))
    row[Sum.COMPARED_C] += 1
    if not predicted:
        return
    cosines = ss_model.similarity(predicted_labels, annotated_labels)
    pairs = text.assignment(cosines)
    row[Sum.SS_B] += fsum(cosines[pair] for pair in pairs)
    row[Sum.WORDS_B] += text.summed_word_iou(predicted_labels, annotated_labels, pairs)
    # Rule (c): one pair a sample, its distinct labels as one text. Equal texts need no model.
    first, second = text.whole_string(predicted_labels), text.whole_string(annotated_labels)
    row[Sum.WORDS_C] += text.word_iou(first, second)
    row[Sum.SS_C] += 1.0 if first == second else ss_model.similarity([first], [second]).item()


def _detections(
    key: tuple[str, str, int], sample: int, predicted: Sequence[Segment], ious: NDArray[np.float64]
) -> _Unit:
    """Match the detections of a unit by COCO's rules, in the order of generation and by score."""
    # The limit cuts before matching, as in COCOeval, and after sorting by score.
    scores = np.array([segment.score for segment in predicted], np.float64)
    by_score = np.argsort(-scores, kind="stable")[:MAX_DETECTIONS]
    hits = scored_hits = matching.coco_hits(ious[:MAX_DETECTIONS], IOU_THRESHOLD)
    if (by_score != np.arange(len(by_score))).any():
        scored_hits = matching.coco_hits(ious[by_score], IOU_THRESHOLD)
    return _Unit(key, sample, hits, scores[by_score], scored_hits)


def _in_order(units: list[_Unit], scored: bool) -> Detections:
    """Return the detections of all units in their fixed order, or by score over all units."""
    units = sorted(units, key=lambda unit: unit.key)
    hits = [unit.scored_hits if scored else unit.hits for unit in units]
    sample = np.repeat(
        np.array([unit.sample for unit in units], np.int64), [len(part) for part in hits]
    )
    hit = np.concatenate([*hits, np.zeros(0, bool)])
    if not scored:
        return Detections(sample, hit)
    # Stable, so equal scores keep the fixed order.
    order = np.argsort(-np.concatenate([unit.scores for unit in units] or [hit]), kind="stable")
    return Detections(sample[order], hit[order])
