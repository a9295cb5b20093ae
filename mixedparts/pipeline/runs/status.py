"""What has become of a build: which tasks are done and by whom, what failed, and what to do next.

Nothing is changed, and nothing large is read: the plan, the names of the commit records, the record
of pairing, and the log. So a status can be asked for while others are writing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mixedparts.cards.card import unfinished_card
from mixedparts.pipeline.finalize import done_elsewhere
from mixedparts.pipeline.runs.build_place import BuildPlace, OnDiskPlace
from mixedparts.pipeline.runs.event_log import parse_events
from mixedparts.pipeline.runs.shares import recorded_names
from mixedparts.pipeline.write import shard_spans
from mixedparts.settings.local_paths import typed
from mixedparts.storage.build_folder import CARD, MANIFEST, PLAN
from mixedparts.storage.shards import COMMITS
from mixedparts.storage.writer_lock import Writer

NONE, UNFINISHED, FINISHED = "no build", "unfinished", "finished"
READING, PAIRING, WRITING = "reading", "pairing", "writing"
_PAIR = "pair"  # the task of pairing
_THREADS = 4
_Run = tuple[str, int, str | None]  # host, process, share
_ROW_FIELDS = ("pair_shard_rows", "image_shard_rows")


@dataclass(frozen=True, slots=True)
class Worker:
    """Tasks of a stage that one process has done.

    Attributes:
        host, process: of the run.
        share: such as `1/4`; None for a run of the whole build.
        tasks: how many of the tasks that are done are its.
        last: time of the last one.
    """

    host: str
    process: int
    share: str | None
    tasks: int
    last: str


@dataclass(frozen=True, slots=True)
class StageStatus:
    """One stage of a build.

    Attributes:
        stage: `reading`, `pairing` or `writing`.
        tasks: number of tasks; None while it is not known.
        done, left: how many of them are done and left; `left` is None like `tasks`.
        failed: how many of those that are left have failed.
        by: who has done how many, as the log has it.
        last: time when a task was done last; None without one.
    """

    stage: str
    tasks: int | None
    done: int
    left: int | None
    failed: int
    by: tuple[Worker, ...]
    last: str | None


@dataclass(frozen=True, slots=True)
class BuildStatus:
    """Status of a place.

    Attributes:
        out: folder or address.
        state: `no build`, `unfinished` or `finished`.
        build_id: of the build; None without one.
        stages: reading, pairing and writing.
        failed: tasks that have failed and are not done, with error, host, process, share and time.
        stopped: runs that ended with an error, the latest of each share, where nothing followed.
        writing: processes that write there now.
        damaged: tasks whose files do not match their record; None if not checked.
        next: what to do or type.
    """

    out: str
    state: str
    build_id: str | None = None
    stages: tuple[StageStatus, ...] = ()
    failed: tuple[Mapping[str, Any], ...] = ()
    stopped: tuple[Mapping[str, Any], ...] = ()
    writing: tuple[Mapping[str, Any], ...] = ()
    damaged: tuple[str, ...] | None = None
    next: str = ""

    def values(self) -> dict[str, Any]:
        """Return the status as JSON values."""
        return asdict(self)


@dataclass(slots=True)
class _Log:
    """What the events of a log add up to.

    Attributes:
        done: task -> who has done it, and when, the last time that it was.
        failed: task -> the event of its last failure.
        latest: share -> the last event of a run.
        runs: those that have done tasks.
    """

    done: dict[str, tuple[_Run, str]] = field(default_factory=dict)
    failed: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    latest: dict[str | None, Mapping[str, Any]] = field(default_factory=dict)
    runs: dict[_Run, _Run] = field(default_factory=dict)

    def add(self, event: Mapping[str, Any]) -> None:
        """Count one event."""
        kind, task = event["event"], event.get("task")
        if kind == "paired":
            task = _PAIR
        if kind == "failed" and isinstance(task, str):
            self.failed[task] = event
        elif kind in (READING, WRITING, "paired") and isinstance(task, str):
            process, share = event.get("process"), event.get("share")
            run = (
                str(event.get("host")),
                process if isinstance(process, int) else 0,
                share if isinstance(share, str) else None,
            )
            # One object for each run: a large build has hundreds of thousands of tasks.
            self.done[task] = self.runs.setdefault(run, run), str(event.get("time"))
        share = event.get("share")
        self.latest[share if isinstance(share, str) else None] = event


def build_status(place: BuildPlace) -> BuildStatus:
    """Return the status of a place.

    Raises:
        InputError: it may not be read.
    """
    plan, manifest = (_object(place.read(name)) for name in (PLAN.as_posix(), MANIFEST))
    card = place.read(CARD)
    marked = card is not None and card == unfinished_card().encode()
    writing = tuple({"share": s or None, **_described(w)} for s, w in place.writers())
    if plan is not None and not isinstance(plan.get("identity"), dict):
        plan = None
    log = _Log()
    for event in parse_events(place.log_lines()):
        log.add(event)
    recorded = place.recorded()
    build_id = None if plan is None else str(plan.get("build_id"))
    if manifest is not None and not marked and build_id in (None, manifest.get("build_id")):
        state = FINISHED
    else:
        state = NONE if plan is None and not marked else UNFINISHED
    failed = [_fault(event) for task, event in log.failed.items() if task not in recorded]
    ended = [_fault(event) for event in log.latest.values() if event["event"] == "stopped"]
    return BuildStatus(
        place.name,
        state,
        build_id,
        () if plan is None else _stages(place, plan, recorded, log),
        tuple(failed) if state == UNFINISHED else (),
        tuple(ended) if state == UNFINISHED else (),
        writing,
        next=_advice(place.name, state, bool(writing), plan),
    )


def damaged_tasks(folder: Path) -> tuple[str, ...]:
    """Return the tasks of a build folder whose files do not match their commit record.

    Every file is read. Working files of a finished build are gone, and so are not looked for.
    """
    names = sorted(recorded_names(folder))
    if _object(OnDiskPlace(folder).read(MANIFEST)) is not None:
        names = [name for name in names if name != _PAIR and not name.startswith("read-")]
    with ThreadPoolExecutor(_THREADS) as pool:
        records = pool.map(lambda name: done_elsewhere(folder, name), names)
        return tuple(name for name, record in zip(names, records, strict=True) if record is None)


def _object(content: bytes | None) -> dict[str, Any] | None:
    """Return the JSON object in a file; None for any other content."""
    try:
        value = None if content is None else json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _stages(
    place: BuildPlace, plan: Mapping[str, Any], recorded: set[str], log: _Log
) -> tuple[StageStatus, ...]:
    """Return the status of all stages."""
    reads = [shard["task"] for shard in plan.get("read", [])]
    writes: list[str] | None = None
    configuration = plan["identity"].get("configuration", {})
    paired = _object(place.read(f"{COMMITS.as_posix()}/{_PAIR}.json"))
    if paired is not None:
        pair_rows, image_rows = (configuration.get(name) for name in _ROW_FIELDS)
        if isinstance(pair_rows, int) and isinstance(image_rows, int):
            spans = shard_spans(pair_rows, image_rows, paired.get("counts", {}))
            writes = [span.task for span in spans]
    # An import reads its bundle as a whole, so its plan has no tasks for it.
    return (
        _stage(READING, reads or None, recorded, log),
        _stage(PAIRING, [_PAIR], recorded, log),
        _stage(WRITING, writes, recorded, log),
    )


def _stage(stage: str, tasks: Sequence[str] | None, recorded: set[str], log: _Log) -> StageStatus:
    """Return the status of one stage; `tasks` is None while they are not known."""
    done = [task for task in tasks or () if task in recorded]
    by: dict[_Run, list[str]] = {}
    for task in done:
        if task in log.done:
            run, time = log.done[task]
            by.setdefault(run, []).append(time)
    workers = [Worker(*who, len(times), max(times)) for who, times in by.items()]
    left = None if tasks is None else len(tasks) - len(done)
    failed = sum(task in log.failed and task not in recorded for task in tasks or ())
    return StageStatus(
        stage,
        None if tasks is None else len(tasks),
        len(done),
        left,
        failed,
        tuple(sorted(workers, key=lambda worker: (worker.share or "", worker.host))),
        max((worker.last for worker in workers), default=None),
    )


def _fault(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an event of the log says about a task or run that failed."""
    keys = ("stage", "task", "error", "share", "host", "process", "time")
    return {key: event.get(key) for key in keys}


def _described(writer: Writer) -> dict[str, Any]:
    return {
        "host": writer.host,
        "process": writer.process,
        "command": writer.command,
        "since": writer.since,
    }


def _advice(out: str, state: str, writing: bool, plan: Mapping[str, Any] | None) -> str:
    """Return what to do or type next."""
    if state == FINISHED:
        return f"mixedparts verify {typed(out)} --level full"
    if writing:
        then = f"mixedparts finalize {typed(out)}"
        return f"wait for who is writing; then, if it is not finished: {then}"
    if state == NONE:
        return f"mixedparts build --sources NAME … --out {typed(out)}"
    if plan is None:
        return "run the same command again: it stopped before it had a plan"
    if "imported" in plan["identity"].get("configuration", {}):
        return f"run the same command again: mixedparts import … --out {typed(out)}"
    return f"mixedparts finalize {typed(out)}"
