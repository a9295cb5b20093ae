"""The last stage: samples and their pictures to shards of the tables, one task a shard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from mixedparts.entities.table import EntityColumns, map_table
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.workspace import READY, WORK
from mixedparts.sources.contract import SPLITS
from mixedparts.sources.manifests import manifest_of
from mixedparts.storage.build_folder import BENCHMARK, shard_name
from mixedparts.storage.parquet import parquet_rows, write_parquet
from mixedparts.storage.schema import ENTITY_TABLE, IMAGES, PAIRS, PREVIEW
from mixedparts.storage.shards import Commit, commit, committed, write_shard
from mixedparts.tables.entities import entity_batches
from mixedparts.tables.images import ImageSource, image_batches
from mixedparts.tables.pairs import PairRows

ROW_GROUP = 10_000  # of 1,000: twice the bytes and time, as fewer masks repeat within a group


@dataclass(frozen=True, slots=True)
class WriteTask:
    """Write one shard of a table.

    Attributes:
        table: `pairs`, `images`, `entities` or `preview`.
        split: the shard's split; also `benchmark` and `preview`.
        origin: the split whose samples the shard holds.
        number, of: place of the shard among those of its split.
        start, stop: the rows it holds.
        sources: where pictures lie, by source.
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
        """Name of the task, unique in its build."""
        return f"{self.table}-{self.split}-{self.number:05d}"

    @property
    def output(self) -> str:
        """The file it writes, relative to the build folder."""
        return shard_name(self.table, self.split, self.number, self.of)


def write_tasks(config: BuildConfig, paired: Commit) -> list[WriteTask]:
    """Return the tasks that write the tables, from what pairing counted."""
    sources = tuple((name, _image_source(config, name)) for name in sorted(config.sources))
    tasks = []
    # Pairs need the most memory, the preview the most time: neither comes on top of the other.
    tables = (
        ("pairs", config.pair_shard_rows),
        ("preview", 1 << 30),
        ("entities", config.pair_shard_rows),
        ("images", config.image_shard_rows),
    )
    for table, size in tables:
        for split in (*SPLITS, BENCHMARK, "preview"):
            counts = paired.counts.get(split, {})
            rows = counts.get(table, 0)
            shards = -(-rows // size)
            for number in range(shards):
                task = WriteTask(
                    build=config.out,
                    table=table,
                    split=split,
                    origin=counts.get("of", split),
                    number=number,
                    of=shards,
                    start=number * size,
                    stop=min(rows, (number + 1) * size),
                    embed=config.images == "embed",
                    sources=sources,
                )
                tasks.append(task)
    return tasks


def image_bytes(config: BuildConfig, paired: Commit) -> int:
    """Return how many bytes the pictures that samples use have on disk."""
    total = 0
    for split in (split for split in SPLITS if split in paired.counts):
        columns = EntityColumns.of(map_table(config.out / WORK / f"{split}.arrow"))
        rows = np.load(config.out / WORK / f"{split}-image-rows.npy")
        firsts = columns.first_of_image()
        chosen = pa.array(firsts[rows[firsts] >= 0])
        sources, paths = (columns.column(n).take(chosen).to_pylist() for n in ("source", "path"))
        for source, path in zip(sources, paths, strict=True):
            total += (config.source_root(source) / path).stat().st_size
    return total


def _image_source(config: BuildConfig, name: str) -> ImageSource:
    root = config.source_root(name)
    manifest = manifest_of(name, root)
    return ImageSource(root, manifest.image_licence if manifest else "")


def run_write(task: WriteTask) -> Commit:
    """Write one shard of a table, unless that is done already."""
    ready = task.build / READY
    done = committed(task.build, task.name, ready, task.build)
    if done:
        return done
    write = _WRITERS[task.table]
    written = write_shard(ready, task.output, lambda path: write(task, path), parquet_rows)
    return commit(task.build, Commit(task.name, (written,)))


def _write_pairs(task: WriteTask, path: Path) -> int:
    base = task.build / WORK
    samples = np.load(base / f"{task.origin}-samples.npy", mmap_mode="r")
    chosen = np.load(base / f"{BENCHMARK}-rows.npy") if task.split == BENCHMARK else None
    table = _pair_rows(task.build, task.origin)

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(task.start, task.stop, ROW_GROUP):
            stop = min(task.stop, start + ROW_GROUP)
            yield table.batch(
                samples[start:stop] if chosen is None else samples[chosen[start:stop]]
            )

    return write_parquet(path, PAIRS, batches())


@lru_cache(maxsize=1)
def _pair_rows(build: Path, split: str) -> PairRows:
    base = build / WORK
    columns = EntityColumns.of(map_table(base / f"{split}.arrow"))
    return PairRows(columns, np.load(base / f"{split}-image-rows.npy"), split)


def _write_preview(task: WriteTask, path: Path) -> int:
    from mixedparts.tables.preview import preview_batch  # brings OpenCV, which no other task needs

    base = task.build / WORK
    chosen = np.load(base / "preview-rows.npy")
    samples = np.load(base / f"{task.origin}-samples.npy", mmap_mode="r")[chosen]
    table = _pair_rows(task.build, task.origin)
    files = table.image_files(samples, {name: source.root for name, source in task.sources})

    rows = table.batch(samples).to_pylist()
    images = samples["entities"].shape[1]
    drawn = (
        preview_batch(rows[at : at + 10], files[images * at : images * (at + 10)])
        for at in range(0, len(rows), 10)
    )
    return write_parquet(path, PREVIEW, drawn)


def _write_images(task: WriteTask, path: Path) -> int:
    base = task.build / WORK
    columns = EntityColumns.of(map_table(base / f"{task.split}.arrow"))
    rows = np.load(base / f"{task.split}-image-rows.npy")
    span = task.start, task.stop
    batches = image_batches(columns, rows, span, task.split, dict(task.sources), task.embed)
    return write_parquet(path, IMAGES, batches)


def _write_entities(task: WriteTask, path: Path) -> int:
    base = task.build / WORK
    columns = EntityColumns.of(map_table(base / f"{task.split}.arrow"))
    rows = np.load(base / f"{task.split}-image-rows.npy")
    span = task.start, task.stop
    return write_parquet(path, ENTITY_TABLE, entity_batches(columns, rows, span, task.split))


_WRITERS = {
    "pairs": _write_pairs,
    "images": _write_images,
    "entities": _write_entities,
    "preview": _write_preview,
}
