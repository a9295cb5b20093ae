"""Choose the rows of a page: those that filters leave, evenly over splits, sources and tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from mixedparts.errors import UsageError, near_names
from mixedparts.pairing.allocation import water_fill
from mixedparts.records import BENCHMARK
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.viewer.selection.query import Query
from mixedparts.viewer.selection.row_groups import (
    CATEGORY,
    PART,
    GroupColumns,
    RowGroup,
    read_group,
    row_groups,
)
from mixedparts.viewer.selection.scan import Matches, find

_LISTED = 12  # names that a message lists


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows for a page.

    Attributes:
        found: the rows, in the order of the build.
        rows: how many they are.
        total: how many rows pass the filters.
    """

    found: list[Matches]
    rows: int
    total: int


def choose(build: BuildFolder, query: Query, limit: int) -> Chosen:
    """Choose rows that pass filters; if they are too many, evenly over split, source and task.

    Args:
        build: the build.
        query: the filters. Without splits, all but the benchmark, whose rows are copies.
        limit: most rows; rows that are named by id are all taken.

    Returns:
        The rows. Those of a cell are its first ones; the order of a build is random.

    Raises:
        UsageError: a filter names something that the build does not have, or no row passes all.
        DamagedShard: a file is missing or damaged.
    """
    check_names(build, query)
    query = with_splits(build, query)
    cells: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
    totals: dict[tuple[str, str, str], int] = defaultdict(int)
    groups: list[RowGroup] = []
    for match in find(build, query):
        groups.append(match.group)
        for cell, rows in _by_cell(build, match):
            totals[cell] += len(rows)
            free = max(0, limit - len(cells[cell])) if not query.ids else len(rows)
            cells[cell] += [(len(groups) - 1, row) for row in rows[:free]]
    _check_ids(build, query, groups, cells)
    total = sum(totals.values())
    if not total:
        raise UsageError(f"no row of {build.path} passes all of these filters")
    names = sorted(cells)
    most = total if query.ids else limit
    shares = water_fill(most, [len(cells[name]) for name in names]).tolist()
    taken: dict[int, list[int]] = defaultdict(list)
    for name, share in zip(names, shares, strict=True):
        for group, row in cells[name][:share]:
            taken[group].append(row)
    found = [
        Matches(groups[at], np.array(sorted(rows), np.int32)) for at, rows in sorted(taken.items())
    ]
    return Chosen(found, sum(shares), total)


def with_splits(build: BuildFolder, query: Query) -> Query:
    """Return the query for all splits but the benchmark, if it names no splits."""
    # Rows of the benchmark are copies of rows of test, which would be there twice.
    splits = tuple(split for split in build.splits() if split != BENCHMARK)
    return query if query.splits else replace(query, splits=splits or build.splits())


def _by_cell(
    build: BuildFolder, match: Matches
) -> Iterable[tuple[tuple[str, str, str], list[int]]]:
    """Yield split, source and task with the rows of a row group that have them."""
    columns = GroupColumns(read_group(build, match.group, ("source", "task")))
    sources, tasks = columns.names("source"), columns.names("task")
    keys = sources.codes[match.rows] * len(tasks.texts) + tasks.codes[match.rows]
    for key in np.unique(keys).tolist():
        source, task = divmod(key, len(tasks.texts))
        cell = match.group.split, sources.texts[source].as_py(), tasks.texts[task].as_py()
        yield cell, match.rows[keys == key].tolist()


def check_names(build: BuildFolder, query: Query) -> None:
    """Check that a build has what the filters of a query name.

    Raises:
        UsageError: it has no such split, source, task, class or part; the message says what it has.
    """
    for split in query.splits:
        build.check_split(split)
    for what, leaf, wanted in (
        ("source", "source", query.sources),
        ("task", "task", query.tasks),
        ("class", CATEGORY, query.classes),
        ("part", PART, query.parts),
    ):
        if wanted:
            _check_known(build, what, wanted, names_in(build, leaf))


def names_in(build: BuildFolder, leaf: str) -> list[str]:
    """Return the different texts of a column of `pairs`, sorted."""
    found: set[str] = set()
    for group in row_groups(build):
        names = GroupColumns(read_group(build, group, (leaf,))).names(leaf)
        found.update(names.texts.to_pylist())
    return sorted(found - {""})


def _check_known(build: BuildFolder, what: str, wanted: Iterable[str], known: list[str]) -> None:
    for name in wanted:
        if name not in known:
            listed = ", ".join(known[:_LISTED])
            more = f", … ({len(known)} in all)" if len(known) > _LISTED else ""
            raise UsageError(
                f"{build.path} has no {what} '{name}'.{near_names(name, known)}",
                f"It has: {listed or 'none'}{more}",
            )


def _check_ids(
    build: BuildFolder,
    query: Query,
    groups: list[RowGroup],
    cells: dict[tuple[str, str, str], list[tuple[int, int]]],
) -> None:
    """Check that every id that a query names was found.

    Raises:
        UsageError: no row has the id and passes the other filters.
    """
    if not query.ids:
        return
    rows: dict[int, list[int]] = defaultdict(list)
    for places in cells.values():
        for group, row in places:
            rows[group].append(row)
    known: set[str] = set()
    for at, inner in rows.items():
        ids = read_group(build, groups[at], ("id",))["id"].take(inner).to_pylist()
        known.update(ids)
    if missing := [name for name in query.ids if name not in known]:
        shown = ", ".join(missing[:_LISTED])
        more = f", … ({len(missing)} in all)" if len(missing) > _LISTED else ""
        raise UsageError(
            f"{build.path} has no row with the id {shown}{more}, or other filters exclude it",
            f"Splits that were searched: {', '.join(query.splits)}",
        )
