"""What a finished build should tell its user: faults that are no error, but hardly intended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mixedparts.pipeline.empty_cells import cause_of, empty_cells
from mixedparts.pipeline.plan import Plan
from mixedparts.pipeline.rejects import systematic
from mixedparts.storage.shards import Commit


def build_warnings(plan: Plan, reads: Sequence[Commit], paired: Commit) -> list[dict[str, Any]]:
    """Return the warnings about a build as JSON values, the same for equal builds.

    Args:
        plan: the plan of the build.
        reads: commit records of all read tasks.
        paired: commit record of pairing.

    Returns:
        Values with `text`, for people, and with `source`, `split` and `tasks`, which are empty
        where the warning is about all of them.
    """
    return list(_warnings(plan, reads, paired))


def _warnings(plan: Plan, reads: Sequence[Commit], paired: Commit) -> Iterator[dict[str, Any]]:
    sources = {source.name: source.splits for source in plan.sources}
    empty = empty_cells(sources, plan.identity["configuration"]["tasks"], reads, paired)
    causes = {(cells.source, cells.split, cells.cause) for cells in empty}
    for share in systematic(reads):
        # Each fault once: where it leaves a task without samples, that warning names it.
        if (share.source, share.split, cause_of(share)) not in causes:
            yield _warning(share.text, share.source, share.split)
    for cells in empty:
        text = f"{cells.source} {cells.split}: no {', '.join(cells.tasks)} samples: {cells.cause}"
        yield _warning(text, cells.source, cells.split, cells.tasks)
    if not paired.counts.get("train", {}).get("pairs"):
        there = any("train" in splits for splits in sources.values())
        why = "see the causes above" if there else "no source has a train split here"
        yield _warning(f"no train samples, so nothing can be trained on this build: {why}")


def _warning(
    text: str, source: str = "", split: str = "", tasks: Sequence[str] = ()
) -> dict[str, Any]:
    return {"source": source, "split": split, "tasks": list(tasks), "text": text}
