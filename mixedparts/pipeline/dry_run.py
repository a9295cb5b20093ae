"""Report what a build would contain: read and pair for real, in a temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mixedparts.cards.card import in_split_order
from mixedparts.cards.summary import Report, reject_lines, text_table, warning_lines
from mixedparts.pipeline.build import read_and_pair
from mixedparts.pipeline.build_warnings import build_warnings
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.plan import Plan, make_plan
from mixedparts.pipeline.reject_limit import parse_limit
from mixedparts.pipeline.rejects import over_limit, reject_counts
from mixedparts.pipeline.remote.sources import with_local_sources
from mixedparts.pipeline.workspace import WORK
from mixedparts.pipeline.write import WriteTask, image_bytes, run_write, write_tasks
from mixedparts.progress import Progress
from mixedparts.settings.local_paths import shown
from mixedparts.sources.contract import SPLITS
from mixedparts.storage.schema import CONFIGS
from mixedparts.storage.shards import Commit

_TRIAL_ROWS = 1_000  # of a table, written to see how large it becomes


@dataclass(frozen=True, slots=True)
class DryRun:
    """Result of a dry run.

    Attributes:
        report: sources, splits, rows and bytes, as text and as values.
        refused: why the build would fail for too many rejected records; None if it would not.
    """

    report: Report
    refused: str | None


def dry_run(config: BuildConfig, progress: Progress) -> DryRun:
    """Return the report of what a build would contain; nothing is written to the build folder.

    Numbers of rows are exact. Bytes of `images` are those of the image files on disk; bytes of
    `pairs` and `entities` are extrapolated from at most a thousand rows of each.

    Raises:
        UsageError: a class is in none of the sources.
        InputError: a source is missing, unreadable as a whole, or there is no admissible sample.
        EnvironmentFault: the engine is not installed, or a worker process died.
    """
    with tempfile.TemporaryDirectory(prefix="mixedparts-dry-run-") as folder:
        # The numbers are for the whole build, whatever share of it this command would run.
        # They come from this machine: others do not see its temporary folder.
        trial = replace(
            config, out=Path(folder), shard_range=None, wait=None, engine="local", ray_address=None
        )
        trial = with_local_sources(trial, progress)
        plan = make_plan(trial, progress)
        reads, paired = read_and_pair(trial, plan, progress)
        tasks = write_tasks(trial, paired)
        values = _values(plan, reads, paired, tasks)
        values["bytes"] = {
            "images": image_bytes(trial, paired) if config.images == "embed" else 0,
            **{table: _estimated(tasks, table) for table in ("pairs", "entities")},
        }
        refused = over_limit(parse_limit(config.max_rejects), trial.out / WORK, reads)
    return DryRun(Report(_text(values, config.out), values), refused)


def _values(
    plan: Plan, reads: Sequence[Commit], paired: Commit, tasks: Sequence[WriteTask]
) -> dict[str, Any]:
    """Return all numbers of the report but the bytes, as JSON values."""
    cells: dict[str, dict[str, dict[str, int]]] = {}

    def cell(source: str, split: str) -> dict[str, int]:
        zeros = dict.fromkeys(("images", "objects", "parts", "pairs"), 0)
        return cells.setdefault(source, {}).setdefault(split, zeros)

    for record in reads:
        totals = cell(record.counts["source"], record.counts["split"])
        for key, count in (("images", "images"), ("objects", "entities"), ("parts", "parts")):
            totals[key] += record.counts[count]
    for split in (split for split in SPLITS if split in paired.counts):
        for source, tasks_of_cell in paired.counts[split]["cells"].items():
            cell(source, split)["pairs"] = sum(tasks_of_cell.values())
    return {
        "build_id": plan.build_id,
        "synthetic": plan.synthetic,
        "sources": cells,
        "splits": {
            split: {key: counts.get(key, 0) for key in ("images", "entities", "pairs")}
            for split, counts in paired.counts.items()
            if "pairs" in counts
        },
        "entities": sum(record.counts["entities"] for record in reads),
        "shards": {table: sum(task.table == table for task in tasks) for table in CONFIGS},
        "rows": {
            table: sum(task.stop - task.start for task in tasks if task.table == table)
            for table in CONFIGS
        },
        "rejects": reject_counts([*reads, paired])[0],
        "warnings": build_warnings(plan, reads, paired),
    }


def _estimated(tasks: Sequence[WriteTask], table: str) -> int:
    """Return how many bytes a table will have, by writing some rows of it."""
    # Only writing shows how well masks and texts compress.
    of_table = [task for task in tasks if task.table == table]
    if not of_table:
        return 0
    first = of_table[0]
    trial = replace(first, stop=min(first.stop, first.start + _TRIAL_ROWS))
    written = run_write(trial).files[0]
    rows = sum(task.stop - task.start for task in of_table)
    return round(written.bytes * rows / written.rows)


def _text(values: dict[str, Any], out: Path) -> str:
    """Return the report as lines of text."""
    read = [
        [source, split, *(str(totals[key]) for key in ("images", "objects", "parts", "pairs"))]
        for source, splits in sorted(values["sources"].items())
        for split, totals in in_split_order(splits)
    ]
    files = []
    for table in CONFIGS:
        size = values["bytes"].get(table)
        megabytes = "" if size is None else f"about {size / 1e6:.2f} MB"
        files.append([table, str(values["rows"][table]), str(values["shards"][table]), megabytes])
    lines = [
        "What the sources contain after the filters, and the rows sampled from it:",
        text_table(["source", "split", "images", "objects", "parts", "pairs"], read),
        "",
        "What would be written (bytes are estimated from a sample; those of images are exact):",
        text_table(["table", "rows", "shards", "bytes"], files),
        *reject_lines(values["rejects"]),
        *warning_lines(values["warnings"]),
        f"dry run: nothing was written to {shown(out)}",
    ]
    return "\n".join(lines)
