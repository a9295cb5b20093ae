"""Numbers of a build: samples, images, classes, parts, use of images and class pairs, areas, words.

The `pairs` table is read without its masks, a few thousand rows at a time; areas come from the
`entities` table, where every mask stands once. `benchmark` rows are copies and not counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixedparts.errors import InputError
from mixedparts.pipeline.build_manifest import read_manifest
from mixedparts.sources.contract import SPLITS
from mixedparts.storage.parquet import iter_rows, table_files

Cell = tuple[str, str]  # source as the rows say it, task
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
    """What is counted.

    Attributes:
        manifest: of the build.
        samples: rows by (split, source, task).
        images: rows of the images table by (split, source).
        sizes: samples by their number of images.
        classes, parts: grounded masks by name, over all rows.
        class_pairs: rows by cell and the classes that are compared, joined by " + ".
        image_use: by cell and split, samples of each image (a row of the images table).
        image_sources: by split, the source of each row of the images table.
        shares: by level (object, part), the share of its image that each mask covers.
        words: by task, how many answers have how many words.
        known: by source and split, images, objects and parts with their names, in `entities`.
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
    words: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    known: dict[tuple[str, str], KnownCounts] = field(default_factory=dict)

    def uses(self, cell: Cell) -> NDArray[np.int64]:
        """Return how many samples of a cell each image is in, images that it uses only."""
        found = [counts[counts > 0] for counts in self.image_use[cell].values()]
        return np.concatenate([np.zeros(0, np.int64), *found])

    def unused(self, cell: Cell) -> int:
        """Return how many images of the cell's sources are in other samples only."""
        sources = cell[0].split("+")
        mine = sum(int(np.isin(names, sources).sum()) for names in self.image_sources.values())
        return mine - self.uses(cell).size


@dataclass(slots=True)
class KnownCounts:
    """What the `entities` table holds of one source in one split."""

    images: set[str] = field(default_factory=set)
    objects: int = 0
    parts: int = 0
    classes: set[str] = field(default_factory=set)
    part_names: set[str] = field(default_factory=set)


def collect(build: Path) -> Statistics:
    """Count a build.

    Raises:
        InputError: there is no finished build in the folder.
    """
    manifest = read_manifest(build)
    if manifest is None:
        raise InputError(
            f"{build} holds no finished build",
            "Run the `mixedparts build` command again: it goes on where it stopped.",
        )
    found = Statistics(manifest)
    for split in SPLITS:
        sources = [row["source"] for row in iter_rows(build, "images", split, ["source"])]
        found.image_sources[split] = np.array(sources, np.str_)
        found.images.update((split, source) for source in sources)
        for batch in _batches(build, split):
            _add_rows(found, split, batch)
    _add_entities(found, build)
    return found


def _batches(build: Path, split: str) -> Iterator[pa.RecordBatch]:
    for path in table_files(build, "pairs", split):
        yield from pq.ParquetFile(path).iter_batches(5_000, columns=list(_LEAVES))


def _add_rows(found: Statistics, split: str, batch: pa.RecordBatch) -> None:
    sources, tasks = batch["source"].to_pylist(), batch["task"].to_pylist()
    found.samples.update((split, source, task) for source, task in zip(sources, tasks, strict=True))
    words = pc.list_value_length(pc.utf8_split_whitespace(batch["answer"])).to_pylist()
    for task, number in zip(tasks, words, strict=True):
        found.words[task][number] += 1
    names = _flat(batch["objects"], "category").to_pylist()
    found.classes.update(names)
    found.parts.update(_flat(batch["parts"], "name").to_pylist())
    rows = _flat(batch["images"], "row").to_numpy()
    ends = np.cumsum(pc.list_value_length(batch["images"]).to_numpy())
    images = len(found.image_sources[split])
    for source, task, start, stop in zip(
        sources, tasks, (ends - np.diff(ends, prepend=0)).tolist(), ends.tolist(), strict=True
    ):
        cell = source, task
        found.sizes[stop - start] += 1
        found.class_pairs[cell][" + ".join(sorted(names[start:stop]))] += 1
    cells = np.array([f"{source}\0{task}" for source, task in zip(sources, tasks, strict=True)])
    of_image = np.repeat(cells, np.diff(ends, prepend=0))
    for key in np.unique(cells).tolist():
        source, _, task = key.partition("\0")
        counts = np.bincount(rows[of_image == key], minlength=images)
        by_split = found.image_use[source, task]
        by_split[split] = by_split.get(split, np.zeros(images, np.int64)) + counts


def _flat(column: pa.Array, name: str) -> pa.Array:
    """Return a field of all items of a list column."""
    return pc.struct_field(pc.list_flatten(column), name)


def _add_entities(found: Statistics, build: Path) -> None:
    shares: dict[str, list[NDArray[np.float64]]] = {"object": [], "part": []}
    leaves = ["source", "image_id", "category", "width", "height", "area"]
    leaves += ["parts.list.element.name", "parts.list.element.area"]
    for split in SPLITS:
        for path in table_files(build, "entities", split):
            for batch in pq.ParquetFile(path).iter_batches(5_000, columns=leaves):
                pixels = batch["width"].to_numpy() * batch["height"].to_numpy().astype(np.int64)
                lengths = pc.list_value_length(batch["parts"]).to_numpy()
                shares["object"].append(batch["area"].to_numpy() / pixels)
                areas = _flat(batch["parts"], "area").to_numpy()
                shares["part"].append(areas / np.repeat(pixels, lengths))
                _add_names(found, split, batch)
    empty = np.zeros(0, np.float64)
    found.shares = {level: np.concatenate([empty, *every]) for level, every in shares.items()}


def _add_names(found: Statistics, split: str, batch: pa.RecordBatch) -> None:
    columns = (batch[name].to_pylist() for name in ("source", "image_id", "category", "parts"))
    for source, image, category, parts in zip(*columns, strict=True):
        mine = found.known.setdefault((source, split), KnownCounts())
        mine.images.add(image)
        mine.objects += 1
        mine.parts += len(parts)
        mine.classes.add(category)
        mine.part_names.update(part["name"] for part in parts)
