"""From the entities of all splits to the list of samples: allocations, sampling, order.

Rows are allocated to splits in proportion to their images, then evenly to the cells of each split
(source and task). `BalancedSampler` selects the samples of one cell. Nothing here depends on the
number of workers: the cells come in a fixed order, and each has a random stream of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixedparts.entities.table import EntityColumns, numbers
from mixedparts.pairing.admissible import Comparable, PairSpace
from mixedparts.pairing.allocation import proportional, water_fill
from mixedparts.pairing.balanced_sampler import BalancedSampler
from mixedparts.pairing.contrast_sampler import ContrastSampler
from mixedparts.pairing.entity_index import EntityIndex
from mixedparts.pairing.random_streams import philox
from mixedparts.pairing.sample_space import SampleSpace
from mixedparts.pairing.samples import TASKS, Cell, in_order, sample_type
from mixedparts.pipeline.config import SAMPLES_AN_IMAGE, BuildConfig
from mixedparts.pipeline.empty_cells import Causes, unpaired
from mixedparts.records import Task
from mixedparts.sources.manifests import manifest_of

# Cells that are sampled at a time. More would wait for each other, and take more memory.
_THREADS = 2


@dataclass(frozen=True, slots=True)
class Selection:
    """The samples of one split.

    Attributes:
        samples: `(n,)` of `sample_type`, in the order of their ids; `entities` are rows of the
            split's entity table in the order of the sample's images.
        limits: for each cell the most samples that one image may be in: the limit of the
            configuration, or the largest that the sampler used.
        class_pairs: for each cell the number of class pairs that have samples.
        empty: why cells have no samples.
        contrasted: with `config.contrast`, for each cell the number of samples that contrast with
            another one; otherwise empty.
    """

    samples: NDArray[np.void]
    limits: dict[Cell, int]
    class_pairs: dict[Cell, int]
    empty: Causes
    contrasted: dict[Cell, int] = field(default_factory=dict)


def select(config: BuildConfig, splits: dict[str, EntityColumns]) -> dict[str, Selection]:
    """Select the samples of every split.

    `config.samples` is the number of rows of all splits together. There are fewer only if no more
    admissible samples are found, or `config.per_image_limit` allows no more. Rows that a split or a
    cell cannot hold go to the others.

    Returns:
        The samples of each split and the limits that its cells had.
    """
    cells = {split: dict(_cells(config, split, columns)) for split, columns in splits.items()}
    images = [columns.first_of_image().size for columns in splits.values()]
    wanted = SAMPLES_AN_IMAGE * sum(images) if config.samples is None else config.samples
    # Every cell first gives what it can within the limits of its images. Only if rows are missing
    # after that does a second pass raise the limits.
    for relax in (False, True):
        if sum(cell.number for samplers in cells.values() for cell in samplers.values()) < wanted:
            _sample_cells(cells, images, wanted, relax, min(_THREADS, config.workers))
    return {
        split: Selection(
            in_order(split, splits[split], _samples(samplers, config.images_per_sample)),
            {cell: sampler.limit for cell, sampler in samplers.items()},
            {cell: sampler.class_pairs for cell, sampler in samplers.items()},
            _empty(config, splits[split], samplers),
            {
                cell: sampler.contrasted
                for cell, sampler in samplers.items()
                if isinstance(sampler, ContrastSampler)
            },
        )
        for split, samplers in cells.items()
    }


def _sample_cells(
    cells: dict[str, dict[Cell, BalancedSampler]],
    images: list[int],
    wanted: int,
    relax: bool,
    threads: int,
) -> None:
    """Allocate rows to splits and cells, and let the sampler of each cell select that many.

    Args:
        cells: for each split the samplers of its cells; they keep what they select.
        images: number of images of each split.
        wanted: number of rows of all splits together.
        relax: let samplers raise the limits of images.
        threads: how many cells are sampled at a time.
    """
    capacities = {
        split: {cell: sampler.capacity for cell, sampler in samplers.items()}
        for split, samplers in cells.items()
    }
    # Capacities are upper bounds. A cell that gives fewer rows than its allocation has shown its
    # true capacity, and the rows it lacks are allocated anew. Samplers only ever add samples, and
    # each round but the last lowers a capacity, so the loop ends.
    # Each cell has its own random stream and changes only its own sampler, so neither order nor
    # threads matter. NumPy lets other threads run while it sorts and searches.
    with ThreadPoolExecutor(threads) as pool:
        short = True
        while short:
            totals = [sum(of_split.values()) for of_split in capacities.values()]
            shares = proportional(wanted, images, totals)
            jobs: list[tuple[str, Cell, int, Future[int]]] = []
            for (split, samplers), share in zip(cells.items(), shares, strict=True):
                allocations = water_fill(int(share), list(capacities[split].values())).tolist()
                for (cell, sampler), allocation in zip(samplers.items(), allocations, strict=True):
                    sampled = pool.submit(sampler.sample, allocation, relax)
                    jobs.append((split, cell, allocation, sampled))
            short = False
            for split, cell, allocation, sampled in jobs:
                if sampled.result() < allocation:
                    capacities[split][cell] = cells[split][cell].number
                    short = True


def sources_of_cells(config: BuildConfig) -> list[tuple[str, ...]]:
    """Return the sources of each kind of cell: single ones, then pairs if `cross_source` is set."""
    names = sorted(config.sources)
    alone = [(name,) for name in names]
    return [*alone, *combinations(names, 2)] if config.cross_source else list(alone)


def _cells(
    config: BuildConfig, split: str, columns: EntityColumns
) -> Iterator[tuple[Cell, BalancedSampler]]:
    """Yield the cells of a split with their samplers; none for sources without an entity there."""
    entities = _SplitEntities(columns)
    for sources in sources_of_cells(config):
        index = entities.index(sources)
        if index is None:
            continue
        space = PairSpace(index, _comparable(config, sources))
        label = "+".join(sources)
        for task in (task for task in Task if task in config.tasks):
            admitted = SampleSpace(space, task, config.images_per_sample)
            # A stream for each cell: a further source, task or split does not change its samples
            # as long as its allocations stay the same.
            rng = philox(config.seed, f"{split}|{label}|{task}")
            limit = config.per_image_limit
            sampler = BalancedSampler(admitted, limit, rng)
            if config.contrast:
                sampler = ContrastSampler(admitted, limit, rng, config.contrast)
            yield (label, str(task)), sampler


def _empty(
    config: BuildConfig, columns: EntityColumns, samplers: dict[Cell, BalancedSampler]
) -> Causes:
    """Return the likely cause of each cell of a split that has no sample."""
    causes: Causes = {}
    entities: _SplitEntities | None = None
    for sources in sources_of_cells(config):
        label = "+".join(sources)
        for task in Task:
            sampler = samplers.get((label, str(task)))
            if sampler is None or sampler.number:
                continue
            cause = "--samples or --per-image-limit leaves no sample for it"
            if not sampler.capacity:
                entities = entities or _SplitEntities(columns)
                index = entities.index(sources)
                assert index is not None  # the cell has a sampler, so it has entities
                cause = unpaired(index, _comparable(config, sources), task, config)
            causes.setdefault(label, {})[str(task)] = cause
    return causes


def _comparable(config: BuildConfig, sources: tuple[str, ...]) -> Comparable:
    """Return the function that decides whether two class names of these sources are comparable."""
    optional = [manifest_of(name, config.source_root(name), config.profile) for name in sources]
    manifests = [manifest for manifest in optional if manifest]

    # Cached: the cells of these sources ask for the same classes again and again.
    @cache
    def comparable(first: str, second: str) -> bool:
        return any(a.comparable(first, second, b) for a in manifests for b in manifests)

    return comparable


class _SplitEntities:
    """The entities of a split as columns of numbers, from which indices of sources are made.

    Args:
        columns: the entities of the split.
    """

    def __init__(self, columns: EntityColumns) -> None:
        # Entities of one image are adjacent, so run lengths give each entity its image's number.
        starts = columns.first_of_image()
        lengths = np.diff(np.append(starts, columns.table.num_rows))
        self._columns = columns
        self._images = np.repeat(np.arange(starts.size), lengths)
        self._sources, self._source_names = columns.coded("source")
        self._categories, self._category_names = columns.coded("category")
        self._known = numbers(columns.column("parts_known").cast(pa.uint8())) > 0

    def index(self, sources: tuple[str, ...]) -> EntityIndex | None:
        """Return the index of one source or of two; None if one of them has no entity here."""
        if not set(sources) <= set(self._source_names):
            return None
        codes = [self._source_names.index(name) for name in sources]
        rows = np.flatnonzero(np.isin(self._sources, codes))
        # One number for source and class name together: in an index of two sources a class of both
        # has two entries, and `EntityIndex.sides` holds the source of each.
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
    """Return `(n, p)` bool, which part names the entities of `(n,)` rows show.

    The p columns are the part names that any of these entities shows.
    """
    # `owner` is the row of each part in the table, `position` the place of a row among `rows`.
    counts = np.diff(columns.part_starts)
    owner = np.repeat(np.arange(counts.size), counts)
    position = np.full(counts.size, -1)
    position[rows] = np.arange(rows.size)
    of_rows = position[owner] >= 0
    codes, columns_of = np.unique(columns.part_codes[of_rows], return_inverse=True)
    visible = np.zeros((rows.size, codes.size), np.bool_)
    visible[position[owner[of_rows]], columns_of] = True
    return visible


def _samples(cells: dict[Cell, BalancedSampler], images: int) -> NDArray[np.void]:
    """Return the samples of all cells of a split as one array of `sample_type`, without ids."""
    samples = [np.zeros(0, sample_type(images))]
    for (_, task), sampler in cells.items():
        rows = sampler.rows()
        samples.append(np.zeros(len(rows), sample_type(images)))
        samples[-1]["entities"] = rows
        samples[-1]["task"] = TASKS.index(Task(task))
    return np.concatenate(samples)
