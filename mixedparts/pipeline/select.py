"""From the entities of all splits to the list of samples: quotas, draws, order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mixedparts.entities.table import EntityColumns
from mixedparts.pairing.admissible import Comparable, EntityIndex, PairSpace, philox
from mixedparts.pairing.allocation import proportional, water_fill
from mixedparts.pairing.balanced_sampler import BalancedSampler
from mixedparts.pairing.sample_space import SampleSpace
from mixedparts.pairing.samples import TASKS, Cell, in_order, sample_type
from mixedparts.pipeline.config import SAMPLES_AN_IMAGE, BuildConfig
from mixedparts.records import Task
from mixedparts.sources.manifests import manifest_of


@dataclass(frozen=True, slots=True)
class Selection:
    """The samples of one split.

    Attributes:
        samples: of `sample_type`, in the order of their ids; `entities` are rows of the split's
            entity table in the order of the sample's images.
        limits: most samples an image of each cell may be in, as asked for or as it came out.
        class_pairs: how many class pairs each cell shows.
    """

    samples: NDArray[np.void]
    limits: dict[Cell, int]
    class_pairs: dict[Cell, int]


def select(config: BuildConfig, splits: dict[str, EntityColumns]) -> dict[str, Selection]:
    """Draw the samples of every split.

    `config.samples` bounds all rows together: splits in proportion to their images, then cells
    (source and task) evenly; what one cannot fill goes to the others. How a cell's rows are
    divided over its images and class pairs is the rule of `BalancedSampler`.
    """
    cells = {split: dict(_cells(config, split, columns)) for split, columns in splits.items()}
    images = [columns.first_of_image().size for columns in splits.values()]
    wanted = SAMPLES_AN_IMAGE * sum(images) if config.samples is None else config.samples
    for relax in (False, True):
        if sum(drawn.number for mine in cells.values() for drawn in mine.values()) < wanted:
            _draw(cells, images, wanted, relax)
    return {
        split: Selection(
            in_order(split, splits[split], _samples(mine, config.images_per_sample)),
            {cell: drawn.limit for cell, drawn in mine.items()},
            {cell: drawn.class_pairs for cell, drawn in mine.items()},
        )
        for split, mine in cells.items()
    }


def _draw(
    cells: dict[str, dict[Cell, BalancedSampler]], images: list[int], wanted: int, relax: bool
) -> None:
    """Divide the rows over splits and cells; what a cell falls short of goes to the others."""
    room = {
        split: {cell: drawn.capacity for cell, drawn in mine.items()}
        for split, mine in cells.items()
    }
    short = True
    while short:
        shares = proportional(wanted, images, [sum(mine.values()) for mine in room.values()])
        short = False
        for (split, mine), share in zip(cells.items(), shares, strict=True):
            allocations = water_fill(int(share), list(room[split].values()))
            for (cell, drawn), quota in zip(mine.items(), allocations.tolist(), strict=True):
                if drawn.sample(quota, relax) < quota:
                    room[split][cell] = drawn.number
                    short = True


def sources_of_cells(config: BuildConfig) -> list[tuple[str, ...]]:
    """Return the sources of each kind of sample: every one alone, then every two if asked for."""
    names = sorted(config.sources)
    alone = [(name,) for name in names]
    return [*alone, *combinations(names, 2)] if config.cross_source else list(alone)


def _cells(
    config: BuildConfig, split: str, columns: EntityColumns
) -> Iterator[tuple[Cell, BalancedSampler]]:
    entities = _SplitEntities(columns)
    for sources in sources_of_cells(config):
        index = entities.index(sources)
        if index is None:
            continue
        space = PairSpace(index, _comparable(config, sources))
        label = "+".join(sources)
        for task in (task for task in Task if task in config.tasks):
            admitted = SampleSpace(space, task, config.images_per_sample)
            rng = philox(config.seed, f"{split}|{label}|{task}")
            yield (label, str(task)), BalancedSampler(admitted, config.per_image_limit, rng)


def _comparable(config: BuildConfig, sources: tuple[str, ...]) -> Comparable:
    """Return what says whether two class names are comparable, in a source or across the two."""
    found = [manifest_of(name, config.source_root(name), config.profile) for name in sources]
    known = [manifest for manifest in found if manifest]
    return cache(lambda one, two: any(a.comparable(one, two, b) for a in known for b in known))


class _SplitEntities:
    """The entities of a split as columns of numbers, from which indices are cut."""

    def __init__(self, columns: EntityColumns) -> None:
        starts = columns.first_of_image()
        lengths = np.diff(np.append(starts, columns.table.num_rows))
        self._columns = columns
        self._images = np.repeat(np.arange(starts.size), lengths)
        self._sources, self._source_names = columns.coded("source")
        self._categories, self._category_names = columns.coded("category")
        self._known = columns.column("parts_known").to_numpy(zero_copy_only=False)

    def index(self, sources: tuple[str, ...]) -> EntityIndex | None:
        """Return the index of one source or of two together; None where one has no entity."""
        if not set(sources) <= set(self._source_names):
            return None
        codes = [self._source_names.index(name) for name in sources]
        rows = np.flatnonzero(np.isin(self._sources, codes))
        width = len(self._category_names)
        classes = self._sources[rows] * width + self._categories[rows]
        present, categories = np.unique(classes, return_inverse=True)
        return EntityIndex(
            rows,
            self._images[rows],
            categories,
            tuple(self._category_names[code] for code in present % width),
            _visible(self._columns, rows),
            self._known[rows],
            tuple((present // width).tolist()) if len(sources) > 1 else (),
        )


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


def _samples(cells: dict[Cell, BalancedSampler], images: int) -> NDArray[np.void]:
    drawn = [np.zeros(0, sample_type(images))]
    for (_, task), cell in cells.items():
        rows = cell.rows()
        drawn.append(np.zeros(len(rows), sample_type(images)))
        drawn[-1]["entities"] = rows
        drawn[-1]["task"] = TASKS.index(Task(task))
    return np.concatenate(drawn)
