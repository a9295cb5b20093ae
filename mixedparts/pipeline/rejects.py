"""Rejected records of a build: count them, compare them with the limit, and write them."""

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

# Reasons of valid records that a source leaves out by choice. They are no sign of a wrong folder or
# of broken files, so the limit ignores these records.
_EXPECTED = (Reason.OUTSIDE_VOCABULARY,)


def reject_counts(reads: Sequence[Commit]) -> tuple[dict[str, int], int]:
    """Return how many rejects each reason has, and the number of all records, rejects included."""
    reasons: Counter[str] = Counter()
    records = 0
    for record in reads:
        reasons.update(record.counts["rejects"])
        records += record.counts.get("records", 0)
    return dict(sorted(reasons.items())), records + reasons.total()


def over_limit(limit: RejectLimit, reads: Sequence[Commit]) -> str | None:
    """Return the message about too many rejected records, or None if they are within the limit."""
    reasons, records = reject_counts(reads)
    expected = sum(reasons.pop(str(reason), 0) for reason in _EXPECTED)
    rejected, records = sum(reasons.values()), records - expected
    if not limit.exceeded(rejected, records):
        return None
    lines = [
        f"{rejected} of {records} records were rejected ({rejected / records:.1%}), more than"
        f" --max-rejects {limit.text} allows:"
    ]
    # The most frequent reason first: it usually shows what is wrong.
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return "\n".join([*lines, *(f"  rejected, {reason}: {n}" for reason, n in ordered)])


def check_rejects(build: Path, limit: RejectLimit, reads: Sequence[Commit]) -> None:
    """Stop the build if reading rejected more than the limit, after writing the rejects.

    Args:
        build: the build folder.
        limit: the most rejected records.
        reads: commit records of all read tasks.

    Raises:
        ProblemsFound: more records were rejected than the limit allows; the message has the reasons
            and the file with the rejects.
    """
    message = over_limit(limit, reads)
    if message is None:
        return
    # Not in the build folder itself, where the file would look like a part of a finished build.
    write_rejects(build / WORK.parent, build / WORK, reads)
    raise ProblemsFound(
        f"{message}\nThey are listed in {build / WORK.parent / REJECTS_FILE}"
        " (docs/rejects.md explains the reasons).",
        "Look whether the source folders are the right ones, or allow more with --max-rejects;"
        " the same command then goes on from here.",
    )


def write_rejects(base: Path, work: Path, reads: Sequence[Commit]) -> WrittenFile:
    """Write the rejects of all tasks into one Parquet file.

    Args:
        base: folder that the file is written to.
        work: folder of the working files.
        reads: commit records of the tasks, in the order in which their rejects are written.

    Returns:
        The written file.

    Raises:
        OSError: the file cannot be written.
    """

    def batches() -> Iterator[pa.RecordBatch]:
        for record in reads:
            for item in record.files:
                if item.path.startswith("rejects/"):
                    yield from map_table(work / item.path).to_batches()

    return write_shard(
        base, REJECTS_FILE, lambda path: write_parquet(path, REJECTS, batches()), parquet_rows
    )
