"""Rejected records of a build: counted, compared with the limit, and written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from mixedparts.entities.table import map_table
from mixedparts.errors import ProblemsFound
from mixedparts.pipeline.reject_limit import RejectLimit
from mixedparts.pipeline.workspace import WORK
from mixedparts.records import Reason
from mixedparts.storage.build_folder import REJECTS_FILE
from mixedparts.storage.parquet import parquet_rows, write_parquet
from mixedparts.storage.schema import REJECTS
from mixedparts.storage.shards import Commit, WrittenFile, write_shard

_EXPECTED = (Reason.OUTSIDE_VOCABULARY,)  # sound records that a source leaves out by choice


def reject_counts(reads: Sequence[Commit]) -> tuple[dict[str, int], int]:
    """Return how many rejects each reason has, and how many records there were, refused or not."""
    reasons: Counter[str] = Counter()
    records = 0
    for record in reads:
        reasons.update(record.counts["rejects"])
        records += record.counts.get("records", 0)
    return dict(sorted(reasons.items())), records + reasons.total()


def over_limit(limit: RejectLimit, reads: Sequence[Commit]) -> str | None:
    """Return what a person should know where reading refused more than the limit, else None."""
    reasons, records = reject_counts(reads)
    expected = sum(reasons.pop(str(reason), 0) for reason in _EXPECTED)
    rejected, records = sum(reasons.values()), records - expected
    if not limit.exceeded(rejected, records):
        return None
    lines = [
        f"{rejected} of {records} records were rejected ({rejected / records:.1%}), more than"
        f" --max-rejects {limit.text} allows:"
    ]
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return "\n".join([*lines, *(f"  rejected, {reason}: {n}" for reason, n in ordered)])


def check_rejects(build: Path, limit: RejectLimit, reads: Sequence[Commit]) -> None:
    """End the build where reading refused too much; the rejects are written for a look at them.

    Raises:
        ProblemsFound: more was refused than the limit allows.
    """
    told = over_limit(limit, reads)
    if told is None:
        return
    write_rejects(build / WORK.parent, build / WORK, reads)
    raise ProblemsFound(
        f"{told}\nEach of them stands in {build / WORK.parent / REJECTS_FILE}"
        " (docs/rejects.md explains the reasons).",
        "Look whether the source folders are the right ones, or allow more with --max-rejects;"
        " the same command then goes on from here.",
    )


def write_rejects(base: Path, work: Path, reads: Sequence[Commit]) -> WrittenFile:
    """Write the rejects of all tasks as one Parquet file in `base`."""

    def batches() -> Iterator[pa.RecordBatch]:
        for record in reads:
            for item in record.files:
                if item.path.startswith("rejects/"):
                    yield from map_table(work / item.path).to_batches()

    return write_shard(
        base, REJECTS_FILE, lambda path: write_parquet(path, REJECTS, batches()), parquet_rows
    )
