"""Row groups of `pairs`, the pieces in which rows are searched and read.

What a search costs is what it reads: row groups whose statistics exclude a wanted value are not
opened, and of the others only the columns that a filter looks at are read, as dictionaries: a name
is compared once a row group and not once a row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixedparts.storage.build_folder import BuildFolder, DamagedShard

CATEGORY = "objects.list.element.category"
PART = "parts.list.element.name"
IMAGE_ID = "images.list.element.image_id"
MASKS = ("objects.list.element.mask.counts", "parts.list.element.mask.counts")
# Texts of which a row group has few different ones.
NAMES = (
    *("source", "split", "task", "question", "answer", CATEGORY, PART, *MASKS),
    *(IMAGE_ID, "images.list.element.file_name"),
    *("parts.list.element.kind", "seg.list.element.kind"),
)


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group of a shard.

    Attributes:
        shard: path of the file, relative to the build folder.
        split: of its rows.
        number: among the row groups of the file.
        rows: how many it has.
        bounds: leaf column -> least and greatest value, where the file states them.
    """

    shard: str
    split: str
    number: int
    rows: int
    bounds: tuple[tuple[str, str, str], ...]

    def may_have(self, column: str, values: Collection[str]) -> bool:
        """Return whether the group can have one of some values, as far as its statistics say."""
        for name, least, most in self.bounds:
            if name == column:
                return any(least <= value <= most for value in values)
        return True


def row_groups(build: BuildFolder) -> tuple[RowGroup, ...]:
    """Return the row groups of all splits, in the order of the rows.

    Raises:
        DamagedShard: a file is missing or damaged.
    """
    # By digests too: another build may have taken the place of the one that was read before.
    return _row_groups(build, tuple(shard.sha256 for shard in build.shards))


@lru_cache(maxsize=4)
def _row_groups(build: BuildFolder, digests: tuple[str, ...]) -> tuple[RowGroup, ...]:
    return tuple(
        group
        for split in build.splits()
        for shard in build.table_shards("pairs", split)
        for group in _groups_of(build, shard.path, split)
    )


def _groups_of(build: BuildFolder, shard: str, split: str) -> Iterator[RowGroup]:
    with build.open_shard(shard) as file:
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            yield RowGroup(shard, split, number, group.num_rows, tuple(_bounds(group)))


def _bounds(group: pq.RowGroupMetaData) -> Iterator[tuple[str, str, str]]:
    for at in range(group.num_columns):
        column = group.column(at)
        statistics = column.statistics
        known = statistics is not None and statistics.has_min_max and not statistics.null_count
        if known and column.path_in_schema in ("id", "source", "task", CATEGORY, PART):
            yield column.path_in_schema, statistics.min, statistics.max


@dataclass(frozen=True, slots=True)
class Names:
    """A text column.

    Attributes:
        texts: its different texts; each once, if the column is a dictionary.
        codes: (n,) int64, the text of each value.
        rows: (n,) int64, the row of each value, in ascending order.
    """

    texts: pa.Array
    codes: NDArray[np.int64]
    rows: NDArray[np.int64]

    def rows_with(self, chosen: NDArray[np.bool_], number: int) -> NDArray[np.bool_]:
        """Return which of `number` rows have one of the texts that are chosen, (n,) bool."""
        found = np.zeros(number, np.bool_)
        found[self.rows[chosen[self.codes]]] = True
        return found


class GroupColumns:
    """Some columns of one row group.

    Args:
        table: the columns as they are in the file.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.rows: int = table.num_rows

    def names(self, leaf: str) -> Names:
        """Return a text column.

        Args:
            leaf: a column, or the path of a leaf column in a list of structs.
        """
        top, _, rest = leaf.partition(".")
        first, texts, rows = 0, [], []
        for chunk in self._table[top].chunks:
            inner, owners = chunk, np.arange(len(chunk))
            if rest:
                owners = np.asarray(pc.list_parent_indices(chunk), np.int64)
                inner = chunk.flatten().field(rest.rpartition(".")[2])
            texts.append(inner)
            rows.append(owners + first)
            first += len(chunk)
        return _encoded(texts, rows)


def _encoded(texts: list[pa.Array], rows: list[NDArray[np.int64]]) -> Names:
    if not texts:
        return Names(pa.array([], pa.string()), np.zeros(0, np.int64), np.zeros(0, np.int64))
    owners = np.concatenate(rows)
    # One dictionary for all pieces.
    whole = pa.concat_arrays(pa.chunked_array(texts).unify_dictionaries().chunks)
    # A missing value, which only a damaged build has, becomes an empty text.
    if not pa.types.is_dictionary(whole.type):
        return Names(pc.fill_null(whole, ""), np.arange(len(whole)), owners)
    codes = pc.fill_null(whole.indices, len(whole.dictionary))
    known = pa.concat_arrays([whole.dictionary, pa.array([""], whole.dictionary.type)])
    return Names(known, np.asarray(codes, np.int64), owners)


def read_group(
    build: BuildFolder, group: RowGroup, leaves: Sequence[str], checked: bool = True
) -> pa.Table:
    """Read some columns of a row group; texts that repeat are dictionaries.

    Args:
        build: the build.
        group: one of its row groups.
        leaves: columns, or paths of leaf columns.
        checked: all texts are UTF-8; without the check, those that are used must be.

    Returns:
        The columns.

    Raises:
        DamagedShard: the file is missing or damaged.
    """
    names = [leaf for leaf in NAMES if leaf in leaves]
    with build.open_shard(group.shard, read_dictionary=names) as file:
        # Positions of rows are held from one read to the next.
        if not _still_there(file.metadata, group):
            raise DamagedShard(build.path, group.shard, "it was replaced while it was read")
        table = file.read_row_group(group.number, list(leaves), use_threads=False)
        if checked:
            table.validate(full=True)  # in the block: bytes that are no text count as damage
    return table


def _still_there(metadata: pq.FileMetaData, group: RowGroup) -> bool:
    if group.number >= metadata.num_row_groups:
        return False
    return bool(metadata.row_group(group.number).num_rows == group.rows)
