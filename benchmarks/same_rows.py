"""Check that two builders wrote the same entities: equal masks, boxes and areas."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.process_tree import CommandFailed

_COLUMNS = ["task", "images", "objects", "parts"]


def check_same_rows(naive: Path, ours: Path, rows: int) -> str:
    """Compare the rows of `naive/pairs.parquet` with those of `ours/pairs/`.

    The two draw different pairs, so entities are compared where both outputs show them.

    Returns:
        A sentence that says what was compared.

    Raises:
        CommandFailed: a number of rows or an entity differs.
    """
    left, left_tasks = _entities([naive / "pairs.parquet"])
    right, right_tasks = _entities(sorted((ours / "pairs").glob("train-*.parquet")))
    for name, tasks in (("naive", left_tasks), ("ours", right_tasks)):
        if sum(tasks.values()) != rows:
            raise CommandFailed(f"{name} wrote {sum(tasks.values())} rows, not {rows}: {tasks}")
    both = left.keys() & right.keys()
    wrong = [key for key in sorted(both) if left[key] != right[key]]
    if wrong or not both:
        raise CommandFailed(f"{len(wrong)} of {len(both)} masks differ, first {wrong[:3]}")
    return (
        f"{len(both)} object and part masks are in both outputs, all equal; "
        f"only in one: {len(left) - len(both)} naive, {len(right) - len(both)} ours; "
        f"rows by task: naive {dict(left_tasks)}, ours {dict(right_tasks)}"
    )


def _entities(files: list[Path]) -> tuple[dict[tuple[str, ...], Any], Counter[str]]:
    """Return {(image, class[, part]): (counts, area, box)} and the number of rows by task."""
    found: dict[tuple[str, ...], Any] = {}
    tasks: Counter[str] = Counter()
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(2000, columns=_COLUMNS):
            for row in batch.to_pylist():
                tasks[row["task"]] += 1
                ids = [image["image_id"] for image in row["images"]]
                classes = {item["image"]: item["category"] for item in row["objects"]}
                for item in row["objects"]:
                    found[ids[item["image"]], item["category"]] = _value(item)
                for item in row["parts"]:
                    image = item["image"]
                    found[ids[image], classes[image], item["name"]] = _value(item)
    return found, tasks


def _value(item: dict[str, Any]) -> tuple[Any, ...]:
    box = tuple(float(v) for v in item["bbox"])
    return item["mask"]["counts"], tuple(item["mask"]["size"]), item["area"], box
