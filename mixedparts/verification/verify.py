"""Checks of a build by anyone, without its sources; every problem is named with file and row.

quick: manifest, plan, commit records, files and their sizes. full: also digests, columns, counts,
card and metadata. deep: also every picture, every mask, and every row derived again from the
entities it shows. `docs/verification.md` lists the rules.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from mixedparts.errors import InputError
from mixedparts.pipeline.build_manifest import MANIFEST, read_manifest
from mixedparts.pipeline.engines.local import LocalEngine
from mixedparts.progress import Progress, Silent
from mixedparts.sources.contract import SPLITS
from mixedparts.storage.shards import WrittenFile
from mixedparts.verification.deep import DeepResult, check_repeated, deep_tasks, run_deep
from mixedparts.verification.files import (
    Cells,
    check_counts,
    check_manifest,
    check_metadata,
    check_quick,
    check_shard,
)
from mixedparts.verification.findings import Findings
from mixedparts.verification.pairs import check_across
from mixedparts.verification.subsets import check_benchmark, check_preview

LEVELS = ("quick", "full", "deep")


def verify(
    build: Path, level: str = "full", workers: int = 1, progress: Progress | None = None
) -> Findings:
    """Return every problem of a build; none means that it is whole.

    A level is gone through only where the one before it found nothing.

    Args:
        workers: processes that read shards side by side.

    Raises:
        InputError: there is no build in this folder, or not a finished one.
    """
    manifest = read_manifest(build)
    if manifest is None:
        raise InputError(
            f"{build} holds no finished build (no readable {MANIFEST})",
            "Run the `mixedparts build` command again: it goes on where it stopped.",
        )
    told = progress or Silent()
    found = check_manifest(manifest)
    if not found.total:
        found.join(check_quick(build, manifest))
    with closing(LocalEngine(workers)) as engine:
        if level != "quick" and not found.total:
            found.join(_full(build, manifest, engine, told))
        if level == "deep" and not found.total:
            found.join(_deep(build, manifest, engine, told))
    return found


def _full(
    build: Path, manifest: dict[str, Any], engine: LocalEngine, progress: Progress
) -> Findings:
    """Check digests, columns, counts, card and metadata."""
    shards = [WrittenFile(**shard) for shard in manifest["shards"]]
    progress.start("checking files", sum(shard.bytes for shard in shards), "bytes")
    results: dict[str, tuple[Findings, Cells]] = {}
    for shard, found, cells in engine.run(partial(_checked, build), shards):
        results[shard.path] = found, cells
        progress.advance(shard.bytes)
    progress.finish()
    every, total = Findings(), Cells()
    for shard in shards:
        found, cells = results[shard.path]
        every.join(found)
        for key, number in cells.items():
            total[key] = total.get(key, 0) + number
    if not every.total:
        every.join(check_counts(manifest, total))
    every.join(check_metadata(build, manifest))
    return every


def _checked(build: Path, shard: WrittenFile) -> tuple[WrittenFile, Findings, Cells]:
    return shard, *check_shard(build, shard)


def _deep(
    build: Path, manifest: dict[str, Any], engine: LocalEngine, progress: Progress
) -> Findings:
    """Check every row, then what only all rows show together."""
    tasks = deep_tasks(build, manifest)
    rows_of = {task.file: task.rows for task in tasks}
    progress.start("checking rows", sum(rows_of.values()), "rows")
    results: dict[str, DeepResult] = {}
    for result in engine.run(run_deep, tasks):
        results[result.file] = result
        progress.advance(rows_of[result.file])
    progress.finish()
    found = Findings()
    for task in tasks:
        found.join(results[task.file].found)
    for split in SPLITS:
        found.join(check_repeated(build, split))
        mine = [results[task.file] for task in tasks if task.split == split]
        found.join(check_across(build, split, [(r.file, r.traces) for r in mine if r.traces]))
    found.join(check_benchmark(build))
    found.join(check_preview(build))
    return found
