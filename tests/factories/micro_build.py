"""Builds of coloured rectangles in the schema of the tables."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mixedparts.masks import area, bbox, from_dense
from mixedparts.records import Task
from mixedparts.storage import schema
from mixedparts.text import answers as wording
from tests.factories.build_manifest import stamp_manifest


def write_build(
    path: Path,
    images: int = 6,
    splits: tuple[str, ...] = ("train",),
    samples: int | None = None,
) -> Path:
    """Write the tables of a build: every image holds one object with two parts.

    Images are paired with their neighbours; the three tasks take turns. There are as many samples
    as images, unless told otherwise.
    """
    for split in splits:
        rng = np.random.default_rng(len(split))
        drawn = [_draw(rng, number) for number in range(images)]
        _write(path / "images", split, schema.IMAGES, [
            _image_row(split, row, pixels) for row, (pixels, _) in enumerate(drawn)
        ])  # fmt: skip
        numbers = range(images if samples is None else samples)
        rows = [_pair_row(split, number, drawn, number % images) for number in numbers]
        _write(path / "pairs", split, schema.PAIRS, rows)
    return stamp_manifest(path)


def _write(folder: Path, split: str, kind: pa.Schema, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows, schema=kind)
    pq.write_table(table, folder / f"{split}-00000-of-00001.parquet", row_group_size=4)


def _draw(rng: np.random.Generator, number: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return pixels and the masks of a mug or a kettle with a lid and a handle."""
    height, width = 40 + 4 * (number % 3), 48
    pixels = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
    masks = {name: np.zeros((height, width), np.uint8) for name in ("object", "lid", "handle")}
    top, left = int(rng.integers(2, 8)), int(rng.integers(2, 10))
    masks["object"][top : top + 26, left : left + 30] = 1
    masks["lid"][top : top + 8, left : left + 22] = 1
    masks["handle"][top + 10 : top + 22, left + 22 : left + 30] = 1
    pixels[masks["object"] > 0] = (200, 60 + 80 * (number % 2), 40)
    pixels[masks["lid"] > 0] = (40, 200, 220)
    return pixels, masks


def _image_row(split: str, row: int, pixels: np.ndarray) -> dict[str, Any]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    data = file.getvalue()
    return {
        "row": row,
        "image_id": f"{split}{row}",
        "image": {"bytes": data, "path": None},
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "sha256": hashlib.sha256(data).hexdigest(),
        "source": "paco",
        "split": split,
        "licence": "none",
    }


def _region(image: int, mask: np.ndarray, **names: str) -> dict[str, Any]:
    rle = from_dense(mask)
    coco = {"size": [rle.height, rle.width], "counts": rle.counts.decode()}
    return {"image": image, **names, "mask": coco, "bbox": list(bbox(rle)), "area": area(rle)}


def _pair_row(split: str, number: int, drawn: list[Any], first: int) -> dict[str, Any]:
    task = list(Task)[number % 3]
    rows = (first, (first + 1) % len(drawn))
    names = tuple("mug" if row % 2 else "kettle" for row in rows)
    if task is Task.COMMON_OBJECT:
        names = ("mug", "mug")
    objects = [
        _region(image, drawn[row][1]["object"], category=names[image])
        for image, row in enumerate(rows)
    ]
    parts: list[dict[str, Any]] = []
    answer = wording.common_object_answer("mug")
    if task is Task.COMMON_PARTS:
        parts = [
            _region(image, drawn[row][1]["lid"], name="lid", kind="common")
            for image, row in enumerate(rows)
        ]
        answer = wording.part_answer(task, names, [("lid", (0, 1))])
    elif task is Task.UNIQUE_PARTS:
        parts = [
            _region(0, drawn[rows[0]][1]["handle"], name="handle", kind="unique"),
            _region(1, drawn[rows[1]][1]["lid"], name="lid", kind="unique"),
        ]
        answer = wording.part_answer(task, names, [("handle", (0,)), ("lid", (1,))])
    refs = [
        {
            "image_id": f"{split}{row}",
            "row": row,
            "file_name": f"{row}.png",
            "width": drawn[row][0].shape[1],
            "height": drawn[row][0].shape[0],
        }
        for row in rows
    ]
    seg = [{"kind": "object", "index": 0}, {"kind": "object", "index": 1}]
    seg += [{"kind": "part", "index": index} for index in range(len(parts))]
    return {
        "id": f"{split}-{number}",
        "source": "paco",
        "split": split,
        "task": str(task),
        "images": refs,
        "objects": objects,
        "parts": parts,
        "question": wording.question(task, number),
        "answer": answer,
        "seg": seg,
    }
