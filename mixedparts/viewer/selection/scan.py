"""Find the rows that a query asks for, row group by row group."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixedparts.storage.build_folder import BuildFolder
from mixedparts.viewer.selection.query import Query
from mixedparts.viewer.selection.row_groups import (
    CATEGORY,
    IMAGE_ID,
    PART,
    GroupColumns,
    RowGroup,
    read_group,
    row_groups,
)

Flags = NDArray[np.bool_]
_SEARCHED = ("id", "source", "question", "answer", IMAGE_ID)
THREADS = 2  # pyarrow decodes without the lock of Python
_TAG = r"</?p>|\s*\[SEG\]|\s*\(IMAGE\d+\)"
_IN_TAGS = re.compile(r"[<>\[\]()/p]+|\[?s?e?g?\]?|\(?i?m?a?g?e?\d*\)?")


@dataclass(frozen=True, slots=True)
class Matches:
    """Rows of one row group.

    Attributes:
        group: the row group.
        rows: (n,) int32, positions in it, ascending.
    """

    group: RowGroup
    rows: NDArray[np.int32]


def find(build: BuildFolder, query: Query) -> Iterator[Matches]:
    """Find rows, in their order; row groups without any are left out.

    Args:
        build: the build.
        query: which rows.

    Yields:
        The rows, row group by row group.

    Raises:
        DamagedShard: a file is missing or damaged.
    """
    groups = [group for group in row_groups(build) if not excluded(group, query)]
    if query.all_of_its_splits:
        yield from (Matches(group, np.arange(group.rows, dtype=np.int32)) for group in groups)
        return
    with ThreadPoolExecutor(THREADS) as pool:
        for match in pool.map(lambda group: _match(build, group, query), groups):
            if match.rows.size:
                yield match


def _match(build: BuildFolder, group: RowGroup, query: Query) -> Matches:
    columns = GroupColumns(read_group(build, group, columns_of(query)))
    passing = np.ones(group.rows, np.bool_)
    for flags in flags_of(columns, query).values():
        passing &= flags
    return Matches(group, np.flatnonzero(passing).astype(np.int32))


def excluded(group: RowGroup, query: Query) -> bool:
    """Return whether a row group has no row that passes, by its split and its statistics."""
    if query.splits and group.split not in query.splits:
        return True
    return any(
        values and not group.may_have(column, values) for column, values, _ in _filters(query)
    )


def columns_of(query: Query) -> list[str]:
    """Return the leaf columns that a query looks at."""
    wanted = [column for column, values, _ in _filters(query) if values]
    if query.among is not None:
        wanted.append("id")
    return list(dict.fromkeys([*wanted, *(_SEARCHED if query.words else ())]))


def flags_of(columns: GroupColumns, query: Query) -> dict[str, Flags]:
    """Apply the filters of a query to a row group.

    Args:
        columns: those of `columns_of` at least.
        query: the filters; that of the split does not count.

    Returns:
        Name of each filter that is set -> (rows,) bool, the rows that pass it.
    """
    flags = {}
    for column, values, name in _filters(query):
        if values:
            names = columns.names(column)
            chosen = np.asarray(pc.is_in(names.texts, pa.array(values, names.texts.type)))
            flags[name] = names.rows_with(chosen, columns.rows)
    if query.among is not None:
        ids = columns.names("id")
        known = np.array([name in query.among for name in ids.texts.to_pylist()], np.bool_)
        flags["among"] = ids.rows_with(known, columns.rows)
    if query.words:
        flags["text"] = _search(columns, query.words)
    return flags


def _filters(query: Query) -> tuple[tuple[str, tuple[str, ...], str], ...]:
    """Return (leaf column, wanted values, name of the filter)."""
    return (
        ("id", query.ids, "id"),
        ("source", query.sources, "source"),
        ("task", query.tasks, "task"),
        (CATEGORY, query.classes, "class"),
        (PART, query.parts, "part"),
    )


def _search(columns: GroupColumns, words: tuple[str, ...]) -> Flags:
    """Return which rows have every word in some searched column."""
    found = np.zeros((len(words), columns.rows), np.bool_)
    for leaf in _SEARCHED:
        names = columns.names(leaf)
        texts = names.texts
        # Tags are not part of what an answer says; only few words could be found in them.
        if leaf == "answer" and any(_IN_TAGS.fullmatch(word) for word in words):
            texts = pc.replace_substring_regex(texts, _TAG, "")
        for number, word in enumerate(words):
            # Several times faster than lowering all texts first.
            chosen = np.asarray(pc.match_substring(texts, word, ignore_case=True))
            found[number] |= names.rows_with(chosen, columns.rows)
    return np.asarray(found.all(axis=0))
