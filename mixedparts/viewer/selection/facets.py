"""Count the rows that each choice of a filter would leave."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mixedparts.storage.build_folder import BuildFolder
from mixedparts.viewer.selection.query import Query
from mixedparts.viewer.selection.row_groups import (
    CATEGORY,
    PART,
    GroupColumns,
    Names,
    RowGroup,
    read_group,
    row_groups,
)
from mixedparts.viewer.selection.scan import THREADS, Flags, columns_of, flags_of

Counts = dict[str, dict[str, int]]
_LEAVES = {"source": "source", "task": "task", "class": CATEGORY, "part": PART}


def count_facets(build: BuildFolder, query: Query) -> Counts:
    """Count rows by split, source, task, class and part.

    Args:
        build: the build.
        query: the filters. A facet is counted with all of them but its own.

    Returns:
        Facet -> name -> rows. Names whose rows are all excluded are there with 0.

    Raises:
        DamagedShard: a file is missing or damaged.
    """
    totals: dict[str, Counter[str]] = {facet: Counter() for facet in ("split", *_LEAVES)}
    with ThreadPoolExecutor(THREADS) as pool:
        for counted in pool.map(lambda group: _count(build, group, query), row_groups(build)):
            for facet, numbers in counted.items():
                totals[facet].update(numbers)
    return {facet: dict(sorted(numbers.items())) for facet, numbers in totals.items()}


def _count(build: BuildFolder, group: RowGroup, query: Query) -> Counts:
    leaves = dict.fromkeys([*columns_of(query), *_LEAVES.values()])
    columns = GroupColumns(read_group(build, group, list(leaves)))
    flags = flags_of(columns, query)
    every = _passing(flags, "", group.rows)
    counts = {"split": {group.split: int(every.sum())}}
    inside = not query.splits or group.split in query.splits
    for facet, leaf in _LEAVES.items():
        passing = _passing(flags, facet, group.rows) & inside
        counts[facet] = _numbers(columns.names(leaf), passing)
    return counts


def _passing(flags: dict[str, Flags], but: str, rows: int) -> Flags:
    """Return which rows pass all filters but one."""
    passing = np.ones(rows, np.bool_)
    for name, passed in flags.items():
        if name != but:
            passing &= passed
    return passing


def _numbers(names: Names, passing: Flags) -> dict[str, int]:
    """Return for each text the rows that have it and pass; a row counts once."""
    number = max(1, len(names.texts))
    once = np.unique(names.rows * number + names.codes)
    kept = once[passing[once // number]] % number
    counts = np.bincount(kept, minlength=number)
    texts = names.texts.to_pylist()
    # A dictionary can list a text that no row has; "" is a missing value.
    present = np.unique(once % number).tolist()
    return {texts[code]: int(counts[code]) for code in present if texts[code]}
