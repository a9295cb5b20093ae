"""Rules of the selected rows: the benchmark and the preview."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mixedparts.pairing.samples import BENCHMARK_CELL
from mixedparts.records import BENCHMARK, SPLITS
from mixedparts.storage.build_folder import BuildFolder, shard_pattern
from mixedparts.verification.findings import Findings, Rule
from mixedparts.verification.images import image_fault


def check_benchmark(build: BuildFolder) -> Findings:
    """Check that the benchmark has copies of test rows: the lowest ids of every non-empty cell.

    A cell is a source and a task. Every non-empty cell has the same number of rows.
    """
    found = Findings()
    held = [
        (shard.path, row)
        for shard in build.table_shards("pairs", BENCHMARK)
        for row in build.read_shard(shard.path).to_pylist()
    ]
    test = dict(_rows_of(build, "test", {row["id"] for _, row in held}))
    for file, row in held:
        if row["id"] not in test:
            found.add(Rule.BENCHMARK, file, row["id"], "test has no row of this id")
        elif row != test[row["id"]]:
            fields = [key for key in row if row[key] != test[row["id"]][key]]
            text = f"differs from the row of test in {', '.join(fields)}"
            found.add(Rule.BENCHMARK, file, row["id"], text)
    cells: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in build.rows("pairs", "test", ["id", "source", "task"]):
        cells[row["source"], row["task"]].append(row["id"])
    each = min([BENCHMARK_CELL, *map(len, cells.values())]) if cells else 0
    wanted = sorted(id for ids in cells.values() for id in sorted(ids)[:each])
    ids_held = [row["id"] for _, row in held]
    # Rows that are no copies are reported above; the list of ids would only repeat them.
    if ids_held != wanted and not found.total:
        file = held[0][0] if held else shard_pattern("pairs", BENCHMARK)
        odd = sorted((Counter(ids_held) - Counter(wanted)) + (Counter(wanted) - Counter(ids_held)))
        text = f"not the {each} lowest ids of each source and task, in their order"
        found.add(Rule.BENCHMARK, file, ", ".join(odd[:5]), text)
    return found


def _rows_of(
    build: BuildFolder, split: str, ids: set[str], columns: list[str] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield id and row of a split's rows that have one of some ids."""
    # Filtered in Arrow, because turning every row of a split into Python objects is slow.
    wanted = pa.array(sorted(ids), pa.string())
    for batch in build.batches("pairs", split, columns):
        for row in batch.filter(pc.is_in(batch["id"], value_set=wanted)).to_pylist():
            yield row["id"], row


def check_preview(build: BuildFolder) -> Findings:
    """Check that the preview shows samples of the build, with their text and a readable image."""
    found = Findings()
    shown = [
        (shard.path, row)
        for shard in build.table_shards("preview")
        for row in build.read_shard(shard.path).to_pylist()
    ]
    # The preview can be of any split, so its samples are looked for in all of them.
    ids = {row["id"] for _, row in shown}
    columns = ["id", "task", "question", "answer"]
    rows = {id: row for split in SPLITS for id, row in _rows_of(build, split, ids, columns)}
    for file, row in shown:
        sample = rows.get(row["id"])
        text = sample and f"{sample['question']}\n{sample['answer']}"
        if sample is None or (row["task"], row["text"]) != (sample["task"], text):
            found.add(Rule.PREVIEW, file, str(row["id"]), "not the text of a sample of this id")
        problem = image_fault((row["picture"] or {}).get("bytes") or b"")
        if problem:
            found.add(Rule.PREVIEW, file, str(row["id"]), f"its image cannot be opened: {problem}")
    return found
