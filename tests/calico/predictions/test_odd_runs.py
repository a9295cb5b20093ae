"""Predictions whose runs an unusual encoder wrote score as the masks that they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pycocotools import mask as coco_mask

from calico.evaluation.scoring import score
from calico.evaluation.summary import summarise
from calico.predictions.files import read_predictions
from calico.predictions.types import Segment
from mixedparts import masks
from tests.factories.evaluation import HEIGHT, WIDTH, LetterModel, box, truth

ANNOTATED = [Segment("head", 0, box(3, 2, 6, 7)), Segment("handle", 1, box(0, 0, 4, 3))]


def written(rle: masks.Rle, as_text: bool) -> dict[str, object]:
    """A mask with two empty runs after each of its runs, and at both ends."""
    counts = [0, 0]
    for length in masks.runs(rle).tolist():
        counts += [length, 0, 0]
    odd = {"size": [HEIGHT, WIDTH], "counts": counts}
    if as_text:
        odd["counts"] = coco_mask.frPyObjects(odd, HEIGHT, WIDTH)["counts"].decode()
    return odd


@pytest.mark.parametrize("as_text", [False, True])
def test_a_perfect_prediction_in_odd_runs_is_perfect(tmp_path: Path, as_text: bool) -> None:
    sample = truth("s", ANNOTATED)
    segments = [
        {"label": s.label, "image": s.image, "mask": written(s.mask, as_text)} for s in ANNOTATED
    ]
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"id": "s", "answer": "", "segments": segments}))
    predictions = read_predictions(path, {"s": sample.sizes})
    assert [s.mask for s in predictions["s"].segments] == [s.mask for s in ANNOTATED]
    table = score([sample], predictions, LetterModel(), LetterModel())
    metrics = summarise(table).overall.metrics
    assert {name: estimate.value for name, estimate in metrics.items()} == dict.fromkeys(
        metrics, 1.0
    )
    assert metrics
