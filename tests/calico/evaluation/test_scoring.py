"""The metrics against a second computation with dense masks, and by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calico.evaluation.ground_truth import SampleGroundTruth
from calico.evaluation.labels import plain, whole_string, word_iou
from calico.evaluation.scoring import score
from calico.evaluation.summary import METRICS, RATIOS, summarise
from calico.predictions.types import Prediction, Segment
from mixedparts import masks
from mixedparts.errors import InputError
from tests.factories.evaluation import LetterModel, answered, box, predicted, truth

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


def dense_iou(first: Segment, second: Segment) -> float:
    one, other = masks.decode(first.mask) > 0, masks.decode(second.mask) > 0
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def greedy(said: list[Segment], true: list[Segment]) -> list[tuple[int, int]]:
    left = np.array([[dense_iou(p, g) for g in true] for p in said])
    pairs = []
    while left.size and left.max() > 0:
        p, g = (int(i) for i in np.unravel_index(left.argmax(), left.shape))
        pairs.append((p, g))
        left[p, :] = left[:, g] = 0
    return pairs


def _label(segment: Segment) -> str:
    return plain(segment.label)


def cosine(first: Segment, second: Segment) -> float:
    return float(MODEL.similarity([plain(first.label)], [plain(second.label)])[0, 0])


def words(first: Segment, second: Segment) -> float:
    return word_iou(plain(first.label), plain(second.label))


def by_formula(case: Case) -> dict[str, float]:
    """Compute the mask and text metrics from the definitions, one unit after the other."""
    samples, predictions = case
    values: dict[str, list[float]] = {name: [] for name in RATIOS}
    targets = compared = 0
    hits_glamm = hits_fixed = hit = said_count = true_count = 0
    for sample in samples:
        prediction = predictions.get(sample.id, Prediction(sample.id, "", ()))
        for image in (0, 1):
            said = [s for s in prediction.segments if s.image == image]
            true = [s for s in sample.segments if s.image == image]
            pairs = greedy(said, true)
            overlaps = [dense_iou(said[p], true[g]) for p, g in pairs]
            values["miou"].append(float(np.mean(overlaps)) if overlaps else 0.0)
            values["miou_strict"].append(sum(overlaps) / max(len(said), len(true)))
            hits_glamm += stopped_hits(said, true)
            hits_fixed += skipped_hits(said, true)
            values["ss_a"].append(sum(cosine(said[p], true[g]) for p, g in pairs))
            values["s_iou_a"].append(sum(words(said[p], true[g]) for p, g in pairs))
            targets += len(true)
            said_set = {plain(s.label) for s in said}
            true_set = {plain(s.label) for s in true}
            hit += len(said_set & true_set)
            said_count += len(said_set)
            true_count += len(true_set)
        totals = best_assignment(list(prediction.segments), list(sample.segments))
        values["ss_b"].append(totals)
        compared += max(len(prediction.segments), len(sample.segments))
        strings = [
            whole_string(map(_label, found)) for found in (prediction.segments, sample.segments)
        ]
        empty = not prediction.segments
        values["ss_c"].append(0.0 if empty else MODEL.similarity(*[[s] for s in strings]).item())
        values["s_iou_c"].append(0.0 if empty else word_iou(*strings))
    precision = hit / said_count if said_count else 0.0
    return {
        "miou": float(np.mean(values["miou"])),
        "miou_strict": float(np.mean(values["miou_strict"])),
        "recall_glamm": hits_glamm / targets,
        "recall_fixed": hits_fixed / targets,
        "ss_a": sum(values["ss_a"]) / targets,
        "s_iou_a": sum(values["s_iou_a"]) / targets,
        "ss_b": sum(values["ss_b"]) / compared,
        "ss_c": float(np.mean(values["ss_c"])),
        "s_iou_c": float(np.mean(values["s_iou_c"])),
        "label_precision": precision,
        "label_recall": hit / true_count,
        "label_f1": 2 * hit / (said_count + true_count),
    }


def stopped_hits(said: list[Segment], true: list[Segment]) -> int:
    """Count GLaMM's hits: the pair of largest IoU first, annotations as rows, until one fails."""
    left = np.array([[dense_iou(p, g) for p in said] for g in true])
    hits = 0
    while left.size:
        g, p = np.unravel_index(left.argmax(), left.shape)
        if left[g, p] < 0.5 or cosine(said[p], true[g]) < 0.5:
            break
        hits += 1
        left[g, :] = left[:, p] = 0
    return hits


def skipped_hits(said: list[Segment], true: list[Segment]) -> int:
    """Count hits when a pair that fails leaves both its members free."""
    left = np.array([[dense_iou(p, g) if cosine(p, g) >= 0.5 else 0.0 for p in said] for g in true])
    hits = 0
    while left.size and left.max() >= 0.5:
        g, p = np.unravel_index(left.argmax(), left.shape)
        hits += 1
        left[g, :] = left[:, p] = 0
    return hits


def best_assignment(said: list[Segment], true: list[Segment]) -> float:
    few, many = sorted((said, true), key=len)
    return max(
        sum(cosine(*pair) for pair in zip(few, chosen, strict=True))
        for chosen in permutations(many, len(few))
    )


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


def s_iou_b_range(case: Case) -> tuple[float, float]:
    """Return least and largest S-IoU of rule (b) over the assignments of largest total cosine."""
    low = high = compared = 0.0
    for sample in case[0]:
        said = list(case[1].get(sample.id, Prediction(sample.id, "", ())).segments)
        few, many = sorted((said, list(sample.segments)), key=len)
        totals = [
            (sum(cosine(*pair) for pair in pairs), sum(words(*pair) for pair in pairs))
            for chosen in permutations(many, len(few))
            for pairs in [list(zip(few, chosen, strict=True))]
        ]
        best = max(total for total, _ in totals)
        word_ious = [ious for total, ious in totals if total > best - 1e-9]
        low, high = low + min(word_ious), high + max(word_ious)
        compared += len(many)
    return low / compared, high / compared


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


def test_a_prediction_of_another_sample_is_refused() -> None:
    wrong = predicted("s", [Segment("dog", 0, box(0, 0, 2, 2, (5, 5)))])
    with pytest.raises(InputError, match=r"the prediction for 's': segment 0 .*5 x 5"):
        score([truth("s", TRUE)], {"s": wrong}, MODEL, MODEL)
