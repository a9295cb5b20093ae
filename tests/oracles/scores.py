"""The mask and text metrics from their definitions, one unit after the other."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from calico.evaluation.ground_truth import SampleGroundTruth
from calico.evaluation.labels import plain, whole_string, word_iou
from calico.evaluation.summary import RATIOS
from calico.predictions.types import Prediction, Segment
from mixedparts import masks
from tests.factories.evaluation import LetterModel

MODEL = LetterModel()
Case = tuple[list[SampleGroundTruth], dict[str, Prediction]]


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
