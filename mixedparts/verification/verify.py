"""Checks of a build by anyone, without its sources; every problem is named with file and row.

quick: manifest, plan, commit records, files and their sizes. full: also digests, columns, counts,
card and metadata. deep: also every picture, every mask, and every row derived again from the
entities it shows. `docs/verification.md` lists the rules.
"""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial
from pathlib import Path

from mixedparts.pipeline.engines.local import LocalEngine
from mixedparts.progress import Progress, Silent
from mixedparts.sources.contract import SPLITS
from mixedparts.storage.build_folder import BuildFolder
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
from mixedparts.verification.pairs import check_across_shards
from mixedparts.verification.subsets import check_benchmark, check_preview

LEVELS = ("quick", "full", "deep")
_SMALL_BUILD = 100_000_000  # bytes; under this, starting processes costs more than they save


def verify(
    build: Path,
    level: str = "full",
    workers: int | None = 1,
    progress: Progress | None = None,
) -> Findings:
    """Check a build without its sources.

    A level is checked only if the levels before it find no problem.

    Args:
        build: the build folder.
        level: `quick`, `full` or `deep`, see the module's docstring.
        workers: processes that read shards side by side; None: all cores for a large build, one
            process for a small one.
        progress: reports how far the checks are; None: silent.

    Returns:
        Every problem; none means that the build is whole.

    Raises:
        InputError: the folder contains no finished build.
    """
    opened = BuildFolder.open(build, check=False)
    reported = progress or Silent()
    found = check_manifest(opened)
    if found.total:
        return found
    found.join(check_quick(opened))
    if found.total or level == "quick":
        return found
    if workers is None:
        workers = (os.cpu_count() or 1) if opened.bytes > _SMALL_BUILD else 1
    with closing(LocalEngine(workers)) as engine:
        found.join(_full(opened, engine, reported))
        if level == "deep" and not found.total:
            found.join(_deep(opened, engine, reported))
    return found


def _full(build: BuildFolder, engine: LocalEngine, progress: Progress) -> Findings:
    """Check digests, columns, counts, card and metadata."""
    shards = build.shards
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
        every.join(check_counts(build.manifest, total))
    every.join(check_metadata(build))
    return every


def _checked(build: BuildFolder, shard: WrittenFile) -> tuple[WrittenFile, Findings, Cells]:
    return shard, *check_shard(build, shard)


def _deep(build: BuildFolder, engine: LocalEngine, progress: Progress) -> Findings:
    """Check every row, then what only all rows show together."""
    tasks = deep_tasks(build)
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
        found.join(
            check_across_shards(build, split, [(r.file, r.traces) for r in mine if r.traces])
        )
    found.join(check_benchmark(build))
    found.join(check_preview(build))
    return found
