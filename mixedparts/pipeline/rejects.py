"""Rejected records of a build: count them, compare them with the limit, and write them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mixedparts.entities.table import map_table
from mixedparts.errors import ProblemsFound
from mixedparts.pipeline.record_counts import EXPECTED, MAP, LevelShare, level_shares
from mixedparts.pipeline.reject_limit import RejectLimit
from mixedparts.pipeline.workspace import WORK
from mixedparts.records import Level
from mixedparts.storage.build_folder import REJECTS_FILE
from mixedparts.storage.parquet import parquet_rows, write_parquet
from mixedparts.storage.schema import REJECTS
from mixedparts.storage.shards import Commit, WrittenFile, write_shard

# A single record is no sign of a systematic fault, whatever its share of a small split is.
_LEAST = 2
_SHOWN = 6  # levels that a message lists


def reject_counts(reads: Sequence[Commit]) -> tuple[dict[str, int], int]:
    """Return how many rejects each reason has, and the number of all records, rejects included."""
    reasons: Counter[str] = Counter()
    records = 0
    for record in reads:
        reasons.update(record.counts["rejects"])
        records += record.counts.get("records", 0)
    return dict(sorted(reasons.items())), records + reasons.total()


def over_limit(limit: RejectLimit, work: Path, reads: Sequence[Commit]) -> str | None:
    """Return the message about too many rejected records, or None if they are within the limit.

    A share applies to all records together and for each level of record in each source and split;
    a number applies to all records together.

    Args:
        limit: the most rejected records.
        work: folder of the working files, from which examples are taken.
        reads: commit records of all read tasks.

    Returns:
        What was rejected how often and for which reasons, with an example of each.
    """
    shares = level_shares(reads)
    reasons, records = reject_counts(reads)
    expected = sum(reasons.pop(str(reason), 0) for reason in EXPECTED)
    rejected, records = sum(reasons.values()), records - expected
    over = [share for share in shares if _is_over(limit, share)]
    if not over and not limit.exceeded(rejected, records):
        return None
    allowed = f"more than --max-rejects {limit.text} allows"
    if over:
        lines = [f"too many records of a level were rejected, {allowed}:"]
    else:
        percent = f"{rejected / records:.1%}"
        lines = [f"{rejected} of {records} records were rejected ({percent}), {allowed}:"]
    listed = over or sorted(shares, key=lambda share: -share.rejected)
    for share in listed[:_SHOWN]:
        lines += [f"  {share.text}", f"    for example {_example(work, reads, share)}"]
    if len(listed) > _SHOWN:
        lines.append(f"  … and {len(listed) - _SHOWN} more")
    return "\n".join(lines)


def systematic(reads: Sequence[Commit]) -> list[LevelShare]:
    """Return the levels of which more than half was refused: a fault of more than some records."""
    half = RejectLimit("50%", share=0.5)
    return [share for share in level_shares(reads) if _is_over(half, share)]


def _is_over(limit: RejectLimit, share: LevelShare) -> bool:
    if limit.share is None or share.rejected < _LEAST:
        return False
    return limit.exceeded(share.rejected, share.records)


def _example(work: Path, reads: Sequence[Commit], share: LevelShare) -> str:
    """Return file, id and detail of the first record that was refused for the usual reason."""
    reason = next(iter(share.reasons))
    level = str(Level.IMAGE) if share.level == MAP else share.level
    for record in reads:
        if (record.counts["source"], record.counts["split"]) != (share.source, share.split):
            continue
        for item in record.files:
            if item.path.startswith("rejects/"):
                table = map_table(work / item.path)
                fits = pc.and_(pc.equal(table["level"], level), pc.equal(table["reason"], reason))
                for row in table.filter(fits).slice(0, 1).to_pylist():
                    detail = f": {row['detail']}" if row["detail"] else ""
                    return f"{row['file']}, {level} {row['record_id']}{detail}"
    return reason


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
    message = over_limit(limit, build / WORK, reads)
    if message is None:
        return
    # Not in the build folder itself, where the file would look like a part of a finished build.
    write_rejects(build / WORK.parent, build / WORK, reads)
    raise ProblemsFound(
        f"{message}\nThey are listed in {build / WORK.parent / REJECTS_FILE}"
        " (docs/rejects.md explains the reasons).",
        "Look whether the source folders are the right ones, or accept the rejects with"
        " --max-rejects 100%; the same command then continues from here.",
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
