"""The metrics against a second computation with dense masks, and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calico.evaluation.ground_truth import SampleGroundTruth
from calico.evaluation.scoring import Sum, score
from calico.evaluation.summary import METRICS, summarise
from calico.predictions.types import Prediction, Segment
from mixedparts import masks
from mixedparts.errors import InputError
from tests.factories.evaluation import LetterModel, answered, box, predicted, truth
from tests.oracles.scores import by_formula, s_iou_b_range

MODEL = LetterModel()
Case = tuple[list[SampleGroundTruth], dict[str, Prediction]]


def metrics(case: Case) -> dict[str, float]:
    """Score with the letter model; return every metric over all tasks."""
    summary = summarise(score(*case, MODEL, MODEL), replicates=0)
    return {name: summary.overall.metrics[name].value for name in METRICS}


LABELS = st.sampled_from(["head", "the head", "side mirror", "mirror", "Dog", "tail", ""])
BOXES = st.tuples(
    st.sampled_from([0, 4, 6]), st.sampled_from([0, 4]), st.sampled_from([0, 4, 7]), st.just(6)
)


@st.composite
def segments(draw: st.DrawFn, image: int, least: int) -> list[Segment]:
    found = draw(st.lists(st.tuples(LABELS, BOXES), min_size=least, max_size=4))
    return [Segment(label, image, box(*corners)) for label, corners in found]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    names = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))
    samples = [truth(n, draw(segments(0, 1)) + draw(segments(1, 1))) for n in names]
    said = {n: predicted(n, draw(segments(0, 0)) + draw(segments(1, 0))) for n in names}
    for name in draw(st.lists(st.sampled_from(names), max_size=1)):
        del said[name]
    return samples, said


@settings(max_examples=40, deadline=None)
@given(cases())
def test_metrics_equal_their_formulas(case: Case) -> None:
    samples, predictions = case
    if max(len(x) for x in [*(s.segments for s in samples), *said_in(predictions)]) > 5:
        # Rule (b) tries all permutations: keep the lists short.
        case = (
            [truth(s.id, short(s)) for s in samples],
            {n: predicted(n, p.segments[:5]) for n, p in predictions.items()},
        )
    found = metrics(case)
    expected = by_formula(case)
    assert {*METRICS} - {*expected} == {"ap50", "ap50_scored", "s_iou_b"}  # AP50: next file
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name
    low, high = s_iou_b_range(case)
    assert low - 1e-9 <= found["s_iou_b"] <= high + 1e-9


def said_in(predictions: dict[str, Prediction]) -> list[tuple[Segment, ...]]:
    return [prediction.segments for prediction in predictions.values()]


def short(sample: SampleGroundTruth) -> list[Segment]:
    return [
        [s for s in sample.segments if s.image == image][k] for image in (0, 1) for k in (0, -1)
    ]


@settings(max_examples=40, deadline=None)
@given(cases())
def test_the_truth_scores_exactly_one(case: Case) -> None:
    # Of two equal masks in an image any may be taken first, whatever its label: keep one.
    samples = [truth(s.id, one_a_mask(s)) for s in case[0]]
    found = metrics((samples, {sample.id: answered(sample) for sample in samples}))
    assert found == dict.fromkeys(METRICS, 1.0)


def one_a_mask(sample: SampleGroundTruth) -> list[Segment]:
    kept = {(s.image, s.mask): s for s in sample.segments if masks.area(s.mask)}
    for image in (0, 1):  # an empty mask never matches by COCO's rule
        kept.setdefault((image, box(0, 0, 3, 3)), Segment("end", image, box(0, 0, 3, 3)))
    return list(kept.values())


TRUE = [
    Segment("dog", 0, box(0, 0, 8, 8)),
    Segment("dog", 1, box(4, 0, 8, 8)),
    Segment("ear", 0, box(0, 0, 2, 2)),
    Segment("tail", 1, box(4, 0, 2, 2)),
]


def test_wrong_labels_lower_only_text_and_recall() -> None:
    sample = truth("s", TRUE)
    wrong = [Segment("zzz", s.image, s.mask) for s in TRUE]
    found = metrics(([sample], {"s": predicted("s", wrong)}))
    assert {name for name, value in found.items() if value == 1.0} == {
        "ap50",
        "ap50_scored",
        "miou",
        "miou_strict",
    }
    assert {value for value in found.values() if value != 1.0} == {0.0}


def test_wrong_masks_lower_no_text_metric_of_rules_b_and_c() -> None:
    sample = truth("s", TRUE)
    wrong = [Segment(s.label, s.image, box(14, 10, 2, 2)) for s in TRUE]
    found = metrics(([sample], {"s": predicted("s", wrong)}))
    text = {"ss_b", "ss_c", "s_iou_b", "s_iou_c", "label_precision", "label_recall", "label_f1"}
    assert {name for name, value in found.items() if value == 1.0} == text
    assert {value for name, value in found.items() if name not in text} == {0.0}


def test_by_hand() -> None:
    said = [
        Segment("a dog", 0, box(0, 0, 8, 4)),  # IoU .5
        Segment("dog", 1, box(4, 0, 8, 8)),  # IoU 1
        Segment("tail", 1, box(4, 0, 2, 1)),  # IoU .5
        Segment("tail", 1, box(15, 11, 1, 1)),  # superfluous
    ]
    found = metrics(([truth("s", TRUE)], {"s": predicted("s", said)}))
    # Image 0: one of two found, no extra. Image 1: both found, one extra.
    assert found["miou"] == pytest.approx((0.5 + (1 + 0.5) / 2) / 2)
    assert found["miou_strict"] == pytest.approx((0.5 / 2 + (1 + 0.5) / 3) / 2)
    assert found["recall_glamm"] == found["recall_fixed"] == pytest.approx(3 / 4)
    assert found["ap50"] == pytest.approx(76 / 101)  # three hits, then a miss; recall stops at 3/4
    assert found["ss_a"] == found["s_iou_a"] == pytest.approx(3 / 4)
    # dog-dog twice, tail-tail, and what is left over on both sides: tail-ear.
    tail_ear = float(MODEL.similarity(["tail"], ["ear"]).item())
    assert found["ss_b"] == pytest.approx((3 + tail_ear) / 4)
    assert found["s_iou_b"] == pytest.approx(3 / 4)
    assert found["s_iou_c"] == pytest.approx(2 / 3)  # "dog, tail" against "dog, ear, tail"
    assert found["label_precision"] == pytest.approx(3 / 3)  # sets: {dog}, {dog, tail}
    assert found["label_recall"] == pytest.approx(3 / 4)
    assert found["label_f1"] == pytest.approx(6 / 7)


def test_a_missing_prediction_counts_as_empty() -> None:
    samples = [truth("s", TRUE), truth("t", TRUE)]
    table = score(samples, {"s": predicted("s", TRUE, untagged=2)}, MODEL, MODEL)
    assert (table.missing, table.segments, table.untagged) == (1, 4, 2)
    missing = metrics((samples, {"s": predicted("s", TRUE)}))
    empty = metrics((samples, {"s": predicted("s", TRUE), "t": predicted("t", [])}))
    assert missing == empty
    assert missing["miou"] == missing["ss_b"] == missing["label_recall"] == 0.5
    assert missing["label_precision"] == 1.0


def test_label_sets_equal_scikit_learn() -> None:
    from sklearn.metrics import precision_recall_fscore_support

    rng = np.random.Generator(np.random.Philox(5))
    names = ["head", "leg", "tail", "arm"]
    samples, said, units = [], {}, []
    for number in range(30):
        chosen = rng.random((2, 2, len(names))) < 0.5  # (said or true, image, label)
        chosen[1, :, 0] = True
        lists = [
            [Segment(names[k], image, box(0, 0, 4, 4)) for image, k in np.argwhere(side).tolist()]
            for side in chosen
        ]
        samples.append(truth(f"s{number}", lists[1]))
        said[f"s{number}"] = predicted(f"s{number}", lists[0])
        units.append(chosen)
    stacked = np.concatenate(units, axis=1)
    expected = precision_recall_fscore_support(stacked[1], stacked[0], average="micro")
    found = metrics((samples, said))
    for name, value in zip(("label_precision", "label_recall", "label_f1"), expected, strict=False):
        assert found[name] == pytest.approx(value)


def test_sums_are_rounded_once() -> None:
    """Ten pairs of IoU 1/10: 1.0 together, where adding one by one gives 0.9999999999999999."""
    names = "abcdefghij"
    true = [Segment(n, 0, box(k, 0, 1, 10, (10, 10))) for k, n in enumerate(names)]
    said = [Segment(n, 0, box(k, 0, 1, 1, (10, 10))) for k, n in enumerate(names)]
    sample = replace(truth("s", true), sizes=((10, 10), (10, 10)))
    (row,) = score([sample], {"s": predicted("s", said)}, MODEL, MODEL).sums
    assert row[Sum.IOU_GREEDY] == row[Sum.IOU_STRICT] == 0.1


def test_metrics_of_noise_are_the_recorded_ones() -> None:
    """All digits that a report has, whatever the versions of NumPy and pycocotools are."""
    rng = np.random.Generator(np.random.Philox(9))
    names = ["head", "leg", "side mirror", "tail", "arm"]

    def some(least: int) -> list[Segment]:
        corners = rng.integers(0, 8, (rng.integers(least, 7), 4)).tolist()
        return [
            Segment(names[rng.integers(5)], int(rng.integers(2)), box(x, y, w + 1, h + 1))
            for x, y, w, h in corners
        ]

    samples = [truth(f"s{number}", some(1)) for number in range(40)]
    said = {
        sample.id: predicted(sample.id, [*sample.segments[::2], *some(0)][::-1])
        for sample in samples
    }
    summary = summarise(score(samples, said, MODEL, MODEL), replicates=100)
    found = summary.overall.metrics
    assert {name: round(one.value, 6) for name, one in found.items()} == {
        "ap50": 0.257989,
        "ap50_scored": 0.257989,
        "miou": 0.633332,
        "miou_strict": 0.351005,
        "recall_glamm": 0.593985,
        "recall_fixed": 0.593985,
        "ss_a": 0.657262,
        "ss_b": 0.532613,
        "ss_c": 0.861427,
        "s_iou_a": 0.616541,
        "s_iou_b": 0.502439,
        "s_iou_c": 0.61625,
        "label_precision": 0.544872,
        "label_recall": 0.772727,
        "label_f1": 0.639098,
    }
    strict = found["miou_strict"]
    assert (round(strict.low or 0, 6), round(strict.high or 0, 6)) == (0.311732, 0.391097)


def test_a_prediction_of_another_sample_is_refused() -> None:
    wrong = predicted("s", [Segment("dog", 0, box(0, 0, 2, 2, (5, 5)))])
    with pytest.raises(InputError, match=r"the prediction for 's': segment 0 .*5 x 5"):
        score([truth("s", TRUE)], {"s": wrong}, MODEL, MODEL)
