"""What a build would hold: read and paired for real, in a folder that is thrown away."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mixedparts.cards.card import in_split_order
from mixedparts.cards.summary import Report, reject_lines, text_table
from mixedparts.pipeline.build import read_and_pair
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.plan import Plan, make_plan
from mixedparts.pipeline.reject_limit import parse_limit
from mixedparts.pipeline.rejects import over_limit, reject_counts
from mixedparts.pipeline.write import WriteTask, image_bytes, run_write, write_tasks
from mixedparts.progress import Progress
from mixedparts.sources.contract import SPLITS
from mixedparts.storage.schema import CONFIGS
from mixedparts.storage.shards import Commit

_TRIAL_ROWS = 1_000  # of a table, written to see how large it becomes


@dataclass(frozen=True, slots=True)
class DryRun:
    """The report of a dry run, and why the build would fail, None if it would not."""

    report: Report
    refused: str | None


def dry_run(config: BuildConfig, progress: Progress) -> DryRun:
    """Say what a build would hold; nothing is written to the build folder.

    Numbers of rows are exact. Bytes of `images` are those of the pictures on disk; bytes of
    `pairs` and `entities` are extrapolated from at most a thousand rows of each.
    """
    with tempfile.TemporaryDirectory(prefix="mixedparts-dry-run-") as folder:
        trial = replace(config, out=Path(folder), shard_range=None)
        plan = make_plan(trial)
        reads, paired = read_and_pair(trial, plan, progress)
        tasks = write_tasks(trial, paired)
        values = _values(plan, reads, paired, tasks)
        values["bytes"] = {
            "images": image_bytes(trial, paired) if config.images == "embed" else 0,
            **{table: _estimated(tasks, table) for table in ("pairs", "entities")},
        }
    refused = over_limit(parse_limit(config.max_rejects), reads)
    return DryRun(Report(_text(values, config.out), values), refused)


def _values(
    plan: Plan, reads: Sequence[Commit], paired: Commit, tasks: Sequence[WriteTask]
) -> dict[str, Any]:
    cells: dict[str, dict[str, dict[str, int]]] = {}

    def cell(source: str, split: str) -> dict[str, int]:
        kept = dict.fromkeys(("images", "objects", "parts", "pairs"), 0)
        return cells.setdefault(source, {}).setdefault(split, kept)

    for record in reads:
        mine = cell(record.counts["source"], record.counts["split"])
        for key, count in (("images", "images"), ("objects", "entities"), ("parts", "parts")):
            mine[key] += record.counts[count]
    for split in (split for split in SPLITS if split in paired.counts):
        for source, found in paired.counts[split]["cells"].items():
            cell(source, split)["pairs"] = sum(found.values())
    return {
        "build_id": plan.build_id,
        "synthetic": plan.synthetic,
        "sources": cells,
        "splits": {
            split: {key: found.get(key, 0) for key in ("images", "entities", "pairs")}
            for split, found in paired.counts.items()
            if "pairs" in found
        },
        "entities": sum(record.counts["entities"] for record in reads),
        "shards": {table: sum(task.table == table for task in tasks) for table in CONFIGS},
        "rows": {
            table: sum(task.stop - task.start for task in tasks if task.table == table)
            for table in CONFIGS
        },
        "rejects": reject_counts([*reads, paired])[0],
    }


def _estimated(tasks: Sequence[WriteTask], table: str) -> int:
    """Return how many bytes a table will have, by writing some rows of it."""
    mine = [task for task in tasks if task.table == table]
    if not mine:
        return 0
    trial = replace(mine[0], stop=min(mine[0].stop, mine[0].start + _TRIAL_ROWS))
    written = run_write(trial).files[0]
    rows = sum(task.stop - task.start for task in mine)
    return round(written.bytes * rows / written.rows)


def _text(values: dict[str, Any], out: Path) -> str:
    read = [
        [source, split, *(str(found[key]) for key in ("images", "objects", "parts", "pairs"))]
        for source, splits in sorted(values["sources"].items())
        for split, found in in_split_order(splits)
    ]
    files = []
    for table in CONFIGS:
        size = values["bytes"].get(table)
        told = "" if size is None else f"about {size / 1e6:.2f} MB"
        files.append([table, str(values["rows"][table]), str(values["shards"][table]), told])
    lines = [
        "What the sources hold, after the filters, and the rows drawn from it:",
        text_table(["source", "split", "images", "objects", "parts", "pairs"], read),
        "",
        "What would be written (bytes are estimated from a sample; those of pictures are exact):",
        text_table(["table", "rows", "shards", "bytes"], files),
        *reject_lines(values["rejects"]),
        f"dry run: nothing was written to {out}",
    ]
    return "\n".join(lines)
