"""Rules of the `pairs` table as a whole: order, repetitions, used images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedparts.pairing.samples import Ids, sample_ids
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.verification.findings import Findings, Rule
from mixedparts.verification.index import SplitIndex, split_index
from mixedparts.verification.rows import Comparable, row_problems


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """What a shard leaves for the checks across shards.

    Attributes:
        first, last: ids of its first and last row.
        combinations: (n,) a hash of each row's task and unordered entities.
        used: rows of the images table that its rows show.
    """

    first: str
    last: str
    combinations: Ids
    used: NDArray[np.int64]


def check_pairs(
    build: BuildFolder, file: str, split: str, comparable: Comparable
) -> tuple[Findings, ShardSummary]:
    """Check every row of one shard of `pairs` (not of the benchmark)."""
    found = Findings()
    index = split_index(build, split)
    ids: list[str] = []
    combinations: list[int] = []
    used: set[int] = set()
    for batch in build.open_shard(file).iter_batches(500):
        for row in batch.to_pylist():
            name = str(row["id"])
            for rule, text in row_problems(row, split, index, comparable):
                found.add(rule, file, name, text)
            if ids and name <= ids[-1]:
                what = "the id occurs twice" if name == ids[-1] else "stands out of order"
                rule = Rule.REPEATED if name == ids[-1] else Rule.ORDER
                found.add(rule, file, name, f"{what} (after {ids[-1]})")
            ids = [name] if not ids else [ids[0], name]
            used.update(ref["row"] for ref in row["images"] or () if ref)
            combinations.append(_combination(row, split, index))
    traces = ShardSummary(
        ids[0] if ids else "",
        ids[-1] if ids else "",
        np.array(combinations, np.uint64),
        np.array(sorted(row for row in used if row is not None), np.int64),
    )
    return found, traces


def _combination(row: dict[str, Any], split: str, index: SplitIndex) -> int:
    """Return a hash of task and entities that their order does not change; 0 if one is unknown."""
    keys = []
    for ref, item in zip(row["images"] or (), row["objects"] or (), strict=False):
        known = index.entities.get((ref["row"], item["category"])) if ref and item else None
        if known is None:
            return 0
        keys.append(known.key)
    if not keys:
        return 0
    sorted_keys = np.array([sorted(keys)], np.uint64)
    present = np.ones(sorted_keys.shape, np.bool_)
    return int(sample_ids(split, [str(row["task"])], sorted_keys, present)[0])


def check_across_shards(
    build: BuildFolder, split: str, shards: Sequence[tuple[str, ShardSummary]]
) -> Findings:
    """Check what only all shards of a split show together, in their order."""
    found = Findings()
    for (_, before), (file, after) in pairwise(shards):
        if after.first <= before.last:
            found.add(Rule.ORDER, file, after.first, f"stands after {before.last}, out of order")
    for file, place in _repeated(shards):
        row = build.open_shard(file).read(["id", "task"]).slice(place, 1).to_pylist()[0]
        text = f"its entities have another row of {row['task']} already"
        found.add(Rule.REPEATED, file, row["id"], text)
    used = np.unique(np.concatenate([np.zeros(0, np.int64), *(t.used for _, t in shards)]))
    for file, first, ids in _image_rows(build, split):
        for place in np.flatnonzero(~np.isin(np.arange(first, first + len(ids)), used)).tolist():
            name = f"row {first + place} ({ids[place]})"
            found.add(Rule.IMAGE, file, name, "no sample of its split uses this image")
    return found


def _repeated(shards: Sequence[tuple[str, ShardSummary]]) -> Iterator[tuple[str, int]]:
    """Yield file and place of every row whose task and entities an earlier row has."""
    every = np.concatenate([np.zeros(0, np.uint64), *(t.combinations for _, t in shards)])
    order = np.argsort(every, kind="stable")
    again = order[1:][every[order[1:]] == every[order[:-1]]]
    starts = np.cumsum([0, *(len(t.combinations) for _, t in shards)])
    for row in np.sort(again[every[again] != 0]).tolist():
        shard = int(np.searchsorted(starts, row, side="right")) - 1
        yield shards[shard][0], row - int(starts[shard])


def _image_rows(build: BuildFolder, split: str) -> Iterator[tuple[str, int, list[str]]]:
    first = 0
    for shard in build.table_shards("images", split):
        ids = build.open_shard(shard.path).read(["image_id"])["image_id"].to_pylist()
        yield shard.path, first, ids
        first += len(ids)
