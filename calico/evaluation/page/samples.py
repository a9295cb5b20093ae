"""Samples of the report: the ground truth and the predictions side by side, regions marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from calico.evaluation.ground_truth import segment_order
from calico.evaluation.tables.columns import Outcome
from calico.predictions.types import COUNTED, Prediction
from mixedparts import masks
from mixedparts.errors import InputError
from mixedparts.masks import InvalidMask
from mixedparts.viewer import Answer, Kind, Mark, Region, Sample
from mixedparts.viewer.build_rows import ReadImage, sample_of
from mixedparts.viewer.predictions import seg_of

GROUPS = ("worst", "median", "best")
_MARKS = {
    Outcome.FOUND: Mark.MATCH,
    Outcome.WRONG_NAME: Mark.WRONG_NAME,
    Outcome.POOR_MASK: Mark.POOR_MASK,
    Outcome.MISSED: Mark.MISS,
    Outcome.FALSE_POSITIVE: Mark.FALSE_POSITIVE,
}
_KINDS = {"object": Kind.OBJECT, "common_part": Kind.COMMON, "unique_part": Kind.UNIQUE}
_SCORES = {"miou_strict": "mIoU strict", "recall_fixed": "recall", "label_f1": "label F1"}


@dataclass(frozen=True)
class Predicted:
    """The answers of one model.

    Attributes:
        title: of the answer.
        regions: rows of the table of regions, of the shown samples.
        predictions: with the texts of the answers; samples without one get a list of labels.
    """

    title: str
    regions: pd.DataFrame
    predictions: Mapping[str, Prediction]


def chosen_samples(samples: pd.DataFrame, metric: str, number: int) -> dict[str, tuple[str, ...]]:
    """Choose the worst samples, and half as many median and best ones.

    Args:
        samples: table of samples.
        metric: by which they are ordered; equal ones by id.
        number: of the worst.

    Returns:
        Sample id to its groups; the worst first, then the median, then the best.
    """
    ids = samples.sort_values([metric, "id"], kind="stable")["id"].tolist()
    half = -(-number // 2)
    middle = max(0, len(ids) // 2 - half // 2)
    parts = (ids[:number], ids[middle : middle + half], ids[::-1][:half])
    chosen: dict[str, tuple[str, ...]] = {}
    for group, members in zip(GROUPS, parts, strict=True):
        for name in members:
            chosen[name] = (*chosen.get(name, ()), group)
    return chosen


def shown_sample(
    row: Mapping[str, Any],
    read: ReadImage,
    answers: Sequence[Predicted],
    scores: Mapping[str, float],
    tags: Sequence[str],
) -> Sample:
    """Return a row of `pairs` with predictions as a sample of the page.

    Args:
        row: with all columns.
        read: returns the bytes of an image.
        answers: of one model, or of several that are compared.
        scores: of the sample.
        tags: groups that it is in.

    Returns:
        The ground truth and the answers with marks and notes.

    Raises:
        InputError: a mask cannot be decoded.
    """
    sample = sample_of(row, read)
    regions_of = [
        answer.regions[answer.regions["id"] == row["id"]].to_dict("records") for answer in answers
    ]
    # With several models a region of the ground truth has no mark of its own: each has its note.
    truth = _marked_truth(row, sample.answers[0], answers, regions_of)
    predicted = [
        _predicted(sample, answer, records)
        for answer, records in zip(answers, regions_of, strict=True)
    ]
    return replace(
        sample, answers=(truth, *predicted), scores=dict(scores), tags=tuple(map(str, tags))
    )


def scores_of(sample: Mapping[str, Any]) -> dict[str, float]:
    """Return the scores that the page shows and sorts by, from a row of the table of samples."""
    counts = {"missed": "missed", "false_positive": "false positives", "wrong_name": "wrong names"}
    values = {title: float(sample[name]) for name, title in _SCORES.items()}
    return values | {title: float(sample[name]) for name, title in counts.items()}


def odd_tags(sample: Mapping[str, Any]) -> list[str]:
    """Return the kinds of irregular `[SEG]` that a sample's answer has, as tags."""
    return [f"[SEG] {name.replace('_', ' ')}" for name in COUNTED if sample[name]]


def _marked_truth(
    row: Mapping[str, Any],
    truth: Answer,
    answers: Sequence[Predicted],
    regions_of: Sequence[Sequence[Mapping[str, Any]]],
) -> Answer:
    """Return the ground truth with marks and notes."""
    places = _places(row)
    marked = list(truth.regions)
    for answer, records in zip(answers, regions_of, strict=True):
        for record in records:
            if pd.isna(record["name"]):
                continue
            at = places[int(record["image"]), int(record["order"])]
            note = _note(record, "predicted_name")
            if len(answers) == 1:
                mark = _MARKS[Outcome(record["outcome"])]
                marked[at] = replace(marked[at], mark=mark, note=note)
            else:
                notes = [text for text in (marked[at].note, f"{answer.title}: {note}") if text]
                marked[at] = replace(marked[at], note="; ".join(notes))
    return replace(truth, regions=tuple(marked))


def _places(row: Mapping[str, Any]) -> dict[tuple[int, int], int]:
    """Return (image, order in the image) -> position among the page's regions of the row."""
    objects = len(row["objects"])
    places: dict[tuple[int, int], int] = {}
    counts: dict[int, int] = {}
    for kind, index in segment_order(row):
        image = int(row[f"{kind}s"][index]["image"])
        places[image, counts.get(image, 0)] = index if kind == "object" else objects + index
        counts[image] = counts.get(image, 0) + 1
    return places


def _predicted(sample: Sample, answer: Predicted, records: Sequence[Mapping[str, Any]]) -> Answer:
    """Return the answer of one model with its masks."""
    said = sorted(
        (record for record in records if not pd.isna(record["predicted_name"])),
        key=lambda record: (int(record["image"]), int(record["predicted_order"])),
    )
    regions = tuple(_region(sample, record) for record in said)
    given = answer.predictions.get(sample.id)
    text = given.answer if given is not None else ""
    if "[SEG]" not in text:
        # Scores do not keep answers, and a file of another model may have none.
        text = ", ".join(f"<p> {r.label} </p> [SEG] (IMAGE{r.image + 1})" for r in regions)
        return Answer(answer.title, text or "no mask", regions, tuple(range(len(regions))))
    return Answer(answer.title, text, regions, seg_of(text, regions, len(sample.images)))


def _region(sample: Sample, record: Mapping[str, Any]) -> Region:
    image = sample.images[int(record["image"])]
    try:
        mask = masks.from_string(record["predicted_mask"], image.height, image.width)
    except InvalidMask as fault:
        raise InputError(
            f"the scores of '{sample.id}' have a mask that does not fit: {fault}",
            "Run calico-eval again on the same build.",
        ) from fault
    return Region(
        image=int(record["image"]),
        label=str(record["predicted_name"]),
        kind=_kind(sample, record),
        mask=mask,
        mark=_MARKS[Outcome(record["outcome"])],
        score=float(record["score"]),
        note=_note(record, "name"),
    )


def _kind(sample: Sample, record: Mapping[str, Any]) -> Kind:
    """Return the kind of the annotated region, or what the task asks for."""
    if not pd.isna(record["kind"]):
        return _KINDS[record["kind"]]
    classes = {r.label for r in sample.answers[0].regions if r.kind is Kind.OBJECT}
    if sample.task == "common_object" or record["predicted_name"] in classes:
        return Kind.OBJECT
    parts = {"common_parts": Kind.COMMON, "unique_parts": Kind.UNIQUE}
    return parts.get(sample.task, Kind.PART)


def _note(record: Mapping[str, Any], other: str) -> str:
    """Return what became of a region, with the name on the other side."""
    outcome = Outcome(record["outcome"])
    if outcome is Outcome.MISSED:
        return "missed"
    if outcome is Outcome.FALSE_POSITIVE:
        return "nothing is annotated there"
    return f"IoU {record['iou']:.2f} with {record[other]}"
