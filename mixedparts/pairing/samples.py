"""The list of samples that pairing hands on, and what is read off it.

A sample is a row of numbers: its entities, its task, its id.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedparts.entities.table import EntityColumns
from mixedparts.pairing.sample_ids import entity_keys, sample_ids
from mixedparts.records import Task

TASKS = tuple(Task)
Cell = tuple[str, str]  # source (two of them joined by "+"), task
Coded = tuple[NDArray[np.int64], tuple[str, ...]]


def sample_type(images: int) -> np.dtype[np.void]:
    """Return the type of a sample: rows of its entities in the entity table, task, id."""
    return np.dtype([("entities", "<i4", (images,)), ("task", "<i1"), ("id", "<u8")])


def in_order(split: str, columns: EntityColumns, samples: NDArray[np.void]) -> NDArray[np.void]:
    """Give the samples their ids and bring them into the order of these, which is a shuffle."""
    keys = entity_keys(columns)[samples["entities"]]
    tasks = [TASKS[place] for place in samples["task"].tolist()]
    samples["id"] = sample_ids(split, tasks, keys, np.ones(keys.shape, np.bool_))
    return samples[np.argsort(samples["id"], kind="stable")]


def used_images(samples: NDArray[np.void], columns: EntityColumns) -> NDArray[np.int32]:
    """Return (n,) int32: each entity's row in the split's images table, -1 where unused.

    Only images that some sample uses have a row; rows follow the order of the entities.
    """
    starts = columns.first_of_image()
    lengths = np.diff(np.append(starts, columns.table.num_rows))
    image_of = np.repeat(np.arange(starts.size), lengths)
    used = np.zeros(starts.size, np.bool_)
    for column in samples["entities"].T:
        used[image_of[column]] = True
    row = np.where(used, np.cumsum(used) - 1, -1).astype(np.int32)
    return row[image_of]


def source_labels(samples: NDArray[np.void], sources: Coded) -> Coded:
    """Return (n,) codes of what the samples' column `source` says, and the texts.

    That is the source of the images, or the names of both sources in alphabetical order, joined by
    "+".

    Args:
        sources: of the entities, as codes and names.
    """
    codes, names = sources
    mine = codes[samples["entities"]]
    pairs, found = np.unique(mine.min(axis=1) * len(names) + mine.max(axis=1), return_inverse=True)
    ends = (divmod(int(pair), len(names)) for pair in pairs)
    return found, tuple(
        names[low] if low == high else f"{names[low]}+{names[high]}" for low, high in ends
    )


def cell_counts(samples: NDArray[np.void], columns: EntityColumns) -> dict[str, dict[str, int]]:
    """Return {source: {task: rows}}, also for sources of the split without a sample."""
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
    samples: NDArray[np.void], columns: EntityColumns, cells: list[Cell], most: int = 112
) -> tuple[NDArray[np.int64], list[Cell]]:
    """Choose the fixed subset of the test split, the same number from every non-empty cell.

    Within a cell the rows with the lowest ids are taken; ids are hashes, so that is a fair draw
    that does not hang on the seed.

    Args:
        samples: of the test split, in the order of their ids.
        cells: all (source, task) that the build was asked for.

    Returns:
        Rows of the test split in their order, and the empty cells.
    """
    codes, names = source_labels(samples, columns.coded("source"))
    rows_of: dict[Cell, list[int]] = {cell: [] for cell in cells}
    for row, code in enumerate(codes.tolist()):
        rows_of[names[code], str(TASKS[samples["task"][row]])].append(row)
    filled = [rows for rows in rows_of.values() if rows]
    each = min([most, *(len(rows) for rows in filled)]) if filled else 0
    chosen = sorted(row for rows in filled for row in rows[:each])
    return np.array(chosen, np.int64), [cell for cell, rows in rows_of.items() if not rows]


def preview_rows(
    samples: NDArray[np.void], columns: EntityColumns, a_cell: int = 12
) -> NDArray[np.int64]:
    """Return the first rows of every source and task, at most `a_cell` of each."""
    codes, names = source_labels(samples, columns.coded("source"))
    cells = codes * len(TASKS) + samples["task"]
    chosen = [np.flatnonzero(cells == cell)[:a_cell] for cell in range(len(names) * len(TASKS))]
    return np.sort(np.concatenate([np.zeros(0, np.int64), *chosen]))
