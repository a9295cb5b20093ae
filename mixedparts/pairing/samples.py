"""The samples of a split as an array, their ids, and what is counted or selected from them.

A sample is a row of numbers: its entities, its task, its id. An id is a 64-bit hash of split, task
and entities in the order of the images. Rows of `pairs` are sorted by id: a shuffle that anybody
can check, because ids follow from the rows. The question of a row follows from its id too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixedparts.entities.table import EntityColumns
from mixedparts.records import Task

TASKS = tuple(Task)
BENCHMARK_CELL = 112  # most rows of a source and task in the benchmark
Cell = tuple[str, str]  # source (two of them joined by "+"), task
Coded = tuple[NDArray[np.int64], tuple[str, ...]]  # code of each row, text of each code
Ids = NDArray[np.uint64]


def sample_type(images: int) -> np.dtype[np.void]:
    """Return the dtype of a sample: rows of its entities in the entity table, task, id.

    The byte order is fixed, because arrays of this dtype are stored in the build folder.
    """
    return np.dtype([("entities", "<i4", (images,)), ("task", "<i1"), ("id", "<u8")])


def entity_key(source: str, image_id: str, category: str) -> int:
    """Return the 64-bit key of an entity.

    Args:
        source: name of the source.
        image_id: id of the image in its source.
        category: canonical name of the class; a class has one entity an image.

    Returns:
        An integer in `[0, 2^64)` that depends on these names only.
    """
    # The zero bytes keep names apart: "a", "bc" and "ab", "c" must not give one text.
    return _hash(f"{source}\0{image_id}\0{category}")


def entity_keys(columns: EntityColumns) -> Ids:
    """Return `(n,)` keys of the entities of a table."""
    names = (columns.column(n).to_pylist() for n in ("source", "image_id", "category"))
    return np.array(list(map(entity_key, *names)), np.uint64)


def sample_ids(split: str, tasks: Sequence[str], keys: Ids, present: NDArray[np.bool_]) -> Ids:
    """Return the ids of n samples.

    Args:
        split: the split of all of them.
        tasks: the samples' tasks.
        keys: `(n, k)` uint64 keys of their entities in the order of their images.
        present: `(n, k)` bool, False where a sample has fewer than k entities.

    Returns:
        `(n,)` uint64 ids.
    """
    starts = {task: _hash(f"{split}\0{task}") for task in set(tasks)}
    return _ids(np.array([starts[task] for task in tasks], np.uint64), keys, present)


def _ids(ids: Ids, keys: Ids, present: NDArray[np.bool_]) -> Ids:
    """Return the ids of samples, given the hash of split and task of each."""
    # Each entity is added and the sum scrambled before the next, so the order of images counts.
    for column, there in zip(keys.T, present.T, strict=True):
        ids = np.where(there, scrambled(ids + column), ids)
    return ids


def id_texts(ids: Ids) -> list[str]:
    """Return ids as in the tables: 16 hexadecimal digits, so texts sort like the values."""
    return [f"{value:016x}" for value in ids.tolist()]


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def scrambled(values: Ids) -> Ids:
    """Scramble 64-bit values, one to one (the finaliser of SplitMix64); sums wrap around."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def in_order(split: str, columns: EntityColumns, samples: NDArray[np.void]) -> NDArray[np.void]:
    """Write the ids into the samples and return them sorted by id, which is a shuffle.

    Args:
        split: the split of all samples.
        columns: entities of the split.
        samples: `(n,)` of `sample_type`; its field `id` is overwritten in place.

    Returns:
        `(n,)` samples in rising order of their ids.
    """
    keys = entity_keys(columns)[samples["entities"]]
    starts = np.array([_hash(f"{split}\0{task}") for task in TASKS], np.uint64)
    ids = _ids(starts[samples["task"]], keys, np.ones(keys.shape, np.bool_))
    samples["id"] = ids
    # No two ids are equal, but for one of 2^64 chances a pair; then the stable sort decides.
    order = np.argsort(ids)
    ordered = ids[order]
    if (ordered[1:] == ordered[:-1]).any():
        order = np.argsort(ids, kind="stable")
    return samples[order]


def used_images(samples: NDArray[np.void], columns: EntityColumns) -> NDArray[np.int32]:
    """Return `(n,)` int32, each entity's row in the split's images table, -1 where unused.

    Only images that some sample uses have a row; rows follow the order of the entities.
    """
    # Entities of one image are adjacent, so run lengths give each entity the image's number.
    starts = columns.first_of_image()
    lengths = np.diff(np.append(starts, columns.table.num_rows))
    image_of = np.repeat(np.arange(starts.size), lengths)
    used = np.zeros(starts.size, np.bool_)
    for column in samples["entities"].T:
        used[image_of[column]] = True
    row = np.where(used, np.cumsum(used) - 1, -1).astype(np.int32)
    return row[image_of]


def source_labels(samples: NDArray[np.void], sources: Coded) -> Coded:
    """Return the values of the samples' column `source` as codes and texts.

    The text is the source of the images, or the names of both sources in alphabetical order,
    joined by "+".

    Args:
        samples: `(n,)` of `sample_type`.
        sources: source of each entity, as codes and names in alphabetical order.
    """
    codes, names = sources
    of_images = codes[samples["entities"]]
    # A sample has images of at most two sources, which its lowest and highest code identify.
    keys = of_images.min(axis=1) * len(names) + of_images.max(axis=1)
    pairs, labels = np.unique(keys, return_inverse=True)
    ends = (divmod(int(pair), len(names)) for pair in pairs)
    return labels, tuple(
        names[low] if low == high else f"{names[low]}+{names[high]}" for low, high in ends
    )


def cell_counts(samples: NDArray[np.void], columns: EntityColumns) -> dict[str, dict[str, int]]:
    """Return `{source: {task: rows}}`, with zeros for sources of the split without a sample."""
    codes, names = source_labels(samples, columns.coded("source"))
    every = dict.fromkeys([*columns.coded("source")[1], *names])
    code_of = {name: code for code, name in enumerate(names)}
    return {
        source: {
            str(task): int(((codes == code_of.get(source, -1)) & (samples["task"] == place)).sum())
            for place, task in enumerate(TASKS)
        }
        for source in every
    }


def benchmark_rows(
    samples: NDArray[np.void], columns: EntityColumns, cells: list[Cell], most: int = BENCHMARK_CELL
) -> tuple[NDArray[np.int64], list[Cell]]:
    """Choose the fixed subset of the test split, the same number from every non-empty cell.

    Within a cell the rows with the lowest ids are taken. Ids are hashes, so this is a random
    subset that needs no seed.

    Args:
        samples: `(n,)` samples of the test split, in the order of their ids.
        columns: entities of the test split.
        cells: all (source, task) that the build was asked for.
        most: most rows of a cell.

    Returns:
        `(k,)` int64 rows of the test split in rising order, and the empty cells.
    """
    codes, names = source_labels(samples, columns.coded("source"))
    rows_of: dict[Cell, list[int]] = {cell: [] for cell in cells}
    for row, code in enumerate(codes.tolist()):
        rows_of[names[code], str(TASKS[samples["task"][row]])].append(row)
    filled = [rows for rows in rows_of.values() if rows]
    # The smallest filled cell sets the number for all, so that every cell weighs the same.
    each = min([most, *(len(rows) for rows in filled)]) if filled else 0
    chosen = sorted(row for rows in filled for row in rows[:each])
    return np.array(chosen, np.int64), [cell for cell, rows in rows_of.items() if not rows]


def preview_rows(
    samples: NDArray[np.void], columns: EntityColumns, a_cell: int = 12
) -> NDArray[np.int64]:
    """Return the first rows of every source and task.

    Args:
        samples: `(n,)` samples of one split, in the order of their ids.
        columns: entities of the split.
        a_cell: most rows of a cell.

    Returns:
        `(k,)` int64 rows in rising order.
    """
    codes, names = source_labels(samples, columns.coded("source"))
    cells = codes * len(TASKS) + samples["task"]
    chosen = [np.flatnonzero(cells == cell)[:a_cell] for cell in range(len(names) * len(TASKS))]
    return np.sort(np.concatenate([np.zeros(0, np.int64), *chosen]))
