"""The rows of a build that an export writes, read one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from mixedparts.errors import InputError, UsageError
from mixedparts.interchange.export.request import EXPORT_SPLITS, ExportRequest, Job
from mixedparts.records import BENCHMARK, SPLITS
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.storage.checked_rows import checked_rows

Row = dict[str, Any]


def chosen_splits(request: ExportRequest, build: BuildFolder) -> dict[str, int]:
    """Return {split: rows to read} for the splits of a request.

    Raises:
        UsageError: a split of the request has no rows in the build.
        InputError: the build has no rows at all.
    """
    # The manifest has the numbers of rows, so no shard is opened here.
    held = {split: build.count("pairs", split) for split in EXPORT_SPLITS}
    for split in request.splits:
        if not held[split]:
            there = ", ".join(name for name, rows in held.items() if rows)
            raise UsageError(f"{request.build} has no rows of split '{split}'", f"It has: {there}")
    wanted = request.splits or SPLITS
    most = request.rows_a_split
    chosen = {
        split: held[split] if most is None else min(most, held[split])
        for split in EXPORT_SPLITS
        if split in wanted and held[split]
    }
    if not chosen:
        raise InputError(f"{request.build} contains no rows")
    return chosen


def exported_rows(job: Job, split: str) -> Iterator[Row]:
    """Yield the rows of a split that the export writes, and advance the progress."""
    for row in islice(checked_rows(job.build, "pairs", split), job.splits[split]):
        yield row
        job.progress.advance()


def exported_entities(job: Job, split: str, first: int) -> Iterator[tuple[int, Row]]:
    """Yield a split's entities: all, or those of the images in the exported rows.

    With a limit, and for the benchmark, only the images of the exported rows count.

    Args:
        job: the export.
        split: a split of the export.
        first: annotation id of the split's first entity (`DatasetIds.first_annotation`).

    Yields:
        The annotation id of the entity, and its row. The parts have the next ids.
    """
    shown = None
    if job.request.limit is not None or split == BENCHMARK:
        shown = used_image_rows(job, split)
    for entity in checked_rows(job.build, "entities", image_split(split)):
        if shown is None or entity["row"] in shown:
            yield first, entity
        # Entities that are left out count too, so that an id does not depend on the limit.
        first += 1 + len(entity["parts"])


def used_image_rows(job: Job, split: str) -> set[int]:
    """Return the row numbers in `images` of all images in a split's exported rows."""
    rows = checked_rows(job.build, "pairs", split, ["images"])
    taken = islice(rows, job.splits[split])
    return {ref["row"] for row in taken for ref in row["images"]}


def image_split(split: str) -> str:
    """Return the split whose `images` and `entities` tables the rows of a split refer to."""
    # Rows of the benchmark are copies of test rows.
    return "test" if split == BENCHMARK else split
