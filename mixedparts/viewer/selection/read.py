"""Read rows that were found, without decoding their neighbours into Python."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mixedparts.storage.build_folder import BuildFolder, DamagedShard
from mixedparts.storage.checked_rows import row_fault
from mixedparts.storage.parquet import leaf_paths
from mixedparts.storage.schema import PAIRS
from mixedparts.viewer.selection.row_groups import read_group
from mixedparts.viewer.selection.scan import THREADS, Matches

_ALL = tuple(leaf_paths(PAIRS))
_WITHOUT_MASKS = tuple(leaf for leaf in _ALL if ".mask." not in leaf and ".bbox." not in leaf)


def read_rows(
    build: BuildFolder, found: Iterable[Matches], masked: bool = True
) -> Iterator[dict[str, Any]]:
    """Yield rows of `pairs`.

    Args:
        build: the build.
        found: which rows.
        masked: with `mask` and `bbox` of regions, which are most of the bytes.

    Yields:
        One dict a row, in the given order.

    Raises:
        DamagedShard: a file is missing or damaged, or a row cannot be used.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        for rows in pool.map(lambda match: read_matches(build, match, masked), found):
            yield from rows


def read_matches(build: BuildFolder, match: Matches, masked: bool = True) -> list[dict[str, Any]]:
    """Return the found rows of one row group; see `read_rows`.

    Args:
        build: the build.
        match: the rows.
        masked: with `mask` and `bbox` of regions.

    Returns:
        One dict a row.

    Raises:
        DamagedShard: the file is missing or damaged, or a row cannot be used.
    """
    shard = match.group.shard
    table = read_group(build, match.group, _ALL if masked else _WITHOUT_MASKS, checked=False)
    rows: list[dict[str, Any]] = []
    for batch in table.take(match.rows).to_batches():
        if fault := row_fault(batch, "pairs"):
            raise DamagedShard(build.path, shard, fault)
        try:
            rows += batch.to_pylist()
        except UnicodeDecodeError as error:
            raise DamagedShard(build.path, shard, str(error)) from error
    return rows
