"""Counts of a build: samples, images, names, use of images and class pairs, areas, words, rejects.

The `pairs` table is read without its masks, 5,000 rows at a time. Areas come from the `entities`
table, which has every mask once. Rows of the benchmark are copies of test rows and not counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixedparts.sources.contract import SPLITS
from mixedparts.storage.build_folder import REJECTS_FILE, BuildFolder
from mixedparts.storage.checked_rows import checked_batches, checked_rows

LEVELS = ("object", "part")
PAIR_JOINT = " + "  # between the classes of a pair
# Areas in pixels at which COCO's small and medium end; what is larger is large.
COCO_LIMITS = {"small": 32**2, "medium": 96**2}
Cell = tuple[str, str]  # source as in the rows ("paco" or "ade20k+paco"), task
# Leaf columns: Parquet can then skip the masks, which have most of the table's bytes.
_LEAVES = (
    "source",
    "task",
    "answer",
    "images.list.element.row",
    "objects.list.element.category",
    "parts.list.element.name",
)


@dataclass(slots=True)
class Statistics:
    """The counts of a build.

    Attributes:
        manifest: manifest of the build.
        samples: (split, source, task) -> rows of `pairs`.
        images: (split, source) -> rows of `images`.
        sizes: number of images in a sample -> samples.
        classes: object class -> masks in all rows of `pairs`.
        parts: part name -> masks in all rows of `pairs`.
        class_pairs: cell -> compared classes, joined by " + " -> samples.
        image_use: cell -> split -> (n,) int64, samples of the cell that show each row of `images`.
        image_sources: split -> (n,) source of each row of `images`.
        shares: `object` or `part` -> (m,) float64 in (0, 1], the share of its image that each mask
            of `entities` covers.
        areas: `object` or `part` -> (m,) int64, the same masks in pixels.
        words: task -> number of words -> answers.
        entity_counts: (source, split) -> counts of `entities`.
        rejects: (source, split, level, reason) -> records that were not used.
    """

    manifest: dict[str, Any]
    samples: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    images: Counter[tuple[str, str]] = field(default_factory=Counter)
    sizes: Counter[int] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)
    class_pairs: dict[Cell, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    image_use: dict[Cell, dict[str, NDArray[np.int64]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    image_sources: dict[str, NDArray[np.str_]] = field(default_factory=dict)
    shares: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    areas: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    words: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    entity_counts: dict[tuple[str, str], EntityCounts] = field(default_factory=dict)
    rejects: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)

    def uses(self, cell: Cell) -> NDArray[np.int64]:
        """Return (n,) int64: the samples of a cell for each image that the cell uses."""
        used = [counts[counts > 0] for counts in self.image_use[cell].values()]
        return np.concatenate([np.zeros(0, np.int64), *used])

    def unused(self, cell: Cell) -> int:
        """Return how many images of the cell's sources are in samples of other cells only."""
        # A cell of two sources ("ade20k+paco") can use the images of both.
        sources = cell[0].split("+")
        images = sum(int(np.isin(names, sources).sum()) for names in self.image_sources.values())
        return images - self.uses(cell).size


@dataclass(slots=True)
class EntityCounts:
    """Counts of the `entities` table for one source and split.

    Attributes:
        images: ids of the images.
        objects: number of entities.
        parts: number of part masks.
        classes: object classes.
        part_names: names of parts.
    """

    images: set[str] = field(default_factory=set)
    objects: int = 0
    parts: int = 0
    classes: set[str] = field(default_factory=set)
    part_names: set[str] = field(default_factory=set)


def collect(build: Path) -> Statistics:
    """Count the samples, images and entities of a build.

    Raises:
        InputError: there is no finished build in the folder.
    """
    opened = BuildFolder.open(build)
    statistics = Statistics(dict(opened.manifest))
    for split in SPLITS:
        sources = [row["source"] for row in checked_rows(opened, "images", split, ["source"])]
        statistics.image_sources[split] = np.array(sources, np.str_)
        statistics.images.update((split, source) for source in sources)
        for batch in checked_batches(opened, "pairs", split, _LEAVES, rows=5_000):
            _add_rows(statistics, split, batch)
    _add_entities(statistics, opened)
    _add_rejects(statistics, opened)
    return statistics


def coco_sizes(areas: NDArray[np.int64]) -> dict[str, int]:
    """Return how many masks COCO calls small, medium and large.

    Args:
        areas: (m,) int64 pixels of each mask.
    """
    # COCO counts an area equal to a limit as the larger size.
    bounds = np.searchsorted(np.sort(areas), list(COCO_LIMITS.values()))
    numbers = np.diff([0, *bounds, areas.size]).tolist()
    return dict(zip((*COCO_LIMITS, "large"), numbers, strict=True))


def _add_rows(statistics: Statistics, split: str, batch: pa.RecordBatch) -> None:
    """Add a batch of `pairs`."""
    sources, tasks = batch["source"].to_pylist(), batch["task"].to_pylist()
    statistics.samples.update(
        (split, source, task) for source, task in zip(sources, tasks, strict=True)
    )
    # Whatever can be counted on whole columns is: a full build has millions of rows.
    words = pc.list_value_length(pc.utf8_split_whitespace(batch["answer"])).to_pylist()
    for task, number in zip(tasks, words, strict=True):
        statistics.words[task][number] += 1
    names = _flat(batch["objects"], "category").to_pylist()
    statistics.classes.update(names)
    statistics.parts.update(_flat(batch["parts"], "name").to_pylist())
    # Sample n has the flat items ends[n - 1] to ends[n], of `images` and of `objects` alike: a row
    # has one object an image.
    rows = _flat(batch["images"], "row").to_numpy()
    ends = np.cumsum(pc.list_value_length(batch["images"]).to_numpy())
    images = len(statistics.image_sources[split])
    for source, task, start, stop in zip(
        sources, tasks, (ends - np.diff(ends, prepend=0)).tolist(), ends.tolist(), strict=True
    ):
        cell = source, task
        statistics.sizes[stop - start] += 1
        statistics.class_pairs[cell][PAIR_JOINT.join(sorted(names[start:stop]))] += 1
    # One count over all images for each cell; numpy sorts and compares joined texts, not tuples.
    cells = np.array([f"{source}\0{task}" for source, task in zip(sources, tasks, strict=True)])
    of_image = np.repeat(cells, np.diff(ends, prepend=0))
    for key in np.unique(cells).tolist():
        source, _, task = key.partition("\0")
        counts = np.bincount(rows[of_image == key], minlength=images)
        by_split = statistics.image_use[source, task]
        by_split[split] = by_split.get(split, np.zeros(images, np.int64)) + counts


def _flat(column: pa.Array, name: str) -> pa.Array:
    """Return one field of the items of a list column, all rows in one array."""
    return pc.struct_field(pc.list_flatten(column), name)


def _add_entities(statistics: Statistics, build: BuildFolder) -> None:
    """Add the `entities` table of all splits."""
    shares: dict[str, list[NDArray[np.float64]]] = {level: [] for level in LEVELS}
    pixels_of: dict[str, list[NDArray[np.int64]]] = {level: [] for level in LEVELS}
    leaves = ["source", "image_id", "category", "width", "height", "area"]
    leaves += ["parts.list.element.name", "parts.list.element.area"]
    for split in SPLITS:
        for batch in checked_batches(build, "entities", split, leaves, rows=5_000):
            # int64: the product of two int32 columns could overflow.
            pixels = batch["width"].to_numpy() * batch["height"].to_numpy().astype(np.int64)
            lengths = pc.list_value_length(batch["parts"]).to_numpy()
            areas = batch["area"].to_numpy(), _flat(batch["parts"], "area").to_numpy()
            of_image = pixels, np.repeat(pixels, lengths)
            for level, masks, whole in zip(LEVELS, areas, of_image, strict=True):
                pixels_of[level].append(masks)
                shares[level].append(masks / whole)
            _add_names(statistics, split, batch)
    empty = np.zeros(0, np.float64)
    statistics.shares = {level: np.concatenate([empty, *every]) for level, every in shares.items()}
    nothing = np.zeros(0, np.int64)
    statistics.areas = {level: np.concatenate([nothing, *v]) for level, v in pixels_of.items()}


def _add_names(statistics: Statistics, split: str, batch: pa.RecordBatch) -> None:
    """Add a batch of `entities` to the counts by source."""
    columns = (batch[name].to_pylist() for name in ("source", "image_id", "category", "parts"))
    for source, image, category, parts in zip(*columns, strict=True):
        counts = statistics.entity_counts.setdefault((source, split), EntityCounts())
        counts.images.add(image)
        counts.objects += 1
        counts.parts += len(parts)
        counts.classes.add(category)
        counts.part_names.update(part["name"] for part in parts)


def _add_rejects(statistics: Statistics, build: BuildFolder) -> None:
    """Add the records that the build did not use."""
    # A copy of the dataset can lack the file.
    if not any(shard.path == REJECTS_FILE for shard in build.shards):
        return
    columns = ["source", "split", "level", "reason"]
    for batch in build.shard_batches(REJECTS_FILE, columns, rows=50_000):
        grouped = pa.Table.from_batches([batch]).group_by(columns).aggregate([([], "count_all")])
        for row in grouped.to_pylist():
            key = tuple(str(row[name]) for name in columns)
            statistics.rejects[key] += row["count_all"]  # type: ignore[index]
