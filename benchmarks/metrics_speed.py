"""Metrics of random pairs: run lengths (ours) against dense masks (as GLaMM's script works).

The peer follows eval/gcg/evaluate.py of github:mbzuai-oryx/groundingLMM by its formulas: COCOeval
with all its thresholds and areas, masks decoded to arrays for mIoU and again for Recall, one IoU a
pair of arrays. Labels are compared by the same text model with a warm cache on both sides, so the
times are those of masks and matching. Ours computes all variants of all metrics.

    python benchmarks/metrics_speed.py [--pairs 1000] [--seed 0]
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import contextlib
import io
import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from calico.evaluation.ground_truth import SampleGroundTruth
from calico.evaluation.labels import plain, whole_string
from calico.evaluation.scoring import score
from calico.evaluation.summary import summarise
from calico.evaluation.text import SentenceEncoder, load_text_model
from calico.predictions.types import Prediction, Segment
from mixedparts import masks

HEIGHT, WIDTH = 480, 640
OBJECTS = ("dog", "cat", "chair", "car", "bird", "mug", "lamp", "snake")
PARTS = ("head", "leg", "tail", "seat", "back", "wing", "handle", "wheel", "arm", "side mirror")
Case = tuple[list[SampleGroundTruth], dict[str, Prediction]]


def blob(rng: np.random.Generator, x: float, y: float, radius: float) -> masks.Rle:
    """Return a star-shaped region with a ragged outline around (x, y), radius in pixels."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    reach = radius * rng.uniform(0.7, 1.0, 40)
    xs = np.clip(x + reach * np.cos(angles), 0, WIDTH)
    ys = np.clip(y + reach * np.sin(angles), 0, HEIGHT)
    return masks.from_polygons([np.stack([xs, ys], 1).ravel().tolist()], HEIGHT, WIDTH)


def unit(rng: np.random.Generator, image: int) -> tuple[list[Segment], list[Segment]]:
    """Draw one image's truth, an object and up to 5 parts, and a prediction near it."""
    true, said = [], []
    x, y = rng.uniform(200, 440), rng.uniform(180, 300)
    names = [str(rng.choice(OBJECTS)), *map(str, rng.permutation(PARTS)[: rng.integers(0, 6)])]
    for position, name in enumerate(names):
        radius = 160.0 if position == 0 else rng.uniform(25, 70)
        cx, cy = (x, y) if position == 0 else (x + rng.uniform(-90, 90), y + rng.uniform(-90, 90))
        true.append(Segment(name, image, blob(rng, cx, cy, radius)))
        if rng.random() < 0.85:
            shift = rng.normal(0, 0.15 * radius, 2)
            label = name if rng.random() < 0.8 else str(rng.choice(PARTS))
            said.append(Segment(label, image, blob(rng, cx + shift[0], cy + shift[1], radius)))
    return true, said


def draw(pairs: int, seed: int) -> Case:
    """Draw samples and predictions."""
    rng = np.random.Generator(np.random.Philox(seed))
    samples, predictions = [], {}
    for number in range(pairs):
        name = f"{number:06d}"
        (first, said_first), (second, said_second) = unit(rng, 0), unit(rng, 1)
        sizes = ((HEIGHT, WIDTH), (HEIGHT, WIDTH))
        samples.append(
            SampleGroundTruth(
                name, "drawn", "common_parts", ("0", "1"), sizes, (*first, *second), ("a", "b")
            )
        )
        predictions[name] = Prediction(name, "", (*said_first, *said_second))
    return samples, predictions


def dense_iou(first: Sequence[Segment], second: Sequence[Segment]) -> NDArray[np.float64]:
    """Return the IoU matrix from decoded masks."""
    ones = [masks.decode(segment.mask) for segment in first]
    others = [masks.decode(segment.mask) for segment in second]
    ious = np.zeros((len(ones), len(others)))
    for i, one in enumerate(ones):
        for j, other in enumerate(others):
            common = np.logical_and(one, other).sum()
            ious[i, j] = common / np.logical_or(one, other).sum()
    return ious


def dense_miou(said: Sequence[Segment], true: Sequence[Segment]) -> float:
    """Pair greedily and average over the pairs."""
    ious = dense_iou(said, true)
    found = []
    while ious.size and ious.max() > 0:
        row, column = np.unravel_index(ious.argmax(), ious.shape)
        found.append(ious[row, column])
        ious = np.delete(np.delete(ious, row, 0), column, 1)
    return float(np.mean(found)) if found else 0.0


def dense_hits(said: Sequence[Segment], true: Sequence[Segment], model: SentenceEncoder) -> int:
    """Count pairs by descending IoU up to the first that fails a test."""
    ious = dense_iou(true, said)
    cosines = model.similarity([g.label for g in true], [p.label for p in said])
    hits = 0
    while ious.size:
        place = np.unravel_index(ious.argmax(), ious.shape)
        if ious[place] < 0.5 or cosines[place] < 0.5:
            break
        hits += 1
        ious[place[0], :] = ious[:, place[1]] = 0
    return hits


def coco_ap50(units: Sequence[tuple[list[Segment], list[Segment]]]) -> float:
    """Let COCOeval compute AP50 as GLaMM's script does."""

    def entries(which: int) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for number, pair in enumerate(units, 1):
            for segment in pair[which]:
                found.append(
                    {
                        "id": len(found) + 1,
                        "image_id": number,
                        "category_id": 1,
                        "segmentation": segment.mask.to_coco(),
                        "area": masks.area(segment.mask),
                        "bbox": masks.bbox(segment.mask),
                        "iscrowd": 0,
                        "score": 1.0,
                    }
                )
        return found

    images = [{"id": i + 1, "height": HEIGHT, "width": WIDTH} for i in range(len(units))]
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for which in (0, 1):
            side = COCO()
            side.dataset = {
                "images": images,
                "categories": [{"id": 1, "name": "any"}],
                "annotations": entries(which),
            }
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[1])


def peer(case: Case, model: SentenceEncoder) -> dict[str, float]:
    """Compute AP50, mIoU and Recall with dense masks."""
    samples, predictions = case
    units = [
        (
            [s for s in sample.segments if s.image == image],
            [s for s in predictions[sample.id].segments if s.image == image],
        )
        for sample in samples
        for image in (0, 1)
    ]
    targets = sum(len(true) for true, _ in units)
    return {
        "ap50": coco_ap50(units),
        "miou": float(np.mean([dense_miou(said, true) for true, said in units])),
        "recall_glamm": sum(dense_hits(said, true, model) for true, said in units) / targets,
    }


def every(case: Case) -> list[tuple[Segment, ...]]:
    """Return the segments of each sample, then of each prediction."""
    samples, predictions = case
    return [sample.segments for sample in samples] + [p.segments for p in predictions.values()]


def warm(case: Case, model: SentenceEncoder) -> int:
    """Encode every text that either side asks for; return their number."""
    groups = [[plain(segment.label) for segment in segments] for segments in every(case)]
    texts = {label for group in groups for label in group} | {whole_string(g) for g in groups}
    model.prepare(texts)
    return len(texts)


def main() -> None:
    """Time both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    case = draw(arguments.pairs, arguments.seed)
    model = load_text_model()
    start = time.process_time()
    texts = warm(case, model)
    encoding = time.process_time() - start

    start = time.process_time()
    table = score(*case, model, model)
    summary = summarise(table, replicates=0)
    ours = time.process_time() - start
    start = time.process_time()
    summarise(table, replicates=1000)
    bootstrap = time.process_time() - start
    start = time.process_time()
    expected = peer(case, model)
    dense = time.process_time() - start

    segments = sum(map(len, every(case)))
    print(f"{arguments.pairs} pairs of {WIDTH} x {HEIGHT}, {segments} masks, one core, CPU seconds")
    for name, value in expected.items():
        found = summary.overall.metrics[name].value
        if not np.isclose(found, value, rtol=0, atol=1e-9):
            raise SystemExit(f"{name} differs: run lengths {found}, dense {value}")
        print(f"  {name:13} {found:.6f}  equal")
    print(f"  dense masks (3 metrics)            {dense:8.2f} s")
    print(f"  run lengths (all metrics)          {ours:8.2f} s   {dense / ours:.0f} times faster")
    print(f"  bootstrap, 1000 draws, all groups  {bootstrap:8.2f} s")
    print(f"  encoding {texts:5} distinct texts     {encoding:8.2f} s   (once, either way)")


if __name__ == "__main__":
    main()
