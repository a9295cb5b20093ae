"""From ground truth and predictions to sums a sample, of which every metric is a ratio.

Definitions and variants: docs/evaluation.md. A unit is one image of one sample, because what an
image should be answered with depends on its partner.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, auto
from itertools import islice

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
_CHUNK = 512  # samples whose texts are encoded in one go


class Sum(IntEnum):
    """Columns of `ScoreTable.sums`."""

    UNITS = 0
    TARGETS = auto()  # annotated masks
    IOU_GREEDY = auto()
    IOU_STRICT = auto()
    HITS_GLAMM = auto()
    HITS_FIXED = auto()
    SS_A = auto()
    WORDS_A = auto()
    SS_B = auto()
    WORDS_B = auto()
    COMPARED_B = auto()
    SS_C = auto()
    WORDS_C = auto()
    COMPARED_C = auto()
    LABELS_HIT = auto()
    LABELS_HIT_TWICE = auto()
    LABELS_PREDICTED = auto()
    LABELS_ANNOTATED = auto()
    LABELS_EITHER = auto()  # said + true, the denominator of F1


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Sums of every sample, in the order of their ids, and the detections that AP50 is made of.

    Attributes:
        tasks, sources: one a sample.
        class_pairs: one a sample: its object classes, `bus / truck`, whichever image is first.
        sums: (S, len(Sum)) float64.
        detections: with score 1.0 for all, that is in order of generation.
        scored: by the model's own scores.
        missing: samples without a prediction; they count as an empty one.
        segments, untagged: totals over the predictions.
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
    """AP50's share of one unit: scores and hits of its detections, in both orders."""

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

    Samples are taken in the order of their ids, so that neither sums nor bootstrap draws depend on
    the order of rows.

    Args:
        samples: what to score; a sample without a prediction counts as answered by nothing.
        predictions: by sample id.
        ss_model: text model of SS.
        recall_model: text model of Recall's label test; may be the same.

    Raises:
        InputError: a prediction that cannot belong to its sample.
    """
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
                said = [s for s in prediction.segments if s.image == image]
                true = [s for s in sample.segments if s.image == image]
                key = (sample.id, sample.image_ids[image], image)
                ious = masks.iou([s.mask for s in said], [s.mask for s in true])
                units.append(_detections(key, index, said, ious))
                _score_unit(row, said, true, ious, ss_model, recall_model)
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
    """Let the text models encode all that the chunk will ask for."""
    said = [_plain(prediction.segments) for _, prediction in pairs]
    true = [_plain(sample.segments) for sample, _ in pairs]
    every = {label for group in (*said, *true) for label in group}
    recall_model.prepare(every)
    strings = [
        (text.whole_string(p), text.whole_string(g)) for p, g in zip(said, true, strict=True)
    ]
    different = {string for pair in strings if pair[0] != pair[1] for string in pair}
    ss_model.prepare(every | different)


def _score_unit(
    row: NDArray[np.float64],
    said: Sequence[Segment],
    true: Sequence[Segment],
    ious: NDArray[np.float64],
    ss_model: TextModel,
    recall_model: TextModel,
) -> None:
    """Add one unit's share of everything that depends on masks, and its label sets."""
    said_labels, true_labels = _plain(said), _plain(true)
    row[Sum.UNITS] += 1
    row[Sum.TARGETS] += len(true)
    said_keys = {text.key_of(label) for label in said_labels}
    true_keys = {text.key_of(label) for label in true_labels}
    row[Sum.LABELS_HIT] += len(said_keys & true_keys)
    row[Sum.LABELS_HIT_TWICE] += 2 * len(said_keys & true_keys)
    row[Sum.LABELS_PREDICTED] += len(said_keys)
    row[Sum.LABELS_ANNOTATED] += len(true_keys)
    row[Sum.LABELS_EITHER] += len(said_keys) + len(true_keys)
    if not said:
        return
    ious = matching.with_empty_agreeing(ious, [s.mask for s in said], [s.mask for s in true])
    pairs = matching.greedy_pairs(ious)
    total = float(sum(ious[pair] for pair in pairs))
    row[Sum.IOU_GREEDY] += total / len(pairs) if pairs else 0.0
    row[Sum.IOU_STRICT] += total / max(len(said), len(true))
    cosines = recall_model.similarity(said_labels, true_labels)
    row[Sum.HITS_GLAMM] += matching.recall_glamm(ious, cosines, LEAST_IOU, LEAST_COSINE)
    row[Sum.HITS_FIXED] += matching.recall_fixed(ious, cosines, LEAST_IOU, LEAST_COSINE)
    if recall_model is not ss_model:
        cosines = ss_model.similarity(said_labels, true_labels)
    row[Sum.SS_A] += float(sum(cosines[pair] for pair in pairs))
    row[Sum.WORDS_A] += text.summed_word_iou(said_labels, true_labels, pairs)


def _score_texts(
    row: NDArray[np.float64],
    said: Sequence[Segment],
    true: Sequence[Segment],
    ss_model: TextModel,
) -> None:
    """Add one sample's share of the text metrics that look at no mask: rules (b) and (c)."""
    said_labels, true_labels = _plain(said), _plain(true)
    row[Sum.COMPARED_B] += max(len(said), len(true))
    row[Sum.COMPARED_C] += 1
    if not said:
        return
    cosines = ss_model.similarity(said_labels, true_labels)
    pairs = text.assignment(cosines)
    row[Sum.SS_B] += float(sum(cosines[pair] for pair in pairs))
    row[Sum.WORDS_B] += text.summed_word_iou(said_labels, true_labels, pairs)
    said_string, true_string = text.whole_string(said_labels), text.whole_string(true_labels)
    row[Sum.WORDS_C] += text.word_iou(said_string, true_string)
    same = said_string == true_string  # then the model need not be asked
    row[Sum.SS_C] += 1.0 if same else ss_model.similarity([said_string], [true_string]).item()


def _detections(
    key: tuple[str, str, int], sample: int, said: Sequence[Segment], ious: NDArray[np.float64]
) -> _Unit:
    """Match a unit's detections by COCO's rules, in order of generation and by score."""
    scores = np.array([segment.score for segment in said], np.float64)
    by_score = np.argsort(-scores, kind="stable")[:MAX_DETECTIONS]
    hits = scored_hits = matching.coco_hits(ious[:MAX_DETECTIONS], IOU_THRESHOLD)
    if (by_score != np.arange(len(by_score))).any():
        scored_hits = matching.coco_hits(ious[by_score], IOU_THRESHOLD)
    return _Unit(key, sample, hits, scores[by_score], scored_hits)


def _in_order(units: list[_Unit], scored: bool) -> Detections:
    """Line up all units' detections: units in their fixed order, then by score if asked."""
    units = sorted(units, key=lambda unit: unit.key)
    hits = [unit.scored_hits if scored else unit.hits for unit in units]
    sample = np.repeat(
        np.array([unit.sample for unit in units], np.int64), [len(part) for part in hits]
    )
    hit = np.concatenate([*hits, np.zeros(0, bool)])
    if not scored:
        return Detections(sample, hit)
    order = np.argsort(-np.concatenate([unit.scores for unit in units] or [hit]), kind="stable")
    return Detections(sample[order], hit[order])
