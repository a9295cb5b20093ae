"""Collect the rows of both tables while predictions are scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from calico.evaluation import labels as text
from calico.evaluation.ground_truth import SampleGroundTruth
from calico.evaluation.scoring import ScoreTable, Sum
from calico.evaluation.summary import RATIOS
from calico.evaluation.tables.columns import REGIONS, SAMPLES, Match, Outcome, sum_column
from calico.evaluation.units import LEAST_IOU, UnitScore
from calico.predictions.types import COUNTED, Prediction, Segment
from mixedparts import masks

_BATCH = 20_000  # regions that are Python values at a time


@dataclass(frozen=True, slots=True)
class ScoreRows:
    """Both tables.

    Attributes:
        samples: one row a sample, by id.
        regions: one row a pair of masks, missed mask or false positive, in the order of samples
            and images.
    """

    samples: pa.Table
    regions: pa.Table


class ScoreRecorder:
    """Turns what `score` finds into rows; give `record` to it.

    Args:
        split: name of the split, for a column.
    """

    def __init__(self, split: str) -> None:
        self._split = split
        self._rows: list[dict[str, Any]] = []
        self._batches: list[pa.RecordBatch] = []
        self._outcomes: dict[str, Counter[str]] = {}

    def record(self, sample: SampleGroundTruth, units: Sequence[UnitScore]) -> None:
        """Add the regions of a sample."""
        origin = _origin(sample, self._split)
        start = len(self._rows)
        for unit in units:
            self._rows += _unit_rows(origin, sample, unit)
        self._outcomes[sample.id] = Counter(row["outcome"] for row in self._rows[start:])
        if len(self._rows) >= _BATCH:
            self._flush()

    def finish(
        self,
        table: ScoreTable,
        samples: Sequence[SampleGroundTruth],
        predictions: Mapping[str, Prediction],
    ) -> ScoreRows:
        """Return both tables.

        Args:
            table: that `score` returned.
            samples: that were scored.
            predictions: by sample id.

        Returns:
            Rows of samples and regions.
        """
        self._flush()
        by_id = {sample.id: sample for sample in samples}
        rows = [
            {
                **_origin(by_id[name], self._split),
                "classes": list(by_id[name].classes),
                "image_ids": list(by_id[name].image_ids),
                **_counts(by_id[name], predictions.get(name)),
                **{str(outcome): self._outcomes[name][outcome] for outcome in Outcome},
                **_values(sums.tolist()),
            }
            for name, sums in zip(table.ids, table.sums, strict=True)
        ]
        regions = pa.Table.from_batches(self._batches, REGIONS)
        return ScoreRows(pa.Table.from_pylist(rows, SAMPLES), regions)

    def _flush(self) -> None:
        self._batches.append(pa.RecordBatch.from_pylist(self._rows, REGIONS))
        self._rows = []


def _origin(sample: SampleGroundTruth, split: str) -> dict[str, Any]:
    return {
        "id": sample.id,
        "source": sample.source,
        "split": split,
        "task": sample.task,
        "class_pair": sample.class_pair,
    }


def _counts(sample: SampleGroundTruth, prediction: Prediction | None) -> dict[str, Any]:
    return {
        "answered": prediction is not None,
        "annotated": len(sample.segments),
        "predicted": len(prediction.segments) if prediction else 0,
        **{name: getattr(prediction, name) if prediction else 0 for name in COUNTED},
    }


def _values(sums: Sequence[float]) -> dict[str, float]:
    """Return the sums of a sample, and the metrics of the sample alone."""
    # 0 of 0 is 0, as in groups.
    values = {metric: sums[a] / sums[b] if sums[b] else 0.0 for metric, (a, b) in RATIOS.items()}
    return values | {sum_column(column): sums[column] for column in Sum}


def _unit_rows(
    origin: Mapping[str, Any], sample: SampleGroundTruth, unit: UnitScore
) -> list[dict[str, Any]]:
    """Return the rows of one image: pairs by descending IoU, then misses, then false positives."""
    height, width = sample.sizes[unit.image]
    image = {
        **origin,
        "image": unit.image,
        "image_id": sample.image_ids[unit.image],
        "height": height,
        "width": width,
    }
    kinds = [
        kind
        for kind, segment in zip(sample.kinds, sample.segments, strict=False)
        if segment.image == unit.image
    ]
    glamm, fixed = ({column for _, column in hits} for hits in (unit.hits_glamm, unit.hits_fixed))

    def true(column: int) -> dict[str, Any]:
        hits = {"recall_glamm_hit": column in glamm, "recall_fixed_hit": column in fixed}
        kind = kinds[column] if kinds else None
        return {"kind": kind, **_annotated(unit.annotated[column], column), **hits}

    def said(row: int) -> dict[str, Any]:
        return _predicted(unit, row)

    pairs = [
        image | true(column) | said(row) | _pair(unit, place)
        for place, (row, column) in enumerate(unit.pairs)
    ]
    rows, columns = ({pair[axis] for pair in unit.pairs} for axis in (0, 1))
    missed = [image | true(c) | _alone(Match.MISSED) for c in _rest(len(unit.annotated), columns)]
    extra = [
        image | said(r) | _alone(Match.FALSE_POSITIVE) for r in _rest(len(unit.predicted), rows)
    ]
    return pairs + missed + extra


def _rest(number: int, taken: set[int]) -> list[int]:
    return [place for place in range(number) if place not in taken]


def _annotated(segment: Segment, order: int) -> dict[str, Any]:
    pixels = masks.area(segment.mask)
    return {
        "name": segment.label,
        "name_key": text.key_of(text.plain(segment.label)),
        "order": order,
        "area": pixels,
        "area_share": pixels / max(1, segment.mask.height * segment.mask.width),
        "bbox": masks.bbox(segment.mask),
    }


def _predicted(unit: UnitScore, row: int) -> dict[str, Any]:
    segment, detected = unit.predicted[row], unit.detected
    by_score = detected.by_score.tolist()
    return {
        "predicted_name": segment.label,
        "predicted_key": text.key_of(text.plain(segment.label)),
        "predicted_order": row,
        "predicted_area": masks.area(segment.mask),
        "predicted_bbox": masks.bbox(segment.mask),
        "predicted_mask": segment.mask.counts.decode(),
        "score": segment.score,
        # No value beyond COCO's limit of detections: AP50 does not see such a mask.
        "ap50_hit": bool(detected.hits[row]) if row < len(detected.hits) else None,
        "ap50_scored_hit": (
            bool(detected.scored_hits[by_score.index(row)]) if row in by_score else None
        ),
    }


def _pair(unit: UnitScore, place: int) -> dict[str, Any]:
    row, column = unit.pairs[place]
    keys = (text.key_of(text.plain(s.label)) for s in (unit.predicted[row], unit.annotated[column]))
    same = len(set(keys)) == 1
    outcome = Outcome.FOUND if same else Outcome.WRONG_NAME
    return {
        "match": str(Match.MATCHED),
        "outcome": str(outcome if unit.ious[place] >= LEAST_IOU else Outcome.POOR_MASK),
        "iou": unit.ious[place],
        "text_similarity": unit.cosines[place],
        "word_iou": unit.words[place],
        "same_name": same,
    }


def _alone(match: Match) -> dict[str, Any]:
    # The outcomes of regions without a partner have the names of their matches.
    return {"match": str(match), "outcome": str(Outcome(str(match))), "iou": 0.0}
