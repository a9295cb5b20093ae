"""Runs that divide a build by shard ranges: what belongs to whom, what is left, and waiting.

Runs of shares only meet in the build folder. A task of another share counts as done when its commit
record is there and its files have the recorded sizes. Digests of all files would be read by every
run; the one that pairs and the one that finishes the build check what they use.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from mixedparts.errors import EnvironmentFault, InputError
from mixedparts.files.folders import list_folder
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.finalize import done_elsewhere, is_unfinished
from mixedparts.pipeline.workspace import READY, WORK
from mixedparts.progress import Progress
from mixedparts.storage.build_folder import stored_manifest
from mixedparts.storage.shards import COMMITS, Commit, read_commit

T = TypeVar("T")
FINISH = "finish"
"""Step in which runs of shares look whether the build is finished, or finish it."""
_FIRST_PAUSE, _MOST_PAUSE = 0.5, 10.0  # seconds between two looks at the commit records
_THREADS = 4


def share_name(shard_range: tuple[int, int] | None) -> str | None:
    """Return the name of a share as users write it, such as `1/4`; None for the whole build."""
    return None if shard_range is None else f"{shard_range[0]}/{shard_range[1]}"


def share_of(shard_range: tuple[int, int] | None, tasks: Sequence[T]) -> list[T]:
    """Return the tasks of a stage that belong to a share; all of them for None."""
    # Every N-th task and not a block of them: adjacent tasks belong to one source or table and take
    # about the same time, so all shares get some of each.
    return list(tasks) if shard_range is None else list(tasks)[shard_range[0] :: shard_range[1]]


def sized_record(build: Path, task: str) -> Commit | None:
    """Return the record of a task whose files have the recorded sizes; None for any other."""
    record = read_commit(build, task)
    if record is None:
        return None
    for file in record.files:
        # Working files are in `WORK`, shards in `READY`, or in place if they were moved already.
        sizes = (_size(build / base / file.path) for base in (WORK, READY, ""))
        if file.bytes not in sizes:
            return None
    return record


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def check_intact(build: Path, records: Sequence[Commit]) -> None:
    """Check that the files of tasks match their digests; forget the tasks whose files do not.

    Raises:
        EnvironmentFault: files are damaged; their tasks will run again.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda record: done_elsewhere(build, record.task), records)
        damaged = [record.task for record, whole in zip(records, found, strict=True) if not whole]
    if damaged:
        for task in damaged:
            (build / COMMITS / f"{task}.json").unlink(missing_ok=True)
        raise EnvironmentFault(
            f"files of {len(damaged)} tasks that other shares have written are damaged, the first"
            f" of {damaged[0]}",
            "Run the commands of all shares again; they do these tasks once more.",
        )


def recorded_names(build: Path) -> set[str]:
    """Return the names of all tasks that have a commit record, from one listing of their folder."""
    try:
        entries = list_folder(build / COMMITS)
    # It does not exist before the first task has ended.
    except InputError:
        return set()
    return {name[: -len(".json")] for e in entries if (name := e.name).endswith(".json")}


def finished_by_another(build: Path, build_id: str) -> bool:
    """Return whether a folder has the manifest and the card of a finished build of this id."""
    manifest = stored_manifest(build)
    done = manifest is not None and manifest.get("build_id") == build_id
    return done and not is_unfinished(build)


def wait_for_others(
    config: BuildConfig,
    stage: str,
    tasks: Sequence[str],
    recorded: Callable[[], set[str]],
    events: Callable[[], Iterable[Mapping[str, Any]]],
    progress: Progress,
) -> list[str]:
    """Wait for the tasks of other shares as long as the configuration says.

    Args:
        config: of the build, with a shard range.
        stage: name of the stage.
        tasks: names of all tasks of the stage.
        recorded: returns the names of all tasks that have a commit record.
        events: returns the events of the logs of all runs.
        progress: shows the tasks that are waited for.

    Returns:
        A line for every share with tasks that are not done.
    """
    missing = set(tasks) - recorded()
    if not missing:
        return []
    if config.wait is not None:
        missing = _wait(missing, config.wait, recorded, progress, stage)
    return _lines(config, tasks, missing, events()) if missing else []


def _wait(
    missing: set[str],
    limit: float,
    recorded: Callable[[], set[str]],
    progress: Progress,
    stage: str,
) -> set[str]:
    """Wait until tasks have records, or none has got one for `limit` seconds; return the rest."""
    progress.start(f"{stage}: waiting for other shares", len(missing), "tasks")
    pause, end = _FIRST_PAUSE, time.monotonic() + limit
    while missing and (rest := end - time.monotonic()) > 0:
        time.sleep(min(pause, rest))
        left = missing - recorded()
        if len(left) < len(missing):
            progress.advance(len(missing) - len(left))
            missing, pause, end = left, _FIRST_PAUSE, time.monotonic() + limit
        else:
            pause = min(pause * 1.5, _MOST_PAUSE)
    progress.finish()
    return missing


def _lines(
    config: BuildConfig,
    tasks: Sequence[str],
    missing: set[str],
    events: Iterable[Mapping[str, Any]],
) -> list[str]:
    """Return a line for every share with missing tasks, with the last sign of it in the log."""
    assert config.shard_range is not None
    of = config.shard_range[1]
    left = Counter(number % of for number, task in enumerate(tasks) if task in missing)
    latest = {str(event.get("share")): event for event in events}
    lines = []
    for at, number in sorted(left.items()):
        event = latest.get(f"{at}/{of}")
        seen = "no sign of it in the log" if event is None else last_sign(event)
        tasks_left = f"{number} {'task' if number == 1 else 'tasks'} left"
        lines.append(f"share {at}/{of}: {tasks_left}; {seen}")
    return lines


def last_sign(event: Mapping[str, Any]) -> str:
    """Return when and from whom an event of the log is, and the error of a run that stopped."""
    text = f"last heard of at {event.get('time')} from {event.get('host')}"
    text += f", process {event.get('process')}"
    if event["event"] == "stopped":
        text += f", which stopped: {str(event.get('error')).partition(chr(10))[0]}"
    return text
