"""Samples, predictions and build folders made up for the evaluation tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from calico.evaluation.ground_truth import SampleGroundTruth
from calico.predictions.types import Prediction, Segment
from mixedparts import masks
from mixedparts.masks import Rle
from mixedparts.storage.schema import PAIRS
from tests.factories.build_manifest import stamp_manifest

HEIGHT, WIDTH = 12, 16


def box(x: int, y: int, w: int, h: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Rle:
    """Return a filled rectangle as a mask."""
    dense = np.zeros(size, np.uint8)
    dense[y : y + h, x : x + w] = 1
    return masks.from_dense(dense)


def truth(
    name: str,
    segments: Sequence[Segment],
    task: str = "common_parts",
    source: str = "paco",
    images: tuple[str, str] = ("a", "b"),
    classes: tuple[str, str] = ("cup", "pan"),
) -> SampleGroundTruth:
    """Return the ground truth of a two-image sample."""
    sizes = ((HEIGHT, WIDTH),) * 2
    return SampleGroundTruth(name, source, task, images, sizes, tuple(segments), classes)


def predicted(name: str, segments: Sequence[Segment], untagged: int = 0) -> Prediction:
    """Return a prediction without text."""
    return Prediction(name, "", tuple(segments), untagged)


def answered(sample: SampleGroundTruth) -> Prediction:
    """Return what is true of a sample as a prediction."""
    return predicted(sample.id, sample.segments)


class LetterModel:
    """A text model for tests: cosine of letter counts."""

    name = "letters"

    def prepare(self, texts: Any) -> None:
        """Need no preparation."""

    def similarity(self, first: Sequence[str], second: Sequence[str]) -> np.ndarray:
        """Return the cosines of letter counts, exactly 1 for equal texts."""
        return np.array([[self._cosine(a, b) for b in second] for a in first]).reshape(
            len(first), len(second)
        )

    @staticmethod
    def _cosine(first: str, second: str) -> float:
        if first == second:
            return 1.0
        left, right = (
            np.array([text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"], float)
            for text in (first, second)
        )
        norm = np.linalg.norm(left) * np.linalg.norm(right)
        return float(min(left @ right / norm, 1.0)) if norm else 0.0


def item(label: str, image: int, rle: Rle, kind: str | None = None) -> dict[str, Any]:
    """Return an entry of `objects` (no kind) or `parts`."""
    named = {"category": label} if kind is None else {"name": label, "kind": kind}
    return {
        "image": image,
        **named,
        "mask": {"size": [rle.height, rle.width], "counts": rle.counts.decode()},
        "bbox": list(masks.bbox(rle)),
        "area": masks.area(rle),
    }


def row(
    name: str,
    objects: Sequence[tuple[str, int, Rle]],
    parts: Sequence[tuple[str, int, Rle]] = (),
    task: str = "common_object",
    source: str = "paco",
    seg: Sequence[tuple[str, int]] | None = None,
    split: str = "test",
) -> dict[str, Any]:
    """Return a row of `pairs`; `seg` defaults to objects, then parts, as listed."""
    if seg is None:
        seg = [("object", i) for i in range(len(objects))]
        seg += [("part", i) for i in range(len(parts))]
    kind = "unique" if task == "unique_parts" else "common"
    return {
        "id": name,
        "source": source,
        "split": split,
        "task": task,
        "images": [
            {
                "image_id": f"{name}-{index}",
                "row": index,
                "file_name": f"{name}-{index}.jpg",
                "width": WIDTH,
                "height": HEIGHT,
            }
            for index in range(2)
        ],
        "objects": [item(*entry) for entry in objects],
        "parts": [item(*entry, kind) for entry in parts],
        "question": "Which?",
        "answer": "These.",
        "seg": [{"kind": kind, "index": index} for kind, index in seg],
    }


def write_build(
    folder: Path, splits: Mapping[str, Sequence[dict[str, Any]]], shards: int = 1
) -> Path:
    """Write a finished build's `pairs` tables with manifest and card."""
    (folder / "pairs").mkdir(parents=True)
    for split, rows in splits.items():
        step = -(-len(rows) // shards) or 1
        for shard in range(shards):
            table = pa.Table.from_pylist(rows[shard * step : (shard + 1) * step], schema=PAIRS)
            name = f"{split}-{shard:04d}-of-{shards:04d}.parquet"
            pq.write_table(table, folder / "pairs" / name)
    return stamp_manifest(folder)


def small_rows(source: str = "paco", split: str = "test", start: int = 0) -> list[dict[str, Any]]:
    """Return one row of each task, of two images each."""
    whole, left, right = box(2, 2, 10, 8), box(2, 2, 4, 8), box(8, 2, 4, 4)
    both = [("dog", 0, whole), ("dog", 1, whole)]
    mixed = [("cat", 0, whole), ("dog", 1, whole)]
    shared = [("head", 0, left), ("head", 1, right), ("tail", 0, right), ("tail", 1, left)]
    single = [("leg", 0, left), ("ear", 1, right)]
    tasks = {
        "common_object": (both, []),
        "common_parts": (mixed, shared),
        "unique_parts": (mixed, single),
    }
    return [
        row(f"{source}/{split}/{start}/{task}", objects, parts, task, source, split=split)
        for task, (objects, parts) in tasks.items()
    ]
