"""The third stage: from samples and images to shards of the tables, one task for each shard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixedparts.entities.table import EntityColumns, map_table, numbers
from mixedparts.pipeline.arrow_setup import system_allocator
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.workspace import READY, WORK
from mixedparts.records import BENCHMARK, SPLITS
from mixedparts.sources.manifests import manifest_of
from mixedparts.storage.build_folder import SPLIT_ORDER, shard_name
from mixedparts.storage.digest_cache import Stamp
from mixedparts.storage.parquet import parquet_rows, write_parquet
from mixedparts.storage.schema import ENTITY_TABLE, IMAGES, PAIRS, PREVIEW
from mixedparts.storage.shards import Commit, commit, committed, write_shard
from mixedparts.tables.entities import entity_batches
from mixedparts.tables.images import ImageSource, image_batches
from mixedparts.tables.pairs import PairRows

# Rows of a row group of `pairs`. With 1,000 the files need twice the bytes and the time, because
# fewer masks repeat within a group.
ROW_GROUP = 10_000
# Rows that the preview draws and encodes at a time.
_PREVIEW_ROWS = 10


@dataclass(frozen=True, slots=True)
class WriteTask:
    """Task that writes one shard of a table.

    Attributes:
        build: the build folder.
        table: `pairs`, `images`, `entities` or `preview`.
        split: the split of the shard; also `benchmark` and `preview`.
        origin: the split whose samples the shard contains; the benchmark is a part of test.
        number, of: place of the shard among those of its split, from 0, and their number.
        start, stop: its first row in the table of the split, and the one after its last.
        embed: store the bytes of images, not only their paths.
        sources: name, image folder and licence of each source.
    """

    build: Path
    table: str
    split: str
    origin: str
    number: int
    of: int
    start: int
    stop: int
    embed: bool
    sources: tuple[tuple[str, ImageSource], ...]

    @property
    def name(self) -> str:
        """Name of the task, unique in its build; also the name of its commit record."""
        span = self.table, self.split, self.number, self.of, self.start, self.stop
        return ShardSpan(*span).task

    @property
    def output(self) -> str:
        """The file that the task writes, relative to the build folder."""
        return shard_name(self.table, self.split, self.number, self.of)


def write_tasks(config: BuildConfig, paired: Commit) -> list[WriteTask]:
    """Return the tasks that write all tables, from the numbers of rows in the record of pairing."""
    sources = tuple((name, _image_source(config, name)) for name in sorted(config.sources))
    spans = shard_spans(config.pair_shard_rows, config.image_shard_rows, paired.counts)
    return [
        WriteTask(
            build=config.out,
            table=span.table,
            split=span.split,
            origin=paired.counts[span.split].get("of", span.split),
            number=span.number,
            of=span.of,
            start=span.start,
            stop=span.stop,
            embed=config.images == "embed",
            sources=sources,
        )
        for span in spans
    ]


class ShardSpan(NamedTuple):
    """Table, split and rows of a shard; see `WriteTask`."""

    table: str
    split: str
    number: int
    of: int
    start: int
    stop: int

    @property
    def task(self) -> str:
        """Name of the task that writes the shard."""
        return f"{self.table}-{self.split}-{self.number:05d}"


def shard_spans(
    pair_shard_rows: int, image_shard_rows: int, counts: Mapping[str, Any]
) -> Iterator[ShardSpan]:
    """Yield the shards of all tables.

    Args:
        pair_shard_rows: most rows of a shard of `pairs` and `entities`.
        image_shard_rows: most rows of a shard of `images`.
        counts: of the commit record of pairing.

    Yields:
        Shards in the order in which engines start their tasks.
    """
    # Pairs need the most memory, so they have the machine to themselves. The preview is a single
    # long task: other workers write the other tables meanwhile.
    tables = (
        ("pairs", pair_shard_rows),
        ("preview", 1 << 30),
        ("entities", pair_shard_rows),
        ("images", image_shard_rows),
    )
    for table, size in tables:
        for split in SPLIT_ORDER:
            rows = counts.get(split, {}).get(table, 0)
            # Rounded up; no shard at all for a table without rows.
            of = -(-rows // size)
            for number in range(of):
                stop = min(rows, (number + 1) * size)
                yield ShardSpan(table, split, number, of, number * size, stop)


def image_bytes(config: BuildConfig, paired: Commit) -> int:
    """Return the size that all image files that samples use had when they were read, in bytes."""
    total = 0
    for split in (split for split in SPLITS if split in paired.counts):
        columns = EntityColumns.of(map_table(config.out / WORK / f"{split}.arrow"))
        rows = np.load(config.out / WORK / f"{split}-image-rows.npy")
        # The first entity of an image represents it; row -1 marks images without a sample.
        firsts = columns.first_of_image()
        sizes = numbers(columns.column("file_bytes"))
        total += int(sizes[firsts[rows[firsts] >= 0]].sum())
    return total


def _image_source(config: BuildConfig, name: str) -> ImageSource:
    """Return the image folder and the licence note of a source."""
    root = config.source_root(name)
    manifest = manifest_of(name, root)
    return ImageSource(root, manifest.image_licence if manifest else "")


def run_write(task: WriteTask) -> Commit:
    """Write one shard of a table, unless that is done already.

    Raises:
        InputError: an image is no longer the one that was read.
        OSError: the shard cannot be written.
    """
    ready = task.build / READY
    # A shard is in place already if an interrupted `finalize` has moved it.
    done = committed(task.build, task.name, ready, task.build)
    if done:
        return done
    write = _WRITERS[task.table]
    written = write_shard(ready, task.output, lambda path: write(task, path), parquet_rows)
    return commit(task.build, Commit(task.name, (written,)))


def _write_pairs(task: WriteTask, path: Path) -> int:
    """Write a shard of `pairs` and return its number of rows."""
    base = task.build / WORK
    # Mapped into memory: a task reads only the rows of its shard.
    samples = np.load(base / f"{task.origin}-samples.npy", mmap_mode="r")
    chosen = np.load(base / f"{BENCHMARK}-rows.npy") if task.split == BENCHMARK else None
    table = _pair_rows(task.build, task.origin)

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(task.start, task.stop, ROW_GROUP):
            stop = min(task.stop, start + ROW_GROUP)
            yield table.batch(
                samples[start:stop] if chosen is None else samples[chosen[start:stop]]
            )

    with system_allocator():
        return write_parquet(path, PAIRS, batches())


def _pair_rows(build: Path, split: str) -> PairRows:
    """Return the builder of rows of `pairs` for the entities of a split."""
    # A process may build again into the same folder, so the name of the folder is not enough.
    status = (build / WORK / f"{split}-image-rows.npy").stat()
    return _cached_pair_rows(build, split, Stamp.of(status))


# Cached, because it numbers all names of a split when it is made, and the next shard of a worker is
# usually of the same split.
@lru_cache(maxsize=1)
def _cached_pair_rows(build: Path, split: str, stamp: Stamp) -> PairRows:
    return PairRows(*_entities_and_image_rows(build, split), split)


def _write_preview(task: WriteTask, path: Path) -> int:
    """Write the shard of `preview` and return its number of rows."""
    # Imported here because it brings OpenCV, which no other task needs.
    from mixedparts.tables.preview import preview_batch

    base = task.build / WORK
    chosen = np.load(base / "preview-rows.npy")
    samples = np.load(base / f"{task.origin}-samples.npy", mmap_mode="r")[chosen]
    table = _pair_rows(task.build, task.origin)
    files = table.image_files(samples, {name: source.root for name, source in task.sources})

    rows = table.batch(samples).to_pylist()
    images = samples["entities"].shape[1]
    step = _PREVIEW_ROWS
    batches = (
        preview_batch(rows[at : at + step], files[images * at : images * (at + step)])
        for at in range(0, len(rows), step)
    )
    return write_parquet(path, PREVIEW, batches)


def _entities_and_image_rows(build: Path, split: str) -> tuple[EntityColumns, NDArray[np.int32]]:
    """Return a split's entities, and the row of `images` that each of its images has."""
    # A process may build again into the same folder, so the name of the folder is not enough.
    status = (build / WORK / f"{split}-image-rows.npy").stat()
    return _cached_entities(build, split, Stamp.of(status))


# Cached, because numbering the part names of a split takes longer than to write a small shard.
@lru_cache(maxsize=1)
def _cached_entities(
    build: Path, split: str, stamp: Stamp
) -> tuple[EntityColumns, NDArray[np.int32]]:
    base = build / WORK
    columns = EntityColumns.of(map_table(base / f"{split}.arrow"))
    return columns, np.load(base / f"{split}-image-rows.npy")


def _write_images(task: WriteTask, path: Path) -> int:
    """Write a shard of `images` and return its number of rows."""
    columns, rows = _entities_and_image_rows(task.build, task.split)
    span = task.start, task.stop
    batches = image_batches(columns, rows, span, task.split, dict(task.sources), task.embed)
    return write_parquet(path, IMAGES, batches)


def _write_entities(task: WriteTask, path: Path) -> int:
    """Write a shard of `entities` and return its number of rows."""
    columns, rows = _entities_and_image_rows(task.build, task.split)
    span = task.start, task.stop
    return write_parquet(path, ENTITY_TABLE, entity_batches(columns, rows, span, task.split))


_WRITERS = {
    "pairs": _write_pairs,
    "images": _write_images,
    "entities": _write_entities,
    "preview": _write_preview,
}
