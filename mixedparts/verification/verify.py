"""Verification of a build without its sources; every problem names its file and row.

Level quick: manifest, plan, commit records, files and their sizes. Level full: also digests,
columns, counts, card and metadata. Level deep: also every image and every mask, and every row is
derived again from the entities that it shows. `docs/verification.md` lists the rules.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from mixedparts.errors import UsageError, near_names
from mixedparts.pipeline.engines.local import LocalEngine
from mixedparts.progress import Progress, Silent
from mixedparts.sources.contract import SPLITS
from mixedparts.storage.build_folder import BuildFolder, DamagedShard
from mixedparts.storage.shards import WrittenFile
from mixedparts.verification.deep import DeepResult, check_repeated, deep_tasks, run_deep
from mixedparts.verification.files import (
    Cells,
    check_counts,
    check_digest_list,
    check_manifest,
    check_metadata,
    check_quick,
    check_shard,
)
from mixedparts.verification.findings import Findings, Rule
from mixedparts.verification.pairs import check_across_shards
from mixedparts.verification.subsets import check_benchmark, check_preview

LEVELS = ("quick", "full", "deep")
_SMALL_BUILD = 100_000_000  # bytes; under this, starting processes costs more than they save


def check_level(level: str) -> None:
    """Check the name of a level, which would otherwise be taken for another one.

    Raises:
        UsageError: there is no such level.
    """
    if level not in LEVELS:
        near = near_names(level, LEVELS)
        raise UsageError(f"there is no level '{level}'.{near}", f"Levels: {', '.join(LEVELS)}")


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
        UsageError: there is no such level.
    """
    check_level(level)
    # Without the check: a damaged manifest is a problem to report, not a reason to stop.
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
    # Last, because all other rules say more about what is wrong with a file.
    if not found.total:
        found.join(check_digest_list(opened))
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
    # In the order of the manifest, not of the processes: the report must be the same every time.
    every, total = Findings(), Cells()
    for shard in shards:
        found, cells = results[shard.path]
        every.join(found)
        for key, number in cells.items():
            total[key] = total.get(key, 0) + number
    # The counts are only complete if every file could be counted.
    if not every.total:
        every.join(check_counts(build.manifest, total))
    every.join(check_metadata(build))
    return every


def _checked(build: BuildFolder, shard: WrittenFile) -> tuple[WrittenFile, Findings, Cells]:
    """Check a shard in a worker process; results come back in any order, so they name the shard."""
    return shard, *check_shard(build, shard)


def _deep(build: BuildFolder, engine: LocalEngine, progress: Progress) -> Findings:
    """Check every row, and then the rules about all rows of a split together."""
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
    # A damaged shard can be in the way of several tasks, and is one problem.
    damaged = dict(r.damaged for task in tasks if (r := results[task.file]).damaged)
    if not damaged:
        try:
            for more in _across_shards(build, [(task.split, results[task.file]) for task in tasks]):
                found.join(more)
        except DamagedShard as error:
            damaged[error.shard] = error.reason
    for shard, reason in damaged.items():
        found.add(Rule.COLUMNS, shard, "", f"cannot be read: {reason}")
    return found


def _across_shards(
    build: BuildFolder, results: Sequence[tuple[str, DeepResult]]
) -> Iterator[Findings]:
    """Yield the problems of each split as a whole, then those of the benchmark and the preview."""
    for split in SPLITS:
        yield check_repeated(build, split)
        summaries = [(r.file, r.summary) for name, r in results if name == split and r.summary]
        yield check_across_shards(build, split, summaries)
    yield check_benchmark(build)
    yield check_preview(build)
