"""What a finished build should tell its user: faults that are no error, but hardly intended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

from mixedparts.pipeline.empty_cells import cause_of, empty_cells
from mixedparts.pipeline.plan import Plan
from mixedparts.pipeline.rejects import systematic
from mixedparts.records import SPLITS
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
    yield from _short_of_contrast(plan.identity["configuration"].get("contrast", 0.0), paired)
    if not paired.counts.get("train", {}).get("pairs"):
        there = any("train" in splits for splits in sources.values())
        why = "see the causes above" if there else "no source has a train split here"
        yield _warning(f"no train samples, so nothing can be trained on this build: {why}")


def _short_of_contrast(asked: float, paired: Commit) -> Iterator[dict[str, Any]]:
    """Yield a warning for every source with cells that miss the share of `--contrast`."""
    short: dict[str, dict[str, list[str]]] = {}
    for split in SPLITS:
        counts = paired.counts.get(split, {})
        for source, tasks in counts.get("selection", {}).items():
            for task, numbers in tasks.items():
                rows = counts["cells"].get(source, {}).get(task, 0)
                number = numbers.get("contrasted", rows)
                if number < ceil(asked * rows):
                    share = f"{split} {number / rows:.2f}"
                    short.setdefault(source, {}).setdefault(task, []).append(share)
    for source, by_task in short.items():
        listed = "; ".join(f"{task} {', '.join(shares)}" for task, shares in by_task.items())
        text = (
            f"{source}: its images do not allow the share of contrasting samples that was asked"
            f" for, {asked:g}, but only these: {listed}"
        )
        yield _warning(text, source, tasks=list(by_task))


def _warning(
    text: str, source: str = "", split: str = "", tasks: Sequence[str] = ()
) -> dict[str, Any]:
    return {"source": source, "split": split, "tasks": list(tasks), "text": text}
