"""Cells of a build without rows (a source, a split and a task), each with its likely cause."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedparts.pairing.admissible import Comparable
from mixedparts.pairing.entity_index import EntityIndex
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.record_counts import MAP, LevelShare, level_shares
from mixedparts.records import SPLITS, Level, Task
from mixedparts.storage.shards import Commit

Causes = dict[str, dict[str, str]]
"""{source: {task: likely cause}} of the cells of one split that have no rows."""


def unpaired(index: EntityIndex, comparable: Comparable, task: Task, config: BuildConfig) -> str:
    """Return why the entities of a cell make no admissible sample.

    Args:
        index: entities of the cell, at least one.
        comparable: whether two different class names are comparable.
        task: of the cell.
        config: of the build.

    Returns:
        The cause, for people.
    """
    able = index.can_serve(task)
    images = np.unique(index.images[able]).size
    wanted = config.images_per_sample
    if task is not Task.COMMON_OBJECT and not images:
        if not index.parts_known.any():
            return "the parts of its images are not known"
        return "no object shows a part of at least --min-part-area"
    if images < wanted:
        what = "an object of at least --min-object-area"
        shows = what if task is Task.COMMON_OBJECT else "a part of at least --min-part-area"
        return f"only {images} image{'s' * (images != 1)} with {shows}, {wanted} are needed"
    if not _alike(index, able, comparable, task):
        if task is Task.COMMON_OBJECT:
            return "no class is in two images"
        return "no pair of comparable classes"
    return {
        Task.COMMON_OBJECT: f"no class is in {wanted} images",
        Task.COMMON_PARTS: "no comparable objects of different images have a part in common",
        Task.UNIQUE_PARTS: "comparable objects of different images show the same parts",
    }[task]


def _alike(index: EntityIndex, able: NDArray[np.bool_], comparable: Comparable, task: Task) -> bool:
    """Return whether entities of two images have one class, or comparable ones."""
    images: dict[int, set[int]] = defaultdict(set)
    for category, image in zip(index.categories[able], index.images[able], strict=True):
        images[int(category)].add(int(image))
    for first in images:
        for second in images:
            one, two = index.names[first], index.names[second]
            same = one == two or (task is not Task.COMMON_OBJECT and comparable(one, two))
            in_two = len(images[first] | images[second]) > 1
            if same and in_two and index.across(first, second):
                return True
    return False


@dataclass(frozen=True, slots=True)
class EmptyCells:
    """Tasks of one source and split without samples, for one cause.

    Attributes:
        source: a source, or two joined by "+".
        split: `train`, `validation` or `test`.
        tasks: the tasks.
        cause: the likely one, for people.
    """

    source: str
    split: str
    tasks: tuple[str, ...]
    cause: str


def empty_cells(
    sources: Mapping[str, Sequence[str]],
    tasks: Sequence[str],
    reads: Sequence[Commit],
    paired: Commit,
) -> list[EmptyCells]:
    """Return the cells without samples that a build was asked for.

    Args:
        sources: the splits of each source.
        tasks: the tasks that the build was asked for.
        reads: commit records of all read tasks. Those of an import have the number of records that
            state each task (`stated`); it was asked for no other task.
        paired: commit record of pairing, which has the causes that the entities show.

    Returns:
        The cells, in a fixed order.
    """
    totals = _totals(reads)
    shares = {(share.source, share.split, share.level): share for share in level_shares(reads)}
    found: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for source, splits in sources.items():
        for split in splits:
            of_split = paired.counts.get(split, {})
            rows = of_split.get("cells", {}).get(source, {})
            total = totals[source, split]
            for task in (task for task in tasks if not rows.get(task)):
                if total["imported"] and not total[task]:
                    continue
                known = of_split.get("empty", {}).get(source, {}).get(task)
                cause = known or _unread(source, split, total, shares)
                lost = shares.get((source, split, MAP))
                if lost and task != Task.COMMON_OBJECT and lost.rejected * 2 > lost.records:
                    cause = cause_of(lost)
                found[source, split, cause].append(task)
    # Cells of two sources have a label that is no source of the plan.
    for split in SPLITS:
        for label, causes in paired.counts.get(split, {}).get("empty", {}).items():
            for task, cause in causes.items() if label not in sources else ():
                found[label, split, cause].append(task)
    return [
        EmptyCells(source, split, tuple(of_cause), cause)
        for (source, split, cause), of_cause in found.items()
    ]


def _totals(reads: Sequence[Commit]) -> defaultdict[tuple[str, str], Counter[str]]:
    """Return usable records, entities, filtered objects and stated tasks by source and split."""
    totals: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for record in reads:
        total = totals[record.counts["source"], record.counts["split"]]
        total.update(record.counts["read"])
        total["entities"] += record.counts["entities"]
        total["filtered"] += record.counts["filtered"].get("objects", 0)
        total["imported"] += "stated" in record.counts
        total.update(record.counts.get("stated", {}))
    return totals


def _unread(
    source: str,
    split: str,
    total: Counter[str],
    shares: Mapping[tuple[str, str, str], LevelShare],
) -> str:
    """Return why no entity of a source is left in a split."""
    for level in (Level.IMAGE, Level.OBJECT):
        if not total[level]:
            share = shares.get((source, split, level))
            if share is not None:
                return cause_of(share)
            noun = "image" if level is Level.IMAGE else "object of its vocabulary"
            return f"its annotation files have no {noun}"
    if not total["entities"]:
        if total["filtered"]:
            return f"all {total['filtered']} objects are below --min-object-area or left out"
        return "no object is of the classes asked for"
    if not total["imported"]:
        return "its images are in an earlier split already"
    pairs = shares.get((source, split, Level.PAIR))
    return cause_of(pairs) if pairs else "no record of the bundle that states it can be used"


def cause_of(share: LevelShare) -> str:
    """Return what was refused of a level, as a cause."""
    reasons = ", ".join(share.reasons)
    if share.level == MAP:
        return f"{share.rejected} of {share.records} part maps unusable ({reasons})"
    return f"{share.text.partition(': ')[2]}"
