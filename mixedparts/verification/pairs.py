"""Rules of the `pairs` table as a whole: order of rows, repetitions, unused images.

Shards are checked one by one, maybe in several processes. Each leaves a small summary, and the
rules across shards are checked on the summaries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedparts.pairing.samples import Ids, sample_ids
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.verification.contrast import (
    CellSides,
    RowSides,
    check_contrast,
    contrast_asked,
)
from mixedparts.verification.findings import Findings, Rule
from mixedparts.verification.index import SplitIndex, split_index
from mixedparts.verification.rows import Comparable, row_problems, structure_problems


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """What the checks across shards need of one shard.

    Attributes:
        first: id of the first row.
        last: id of the last row.
        combinations: (n,) uint64, a hash of each row's task and entities, whatever their order; 0
            for a row with an unknown entity.
        used: (m,) int64, sorted rows of the images table that the shard's rows show.
        sides: both images of every row by cell, if the build was asked for contrasting samples.
    """

    first: str
    last: str
    combinations: Ids
    used: NDArray[np.int64]
    sides: CellSides = field(default_factory=dict)


def check_pairs(
    build: BuildFolder, file: str, split: str, comparable: Comparable
) -> tuple[Findings, ShardSummary]:
    """Check every row of one shard of `pairs`, benchmark excluded.

    Args:
        build: the build.
        file: path of the shard, relative to the build folder.
        split: split of the shard.
        comparable: returns whether classes of a source may be compared.

    Returns:
        The problems, and the summary of the shard.

    Raises:
        DamagedShard: the shard, or one of the split's images or entities, cannot be read.
    """
    found = Findings()
    index = split_index(build, split)
    ids: list[str] = []
    combinations: list[int] = []
    used: set[int] = set()
    sides = RowSides()
    contrasting = contrast_asked(build)
    for batch in build.shard_batches(file, rows=500):
        for row in batch.to_pylist():
            name = str(row["id"])
            for rule, text in row_problems(row, split, index, comparable):
                found.add(rule, file, name, text)
            # Ids are hexadecimal digits of one length, so text order is the order of the values.
            if ids and name <= ids[-1]:
                what = "the id occurs twice" if name == ids[-1] else "is out of order"
                rule = Rule.REPEATED if name == ids[-1] else Rule.ORDER
                found.add(rule, file, name, f"{what} (after {ids[-1]})")
            ids = [name] if not ids else [ids[0], name]  # the first and the last one so far
            used.update(ref["row"] for ref in row["images"] or () if ref)
            combinations.append(_combination(row, split, index))
            if contrasting and not any(structure_problems(row)):
                sides.add(row)
    summary = ShardSummary(
        ids[0] if ids else "",
        ids[-1] if ids else "",
        np.array(combinations, np.uint64),
        np.array(sorted(row for row in used if row is not None), np.int64),
        sides.cells(),
    )
    return found, summary


def _combination(row: dict[str, Any], split: str, index: SplitIndex) -> int:
    """Return a hash of task and entities, whatever their order; 0 if an entity is unknown."""
    keys = []
    # The row may be broken in any way: `row_problems` has reported that, and this must not fail.
    for ref, item in zip(row["images"] or (), row["objects"] or (), strict=False):
        entity = index.entities.get((ref["row"], item["category"])) if ref and item else None
        if entity is None:
            return 0
        keys.append(entity.key)
    if not keys:
        return 0
    # Sample ids depend on the order of the entities; sorted keys make the id of the set.
    sorted_keys = np.array([sorted(keys)], np.uint64)
    present = np.ones(sorted_keys.shape, np.bool_)
    return int(sample_ids(split, [str(row["task"])], sorted_keys, present)[0])


def check_across_shards(
    build: BuildFolder, split: str, shards: Sequence[tuple[str, ShardSummary]]
) -> Findings:
    """Check the rules about all rows of a split together.

    Args:
        build: the build.
        split: the split.
        shards: (path, summary) of every shard of the split, in the order of the shards.

    Returns:
        The problems.

    Raises:
        DamagedShard: a shard cannot be read.
    """
    found = Findings()
    for (_, before), (file, after) in pairwise(shards):
        if after.first <= before.last:
            found.add(Rule.ORDER, file, after.first, f"is after {before.last}, out of order")
    # Only the rows to report are read again, for their ids: summaries have no ids but two.
    for file, place in _repeated(shards):
        row = build.read_shard(file, ["id", "task"]).slice(place, 1).to_pylist()[0]
        text = f"its entities have another row of {row['task']} already"
        found.add(Rule.REPEATED, file, row["id"], text)
    if contrast_asked(build):
        found.join(check_contrast(build, split, [summary.sides for _, summary in shards]))
    # The build numbers only images that some sample uses, so every row of `images` must be used.
    used = np.unique(np.concatenate([np.zeros(0, np.int64), *(t.used for _, t in shards)]))
    for file, first, ids in _image_rows(build, split):
        for place in np.flatnonzero(~np.isin(np.arange(first, first + len(ids)), used)).tolist():
            name = f"row {first + place} ({ids[place]})"
            found.add(Rule.IMAGE, file, name, "no sample of its split uses this image")
    return found


def _repeated(shards: Sequence[tuple[str, ShardSummary]]) -> Iterator[tuple[str, int]]:
    """Yield (file, position in it) of every row whose task and entities an earlier row has."""
    # A stable sort puts equal combinations together in the order of their rows, so every one that
    # equals its predecessor is a repetition.
    every = np.concatenate([np.zeros(0, np.uint64), *(t.combinations for _, t in shards)])
    order = np.argsort(every, kind="stable")
    again = order[1:][every[order[1:]] == every[order[:-1]]]
    starts = np.cumsum([0, *(len(t.combinations) for _, t in shards)])  # first row of each shard
    for row in np.sort(again[every[again] != 0]).tolist():
        shard = int(np.searchsorted(starts, row, side="right")) - 1
        yield shards[shard][0], row - int(starts[shard])


def _image_rows(build: BuildFolder, split: str) -> Iterator[tuple[str, int, list[str]]]:
    """Yield file, first row number and image ids of each images shard of a split."""
    first = 0
    for shard in build.table_shards("images", split):
        ids = build.read_shard(shard.path, ["image_id"])["image_id"].to_pylist()
        yield shard.path, first, ids
        first += len(ids)
