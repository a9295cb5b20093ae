"""AP50 as COCOeval computes it, and from its definition."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from calico.evaluation.ground_truth import SampleGroundTruth
from calico.predictions.types import Prediction, Segment
from mixedparts import masks
from tests.factories.evaluation import HEIGHT, WIDTH

Case = tuple[list[SampleGroundTruth], dict[str, Prediction]]


def coco(case: Case, scored: bool) -> float:
    """Let COCOeval compute AP50 with units numbered by (sample id, image)."""
    samples, predictions = case
    by_id = {sample.id: sample for sample in samples}
    units = [(name, image) for name in sorted(by_id) for image in (0, 1)]
    truths: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for number, (name, image) in enumerate(units, 1):
        for segment in by_id[name].segments:
            if segment.image == image:
                truths.append(entry(len(truths) + 1, number, segment))
        for segment in predictions[name].segments:
            if segment.image == image:
                value = segment.score if scored else 1.0
                results.append({**entry(len(results) + 1, number, segment), "score": value})
    dataset = {
        "images": [{"id": i + 1, "height": HEIGHT, "width": WIDTH} for i in range(len(units))],
        "annotations": truths,
        "categories": [{"id": 1, "name": "any"}],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        annotated, found = COCO(), COCO()
        annotated.dataset = dataset
        annotated.createIndex()
        found.dataset = {**dataset, "annotations": results}
        found.createIndex()
        evaluation = COCOeval(annotated, found, "segm")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    return float(evaluation.eval["precision"].mean())


def entry(number: int, unit: int, segment: Segment) -> dict[str, Any]:
    """Return a segment as a COCO annotation."""
    return {
        "id": number,
        "image_id": unit,
        "category_id": 1,
        "segmentation": segment.mask.to_coco(),
        "area": masks.area(segment.mask),
        "bbox": list(masks.bbox(segment.mask)),
        "iscrowd": 0,
    }


def naive(hits: list[bool], positives: int) -> float:
    """Average, over 101 recalls, the best precision at that recall or a higher one."""
    if not positives:
        return float("nan")
    curve = [(sum(hits[:n]) / positives, sum(hits[:n]) / n) for n in range(1, len(hits) + 1)]
    return (
        sum(
            max((precision for reached, precision in curve if reached >= recall), default=0.0)
            for recall in np.linspace(0, 1, 101)
        )
        / 101
    )
