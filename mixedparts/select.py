"""From the entities of all splits to the list of samples: quotas, draws, order, benchmark."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedparts.config import SAMPLES_AN_IMAGE, BuildConfig
from mixedparts.entity_table import EntityColumns
from mixedparts.pairing import ClassPair, EntityIndex, PairSpace
from mixedparts.plan import manifest_of
from mixedparts.quotas import proportional, water_fill
from mixedparts.records import Task
from mixedparts.sample_ids import entity_keys, sample_ids

TASKS = tuple(Task)
SAMPLE = np.dtype([("first", "<i4"), ("second", "<i4"), ("task", "<i1"), ("id", "<u8")])
Cell = tuple[str, str]  # source, task


@dataclass(frozen=True, slots=True)
class SplitSpace:
    """What one split can give: its images with entities, and the class pairs of each cell."""

    images: int
    cells: dict[Cell, list[tuple[PairSpace, ClassPair]]]

    def capacities(self) -> dict[Cell, int]:
        """Return how many pairs each cell admits."""
        return {cell: sum(p.capacity for _, p in pairs) for cell, pairs in self.cells.items()}


def select(config: BuildConfig, splits: dict[str, EntityColumns]) -> dict[str, NDArray[np.void]]:
    """Draw the samples of every split.

    `config.samples` bounds all rows together: splits in proportion to their images, then cells
    (source and task) evenly, then class pairs evenly; what one cannot fill goes to the others.

    Returns:
        For each split an array of `SAMPLE`, in the order of the rows; `first` and `second` are
        rows of the split's entity table, images 0 and 1 of the sample; rows stand in the order of
        their ids.
    """
    spaces = {split: _space(config, columns) for split, columns in splits.items()}
    images = [space.images for space in spaces.values()]
    wanted = SAMPLES_AN_IMAGE * sum(images) if config.samples is None else config.samples
    capacity = [sum(space.capacities().values()) for space in spaces.values()]
    shares = proportional(wanted, images, capacity)
    return {
        split: in_order(split, splits[split], _draw_split(split, space, int(share), config.seed))
        for (split, space), share in zip(spaces.items(), shares, strict=True)
    }


def _space(config: BuildConfig, columns: EntityColumns) -> SplitSpace:
    starts = columns.first_of_image()
    image_of = np.repeat(np.arange(starts.size), np.diff(np.append(starts, columns.table.num_rows)))
    source_codes, source_names = columns.coded("source")
    categories, category_names = columns.coded("category")
    known = columns.column("parts_known").to_numpy(zero_copy_only=False)
    cells: dict[Cell, list[tuple[PairSpace, ClassPair]]] = {}
    for code, source in enumerate(source_names):
        rows = np.flatnonzero(source_codes == code)
        present, codes = np.unique(categories[rows], return_inverse=True)
        names = tuple(category_names[i] for i in present)
        visible = _visible(columns, rows)
        index = EntityIndex(rows, image_of[rows], codes, names, visible, known[rows])
        manifest = manifest_of(source, config.source_root(source), config.profile)
        space = PairSpace(index, manifest.comparable if manifest else lambda a, b: a == b)
        for task in config.identity()["tasks"]:
            cells[source, str(task)] = [(space, p) for p in space.class_pairs if p.task == task]
    return SplitSpace(starts.size, cells)


def _visible(columns: EntityColumns, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (n, p) which part names each entity shows; p is the vocabulary of these rows."""
    counts = np.diff(columns.part_starts)
    owner = np.repeat(np.arange(counts.size), counts)
    position = np.full(counts.size, -1)
    position[rows] = np.arange(rows.size)
    mine = position[owner] >= 0
    codes, columns_of = np.unique(columns.part_codes[mine], return_inverse=True)
    visible = np.zeros((rows.size, codes.size), np.bool_)
    visible[position[owner[mine]], columns_of] = True
    return visible


def _draw_split(split: str, space: SplitSpace, share: int, seed: int) -> NDArray[np.void]:
    capacities = space.capacities()
    drawn = []
    for (cell, pairs), quota in zip(
        space.cells.items(), water_fill(share, list(capacities.values())), strict=True
    ):
        key = f"{split}|{cell[0]}"
        shares = water_fill(int(quota), [pair.capacity for _, pair in pairs])
        for (pair_space, pair), number in zip(pairs, shares, strict=True):
            if number:
                rows = pair_space.draw(pair, int(number), seed, key)
                drawn.append(_samples(rows, pair.task))
    return np.concatenate(drawn) if drawn else np.zeros(0, SAMPLE)


def in_order(split: str, columns: EntityColumns, samples: NDArray[np.void]) -> NDArray[np.void]:
    """Give the samples their ids and bring them into the order of these, which is a shuffle."""
    both = np.stack((samples["first"], samples["second"]), axis=1)
    keys = entity_keys(columns)[both]
    tasks = (TASKS[place] for place in samples["task"].tolist())
    samples["id"] = sample_ids(split, tasks, keys, np.ones(both.shape, np.bool_))
    return samples[np.argsort(samples["id"], kind="stable")]


def _samples(rows: NDArray[np.int64], task: Task) -> NDArray[np.void]:
    samples = np.zeros(len(rows), SAMPLE)
    samples["first"], samples["second"] = rows[:, 0], rows[:, 1]
    samples["task"] = TASKS.index(task)
    return samples


def used_images(samples: NDArray[np.void], columns: EntityColumns) -> NDArray[np.int32]:
    """Return (n,) int32: each entity's row in the split's images table, -1 where unused.

    Only images that some sample uses have a row; rows follow the order of the entities.
    """
    starts = columns.first_of_image()
    lengths = np.diff(np.append(starts, columns.table.num_rows))
    image_of = np.repeat(np.arange(starts.size), lengths)
    used = np.zeros(starts.size, np.bool_)
    used[image_of[samples["first"]]] = True
    used[image_of[samples["second"]]] = True
    row = np.where(used, np.cumsum(used) - 1, -1).astype(np.int32)
    return row[image_of]


def cell_counts(samples: NDArray[np.void], columns: EntityColumns) -> dict[str, dict[str, int]]:
    """Return {source: {task: rows}}."""
    codes, names = columns.coded("source")
    mine = codes[samples["first"]]
    return {
        source: {
            str(task): int(((mine == code) & (samples["task"] == place)).sum())
            for place, task in enumerate(TASKS)
        }
        for code, source in enumerate(names)
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
    codes, names = columns.coded("source")
    rows_of: dict[Cell, list[int]] = {cell: [] for cell in cells}
    for row, code in enumerate(codes[samples["first"]].tolist()):
        rows_of[names[code], str(TASKS[samples["task"][row]])].append(row)
    filled = [rows for rows in rows_of.values() if rows]
    each = min([most, *(len(rows) for rows in filled)]) if filled else 0
    chosen = sorted(row for rows in filled for row in rows[:each])
    return np.array(chosen, np.int64), [cell for cell, rows in rows_of.items() if not rows]


def preview_rows(
    samples: NDArray[np.void], columns: EntityColumns, a_cell: int = 12
) -> NDArray[np.int64]:
    """Return the first rows of every source and task, at most `a_cell` of each."""
    codes, names = columns.coded("source")
    cells = codes[samples["first"]] * len(TASKS) + samples["task"]
    chosen = [np.flatnonzero(cells == cell)[:a_cell] for cell in range(len(names) * len(TASKS))]
    return np.sort(np.concatenate([np.zeros(0, np.int64), *chosen]))
