"""The rows of a build that an export takes, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from mixedparts.errors import InputError, UsageError
from mixedparts.interchange.export.request import BENCHMARK, ExportRequest, Job
from mixedparts.sources.contract import SPLITS
from mixedparts.storage.parquet import iter_rows, parquet_rows, table_files

Row = dict[str, Any]


def chosen_splits(request: ExportRequest) -> dict[str, int]:
    """Return {split: rows to read} of the splits that are asked for.

    Raises:
        UsageError: a split that is asked for has no rows in the build.
        InputError: the build has none at all.
    """
    held = {
        split: sum(map(parquet_rows, table_files(request.build, "pairs", split)))
        for split in (*SPLITS, BENCHMARK)
    }
    for split in request.splits:
        if not held[split]:
            there = ", ".join(name for name, rows in held.items() if rows)
            raise UsageError(f"{request.build} has no rows of split '{split}'", f"It has: {there}")
    wanted = request.splits or SPLITS
    most = request.rows_a_split
    found = {
        split: held[split] if most is None else min(most, held[split])
        for split in (*SPLITS, BENCHMARK)
        if split in wanted and held[split]
    }
    if not found:
        raise InputError(f"{request.build} holds no rows")
    return found


def rows_of(job: Job, split: str) -> Iterator[Row]:
    """Yield the rows of a split that the export takes, and tell the progress."""
    for row in islice(iter_rows(job.request.build, "pairs", split), job.splits[split]):
        yield row
        job.progress.advance()


def entities_of(job: Job, split: str) -> Iterator[Row]:
    """Yield the entities that go with a split's rows: all of them, or those of the rows' images."""
    shown = None
    if job.request.limit is not None or split == BENCHMARK:
        rows = iter_rows(job.request.build, "pairs", split, ["source", "images"])
        taken = islice(rows, job.splits[split])
        shown = {(row["source"], ref["image_id"]) for row in taken for ref in row["images"]}
    for entity in iter_rows(job.request.build, "entities", image_split(split)):
        if shown is None or (entity["source"], entity["image_id"]) in shown:
            yield entity


def image_split(split: str) -> str:
    """Return the split whose `images` table holds a split's pictures."""
    return "test" if split == BENCHMARK else split
