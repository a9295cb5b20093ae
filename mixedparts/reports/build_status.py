"""The report of `mixedparts status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mixedparts.cards.summary import Report, text_table
from mixedparts.pipeline.runs.status import NONE, BuildStatus

_SHOWN = 5  # faults, and runs of a stage; --json has all


def status_report(status: BuildStatus) -> Report:
    """Return the status of a build as text and as values."""
    return Report("\n".join(_lines(status)), status.values())


def _lines(status: BuildStatus) -> Iterator[str]:
    of = f" (build {status.build_id})" if status.build_id else ""
    yield f"{status.out}: {status.state}{of}"
    if status.stages:
        rows = [
            [
                stage.stage,
                "?" if stage.tasks is None else str(stage.tasks),
                str(stage.done),
                "?" if stage.left is None else str(stage.left),
                str(stage.failed),
                stage.last or "",
            ]
            for stage in status.stages
        ]
        yield text_table(["stage", "tasks", "done", "left", "failed", "last"], rows)
    for stage in status.stages:
        for worker in stage.by[:_SHOWN]:
            share = f"share {worker.share}, " if worker.share else ""
            who = f"{share}{worker.host}, process {worker.process}"
            yield f"{stage.stage}: {worker.tasks} by {who}, last at {worker.last}"
        if len(stage.by) > _SHOWN:
            yield f"{stage.stage}: … and {len(stage.by) - _SHOWN} more runs"
    yield from _faults("failed", status.failed)
    yield from _faults("stopped", status.stopped)
    for writer in status.writing:
        share = f"share {writer['share']}: " if writer["share"] else ""
        where = f"process {writer['process']} on {writer['host']}, since {writer['since']}"
        yield f"writing now: {share}{writer['command']} ({where})"
    if status.damaged is not None:
        for task in status.damaged[:_SHOWN]:
            yield f"damaged: {task}"
        yield f"files that do not match their records: of {len(status.damaged)} tasks"
    yield f"next: {status.next}" if status.state != NONE else f"begin with: {status.next}"


def _faults(word: str, faults: tuple[Mapping[str, Any], ...]) -> Iterator[str]:
    for fault in faults[:_SHOWN]:
        what = f" {fault['task']}" if fault["task"] else ""
        share = f"share {fault['share']}, " if fault["share"] else ""
        who = f"{share}{fault['host']}, process {fault['process']}, {fault['time']}"
        yield f"{word}:{what} ({who}): {str(fault['error']).splitlines()[0]}"
    if len(faults) > _SHOWN:
        yield f"{word}: … and {len(faults) - _SHOWN} more"
