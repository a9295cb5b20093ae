"""The pipeline: plan, read, pair, write, publish; each step starts from what is on disk.

Nothing that loads exists before the end: finished shards wait in `_build/ready`, and the folder's
README names a data file that is not there until the last one has been moved into place.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mixedparts.cards.croissant import CROISSANT
from mixedparts.entities.normalise import Filters
from mixedparts.errors import InputError, UsageError
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.engines import Engine, get_engine
from mixedparts.pipeline.finalize import (
    done_elsewhere,
    finalize,
    finished_manifest,
    is_unfinished,
    mark_unfinished,
)
from mixedparts.pipeline.pair import run_pair
from mixedparts.pipeline.plan import (
    Plan,
    absent_splits,
    differences,
    make_plan,
    read_shards,
    store_plan,
)
from mixedparts.pipeline.read import ReadTask, run_read
from mixedparts.pipeline.reject_limit import parse_limit
from mixedparts.pipeline.rejects import check_rejects
from mixedparts.pipeline.write import WriteTask, run_write, write_tasks
from mixedparts.progress import Progress
from mixedparts.storage.build_folder import CARD, MANIFEST, PLAN, REJECTS_FILE, stored_plan
from mixedparts.storage.schema import CONFIGS
from mixedparts.storage.shards import Commit

LOG = logging.getLogger(__name__)
T = TypeVar("T", ReadTask, WriteTask)


def build(config: BuildConfig, progress: Progress, overwrite: bool = False) -> dict[str, Any]:
    """Build the dataset, or go on where an earlier run of the same build stopped.

    Args:
        overwrite: first remove what an earlier build, of whatever plan, left in the folder.

    Returns:
        The manifest; with a shard range that leaves work to others, only what is still open.

    Raises:
        UsageError: the folder holds another build, or something that is no build.
        InputError: a source is missing, unreadable as a whole, or gives no sample at all.
        ProblemsFound: more records were rejected than `config.max_rejects` allows.
    """
    plan = make_plan(config)
    prepare(config, plan, overwrite)
    finished = finished_manifest(config.out)
    if finished is not None:
        progress.log(f"{config.out} is complete; nothing to do.")
        return finished
    mark_unfinished(config.out)
    for source, split in absent_splits(plan):
        progress.log(f"{source}: no {split} split here, skipped")
    with event_log(config.out) as log, closing(get_engine(config.engine, config.workers)) as engine:
        return _run(config, plan, Stages(config, engine, progress, log))


def prepare(config: BuildConfig, plan: Plan, overwrite: bool) -> None:
    """Clear the folder for the plan where that is asked for, or say why it cannot be used.

    Raises:
        UsageError: the folder holds another build or something that is no build.
    """
    out = config.out
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file", "Choose another folder with --out.")
    stored = stored_plan(out)
    if stored is None and out.is_dir() and any(out.iterdir()):
        if not is_unfinished(out):
            raise UsageError(
                f"{out} is not empty and holds no build", "Choose another folder with --out."
            )
        remove_build(out)
    elif stored is not None and overwrite:
        remove_build(out)
    elif stored is not None and stored["build_id"] != plan.build_id:
        lines = differences(stored["identity"], plan.identity)
        raise UsageError(
            f"{out} holds another build. What differs (there -> asked for):\n"
            + "\n".join(f"  {line}" for line in lines),
            "Build into another folder with --out, or replace that one with --overwrite.",
        )


def remove_build(out: Path) -> None:
    """Remove a build's files; first of all what makes it load."""
    for name in (CARD, MANIFEST, CROISSANT, REJECTS_FILE):
        (out / name).unlink(missing_ok=True)
    for name in (*CONFIGS, str(PLAN.parent)):
        shutil.rmtree(out / name, ignore_errors=True)


class Stages:
    """Runs the tasks of one stage after the other on an engine, and tells how far they are."""

    def __init__(
        self, config: BuildConfig, engine: Engine, progress: Progress, log: Callable[..., None]
    ) -> None:
        self.config = config
        self.progress = progress
        self.log = log
        self._engine = engine

    def run(
        self,
        what: str,
        tasks: Sequence[T],
        work: Callable[[T], Commit],
        sizes: list[int],
        unit: str,
    ) -> list[Commit] | None:
        """Return the record of every task; None where a shard range leaves some to other runs."""
        size_of = {task.name: size for task, size in zip(tasks, sizes, strict=True)}
        mine = list(tasks)
        if self.config.shard_range:
            at, of = self.config.shard_range
            mine = mine[at::of]
        records: dict[str, Commit | None] = {}
        self.progress.start(what, sum(size_of[task.name] for task in mine), unit)
        for record in self._engine.run(work, mine):
            records[record.task] = record
            self.progress.advance(size_of[record.task])
            self.log(what, task=record.task, files=len(record.files))
        self.progress.finish()
        for task in tasks:
            if task.name not in records:
                records[task.name] = done_elsewhere(self.config.out, task.name)
        found = [records[task.name] for task in tasks]
        whole = [record for record in found if record is not None]
        return whole if len(whole) == len(found) else None


def _run(config: BuildConfig, plan: Plan, stages: Stages) -> dict[str, Any]:
    stages.log("begin", build_id=plan.build_id)
    reads = _read(config, plan, stages)
    if reads is None:
        return _waiting(config, "reading", stages.progress)
    check_rejects(config.out, parse_limit(config.max_rejects), reads)
    paired = _pair(config, reads)
    stages.log("paired", rows={name: found.get("pairs") for name, found in paired.counts.items()})
    tasks = write_tasks(config, paired)
    sizes = [task.stop - task.start for task in tasks]
    written = stages.run("writing", tasks, run_write, sizes, "rows")
    if written is None:
        return _waiting(config, "writing", stages.progress)
    manifest = finalize(config, plan, reads, paired, written)
    stages.log("end", build_id=plan.build_id)
    return manifest


def read_and_pair(
    config: BuildConfig, plan: Plan, progress: Progress
) -> tuple[list[Commit], Commit]:
    """Run the stages before writing, without log; `config` has no shard range."""
    with closing(get_engine(config.engine, config.workers)) as engine:
        stages = Stages(config, engine, progress, lambda event, **facts: None)
        reads = _read(config, plan, stages)
    assert reads is not None
    return reads, _pair(config, reads)


def _read(config: BuildConfig, plan: Plan, stages: Stages) -> list[Commit] | None:
    shards = read_shards(config, plan)
    store_plan(config.out, plan, shards)
    filters = Filters(config.min_object_area, config.min_part_area, frozenset(config.classes))
    tasks = [ReadTask(config.out, shard, filters, config.profile) for shard in shards]
    sizes = [shard.stop - shard.start for shard in shards]
    return stages.run("reading", tasks, run_read, sizes, "images")


def _pair(config: BuildConfig, reads: list[Commit]) -> Commit:
    """Draw the samples.

    Raises:
        InputError: there is none to draw.
    """
    paired = run_pair(config, reads)
    if not any(counts.get("pairs") for counts in paired.counts.values()):
        raise InputError(
            "no pair of comparable objects is left after reading. Rejected records:\n"
            + _reject_lines(reads),
            "Check the source folders, or lower --min-object-area.",
        )
    return paired


def _waiting(config: BuildConfig, what: str, progress: Progress) -> dict[str, Any]:
    assert config.shard_range is not None
    at, of = config.shard_range
    progress.log(
        f"{what}: share {at}/{of} is done, other shares are not. Run this command again when they"
        " are; the command without --shard-range does all that is left."
    )
    return {"waiting": what, "shard_range": [at, of]}


def _reject_lines(reads: Sequence[Commit]) -> str:
    reasons: dict[str, int] = {}
    for record in reads:
        for reason, number in record.counts["rejects"].items():
            reasons[reason] = reasons.get(reason, 0) + number
    return "\n".join(f"  rejected, {r}: {n}" for r, n in sorted(reasons.items())) or "  none"


@contextmanager
def event_log(out: Path) -> Iterator[Callable[..., None]]:
    """Yield a function that adds an event to the build's log, the only place for times."""
    path = out / PLAN.parent / "log.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as handle:

        def log(event: str, **facts: Any) -> None:
            LOG.debug("%s %s", event, facts)
            line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **facts}
            handle.write(json.dumps(line) + "\n")
            handle.flush()

        yield log
