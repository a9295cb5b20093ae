"""Sums a sample from ground truth and predictions; every metric is a ratio of two of them.

Definitions and variants: docs/evaluation.md. A unit is one image of one sample, because the ground
truth of an image depends on its partner. Sums of samples, and not of units, because the bootstrap
draws samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, auto
from itertools import islice
from math import fsum

import numpy as np
from numpy.typing import NDArray

from calico.evaluation import labels as text
from calico.evaluation.average_precision import Detections
from calico.evaluation.ground_truth import SampleGroundTruth
from calico.evaluation.text import TextModel
from calico.evaluation.units import DetectedUnit, UnitScore, compare_unit
from calico.predictions.types import InvalidPrediction, Prediction, Segment, check_prediction
from mixedparts.errors import InputError

Record = Callable[[SampleGroundTruth, Sequence[UnitScore]], None]
"""Gets each sample with the comparison of its images, in the order of ids."""
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
        ids: one a sample, ascending.
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

    ids: tuple[str, ...]
    tasks: tuple[str, ...]
    sources: tuple[str, ...]
    class_pairs: tuple[str, ...]
    sums: NDArray[np.float64]
    detections: Detections
    scored: Detections
    missing: int
    segments: int
    untagged: int


def score(
    samples: Sequence[SampleGroundTruth],
    predictions: Mapping[str, Prediction],
    ss_model: TextModel,
    recall_model: TextModel,
    record: Record | None = None,
) -> ScoreTable:
    """Compare predictions with the ground truth.

    Args:
        samples: to score; one without a prediction counts as having an empty one.
        predictions: by sample id.
        ss_model: text model of SS.
        recall_model: text model of Recall's label test; may be the same.
        record: gets what was found in each sample, for tables of regions.

    Returns:
        Sums of all samples.

    Raises:
        InputError: a prediction cannot belong to its sample.
    """
    # By id: neither sums nor bootstrap draws depend on the order of rows.
    samples = sorted(samples, key=lambda sample: sample.id)
    sums = np.zeros((len(samples), len(Sum)))
    detected: list[DetectedUnit] = []
    given = [predictions.get(sample.id) or Prediction(sample.id, "", ()) for sample in samples]
    for chunk in _chunks(range(len(samples)), _CHUNK):
        _prepare([(samples[i], given[i]) for i in chunk], ss_model, recall_model)
        for index in chunk:
            sample, prediction = samples[index], given[index]
            try:
                check_prediction(prediction, sample.sizes)
            except InvalidPrediction as error:
                raise InputError(f"the prediction for '{sample.id}': {error}") from error
            units = _units(index, sample, prediction, (ss_model, recall_model))
            for unit in units:
                _add_unit(sums[index], unit)
            _add_texts(sums[index], prediction.segments, sample.segments, ss_model)
            detected += [unit.detected for unit in units]
            if record is not None:
                record(sample, units)
    return ScoreTable(
        ids=tuple(sample.id for sample in samples),
        tasks=tuple(sample.task for sample in samples),
        sources=tuple(sample.source for sample in samples),
        class_pairs=tuple(sample.class_pair for sample in samples),
        sums=sums,
        detections=in_order(detected, scored=False),
        scored=in_order(detected, scored=True),
        missing=sum(sample.id not in predictions for sample in samples),
        segments=sum(len(prediction.segments) for prediction in given),
        untagged=sum(prediction.untagged for prediction in given),
    )


def _units(
    index: int,
    sample: SampleGroundTruth,
    prediction: Prediction,
    models: tuple[TextModel, TextModel],
) -> list[UnitScore]:
    """Compare every image of a sample."""
    return [
        compare_unit(
            (sample.id, sample.image_ids[image], image),
            index,
            [segment for segment in prediction.segments if segment.image == image],
            [segment for segment in sample.segments if segment.image == image],
            models,
        )
        for image in range(len(sample.sizes))
    ]


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


def _add_unit(row: NDArray[np.float64], unit: UnitScore) -> None:
    """Add one unit to the sums that depend on masks, and to those of label sets."""
    predicted = {text.key_of(label) for label in _plain(unit.predicted)}
    annotated = {text.key_of(label) for label in _plain(unit.annotated)}
    row[Sum.UNITS] += 1
    row[Sum.TARGETS] += len(unit.annotated)
    row[Sum.LABELS_HIT] += len(predicted & annotated)
    row[Sum.LABELS_HIT_TWICE] += 2 * len(predicted & annotated)
    row[Sum.LABELS_PREDICTED] += len(predicted)
    row[Sum.LABELS_ANNOTATED] += len(annotated)
    row[Sum.LABELS_EITHER] += len(predicted) + len(annotated)
    row[Sum.IOU_GREEDY] += unit.iou_greedy
    row[Sum.IOU_STRICT] += unit.iou_strict
    row[Sum.HITS_GLAMM] += len(unit.hits_glamm)
    row[Sum.HITS_FIXED] += len(unit.hits_fixed)
    # Rule (a): labels of mask-matched pairs; annotated masks without a match count as 0, because
    # the denominator is the number of all of them.
    row[Sum.SS_A] += fsum(unit.cosines)
    row[Sum.WORDS_A] += fsum(unit.words)


def _add_texts(
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


def in_order(units: Sequence[DetectedUnit], scored: bool) -> Detections:
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
