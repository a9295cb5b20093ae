"""AP50 against pycocotools' COCOeval, and its independence of the order of samples."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calico.evaluation.average_precision import Detections, average_precision
from calico.evaluation.ground_truth import SampleGroundTruth
from calico.evaluation.scoring import ScoreTable, Sum, score
from calico.predictions.types import Prediction, Segment
from tests.factories.evaluation import LetterModel, box, predicted, truth
from tests.oracles.coco_average_precision import coco, naive

Case = tuple[list[SampleGroundTruth], dict[str, Prediction]]


@st.composite
def segments(draw: st.DrawFn, image: int, least: int, scores: st.SearchStrategy[float]) -> Any:
    """Draw boxes on a coarse grid, so that equal masks and IoUs of exactly .5 are frequent."""
    corner = st.tuples(st.sampled_from([0, 4, 8]), st.sampled_from([0, 4]))
    side = st.tuples(st.sampled_from([0, 4, 8]), st.sampled_from([4, 8]))
    found = draw(st.lists(st.tuples(corner, side, scores), min_size=least, max_size=4))
    return [Segment("head", image, box(*xy, *wh), value) for xy, wh, value in found]


@st.composite
def cases(draw: st.DrawFn, scores: st.SearchStrategy[float]) -> Case:
    samples, predictions = [], {}
    names = draw(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=4, unique=True))
    for name in names:
        true = [s for image in (0, 1) for s in draw(segments(image, 1, st.just(1.0)))]
        said = [s for image in (0, 1) for s in draw(segments(image, 0, scores))]
        samples.append(truth(name, true))
        predictions[name] = predicted(name, said)
    return samples, predictions


def table_of(case: Case) -> ScoreTable:
    return score(*case, LetterModel(), LetterModel())


def ours(table: ScoreTable, detections: Detections) -> float:
    targets = table.sums[:, Sum.TARGETS].astype(np.int64)
    return float(average_precision(detections, targets, np.ones((1, len(targets)), int))[0])


SCORES = st.sampled_from([0.1, 0.5, 0.5, 0.9])


@settings(max_examples=60, deadline=None)
@given(cases(SCORES))
def test_equal_scores_agree_with_cocoeval(case: Case) -> None:
    table = table_of(case)
    assert ours(table, table.detections) == pytest.approx(coco(case, False), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(cases(SCORES))
def test_own_scores_agree_with_cocoeval(case: Case) -> None:
    table = table_of(case)
    assert ours(table, table.scored) == pytest.approx(coco(case, True), abs=1e-12)


DETECTIONS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12)


@settings(deadline=None)
@given(DETECTIONS, st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1))
def test_weights_agree_with_repeated_detections(
    found: list[tuple[int, bool]], weights: list[list[int]]
) -> None:
    sample = np.array([index for index, _ in found], np.int64)
    hit = np.array([is_hit for _, is_hit in found], bool)
    targets = np.bincount(sample[hit], minlength=4) + 1
    values = average_precision(Detections(sample, hit), targets, np.array(weights))
    for row, value in zip(weights, values, strict=True):
        times = np.array(row)
        expected = naive(np.repeat(hit, times[sample]).tolist(), int(times @ targets))
        assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_only_a_hundred_detections_an_image_count() -> None:
    wrong = [Segment("x", 0, box(0, 0, 1, 1), 0.5)] * 100
    right = Segment("x", 0, box(4, 4, 4, 4), 0.9)
    sample = truth("s", [right, Segment("x", 1, box(0, 0, 4, 4))])
    case = [sample], {"s": predicted("s", [*wrong, right])}
    table = table_of(case)
    assert ours(table, table.detections) == 0.0 == coco(case, False)
    assert ours(table, table.scored) == pytest.approx(coco(case, True), abs=1e-12)
    assert ours(table, table.scored) > 0.5


def test_by_hand() -> None:
    detections = Detections(np.array([0, 0, 0]), np.array([True, False, True]))
    # Precision 1 up to recall 1/2 (51 of 101 points), 2/3 up to recall 1 (50 points).
    (value,) = average_precision(detections, np.array([2]), np.array([[1]]))
    assert value == pytest.approx((51 + 50 * 2 / 3) / 101)


@settings(max_examples=50, deadline=None)
@given(cases(SCORES), st.randoms(use_true_random=False))
def test_order_of_samples_changes_nothing(case: Case, rng: random.Random) -> None:
    samples, predictions = case
    shuffled = rng.sample(samples, len(samples))
    swapped = [swap(sample) for sample in shuffled]
    turned = {
        name: predicted(name, [flip(s) for s in sorted(p.segments, key=lambda s: 1 - s.image)])
        for name, p in predictions.items()
    }
    table = table_of(case)
    for other in (table_of((shuffled, predictions)), table_of((swapped, turned))):
        assert ours(other, other.detections) == ours(table, table.detections)
        assert ours(other, other.scored) == ours(table, table.scored)


def flip(segment: Segment) -> Segment:
    return Segment(segment.label, 1 - segment.image, segment.mask, segment.score)


def swap(sample: SampleGroundTruth) -> SampleGroundTruth:
    """Return the sample with its two images the other way round."""
    flipped = [flip(segment) for segment in sample.segments]
    return truth(sample.id, flipped, images=(sample.image_ids[1], sample.image_ids[0]))
