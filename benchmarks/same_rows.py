"""Check that two builders wrote as many rows and the same entities."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.process_tree import CommandFailed


def check_rows(naive: list[Path], ours: list[Path], rows: int) -> str:
    """Count the rows of both outputs by task; return a sentence.

    Raises:
        CommandFailed: one of them has another number of rows.
    """
    told = []
    for name, files in (("naive", naive), ("ours", ours)):
        tasks: Counter[str] = Counter()
        for file in files:
            tasks.update(pq.read_table(file, columns=["task"])["task"].to_pylist())
        if tasks.total() != rows:
            raise CommandFailed(f"{name} wrote {tasks.total()} rows, not {rows}: {dict(tasks)}")
        told.append(f"{name} {dict(sorted(tasks.items()))}")
    return f"rows by task: {', '.join(told)}"


def check_entities(naive: list[Path], ours: list[Path]) -> str:
    """Compare masks, boxes and areas of every object and part that both outputs show.

    The two draw different pairs, so each holds some that the other does not.

    Raises:
        CommandFailed: a value differs, or nothing could be compared.
    """
    left, right = _entities(naive), _entities(ours)
    both = left.keys() & right.keys()
    wrong = [key for key in sorted(both) if left[key] != right[key]]
    if wrong or not both:
        raise CommandFailed(f"{len(wrong)} of {len(both)} masks differ, first {wrong[:3]}")
    return (
        f"{len(both)} object and part masks are in both outputs and equal; "
        f"{len(left) - len(both)} only in naive's, {len(right) - len(both)} only in ours"
    )


def _entities(files: list[Path]) -> dict[tuple[str, ...], Any]:
    """Return {(image, class[, part]): (counts, size, area, box)}."""
    found: dict[tuple[str, ...], Any] = {}
    for file in files:
        columns = ["images", "objects", "parts"]
        for batch in pq.ParquetFile(file).iter_batches(2000, columns=columns):
            for row in batch.to_pylist():
                ids = [image["image_id"] for image in row["images"]]
                classes = {item["image"]: item["category"] for item in row["objects"]}
                for item in row["objects"]:
                    found[ids[item["image"]], item["category"]] = _value(item)
                for item in row["parts"]:
                    image = item["image"]
                    found[ids[image], classes[image], item["name"]] = _value(item)
    return found


def _value(item: dict[str, Any]) -> tuple[Any, ...]:
    box = tuple(float(v) for v in item["bbox"])
    return item["mask"]["counts"], tuple(item["mask"]["size"]), item["area"], box
