"""The work of a build as pure functions of small task values, run anywhere by any engine.

read: annotation files -> entities.   pair: entities -> list of samples (one task).
write: samples -> `pairs` shards, used images -> `images` shards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixedparts.build_manifest import BENCHMARK
from mixedparts.config import BuildConfig
from mixedparts.entity_table import EntityColumns, count_rows, entity_rows, map_table, write_table
from mixedparts.image_table import ImageSource, image_batches
from mixedparts.normalise import Entity, FilterCounts, Filters, Names, entities_of
from mixedparts.pair_table import PairTable
from mixedparts.parquet import parquet_rows, write_parquet
from mixedparts.plan import manifest_of, read_task
from mixedparts.records import ImageRecord, Reject
from mixedparts.schema import IMAGES, PAIRS, PREVIEW, REJECTS
from mixedparts.select import benchmark_rows, cell_counts, preview_rows, select, used_images
from mixedparts.shards import Commit, WrittenFile, commit, committed, write_shard
from mixedparts.sources import SPLITS, ReadShard, get_source

WORK = Path("_build/work")  # between stages; removed when the build is whole
READY = Path("_build/ready")  # finished shards of the dataset, until all of them are there
ROW_GROUP = 5_000


@dataclass(frozen=True, slots=True)
class ReadTask:
    """Read one shard of a source and normalise it."""

    build: Path
    shard: ReadShard
    filters: Filters

    @property
    def name(self) -> str:
        """Name of the task, unique in its build."""
        return read_task(self.shard)


@dataclass(frozen=True, slots=True)
class WriteTask:
    """Write one shard of a table.

    Attributes:
        table: `pairs`, `images` or `preview`.
        split: the shard's split; also `benchmark` and `preview`.
        origin: the split whose samples the shard holds.
        number, of: place of the shard among those of its split.
        start, stop: the rows it holds.
        seed: for the wording.
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
    seed: int
    embed: bool
    sources: tuple[tuple[str, ImageSource], ...]

    @property
    def name(self) -> str:
        """Name of the task, unique in its build."""
        return f"{self.table}-{self.split}-{self.number:05d}"

    @property
    def output(self) -> str:
        """The file it writes, relative to the build folder."""
        return f"{self.table}/{self.split}-{self.number:05d}-of-{self.of:05d}.parquet"


def run_read(task: ReadTask) -> Commit:
    """Read, normalise and store the entities of one shard, unless that is done already."""
    done = committed(task.build, task.name, task.build / WORK)
    if done:
        return done
    counts: Counter[str] = Counter()
    rejects: list[Reject] = []
    dropped = FilterCounts()
    table = entity_rows(_read(task, dropped, rejects, counts))
    base = task.build / WORK
    files = [_store(base, f"entities/{task.name}.arrow", table)]
    if rejects:
        rows = [_reject_row(reject) for reject in rejects]
        files.append(
            _store(base, f"rejects/{task.name}.arrow", pa.Table.from_pylist(rows, schema=REJECTS))
        )
    reasons = Counter(str(reject.reason) for reject in rejects)
    record: dict[str, Any] = {
        "source": task.shard.source,
        "split": task.shard.split,
        "images": counts["images"],
        "entities": table.num_rows,
        "filtered": {"objects": dropped.objects, "parts": dropped.parts},
        "rejects": dict(sorted(reasons.items())),
    }
    return commit(task.build, Commit(task.name, tuple(files), record))


def _read(
    task: ReadTask, dropped: FilterCounts, rejects: list[Reject], counts: Counter[str]
) -> Iterator[tuple[ImageRecord, list[Entity]]]:
    names = _names(task.shard.source)
    for item in get_source(task.shard.source).read(task.shard):
        if isinstance(item, Reject):
            rejects.append(item)
            continue
        counts["images"] += 1
        yield item, entities_of(item, names, task.filters, dropped)


@lru_cache
def _names(source: str) -> Names:
    return Names(manifest_of(source))


def _reject_row(reject: Reject) -> dict[str, str]:
    return {
        name: _text(getattr(reject, name))
        for name in ("source", "split", "file", "record_id", "level", "reason", "detail")
    }


def _text(value: object) -> str:
    """Return text that UTF-8 can hold, whatever the source files hold."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _store(base: Path, relative: str, table: pa.Table) -> WrittenFile:
    return write_shard(base, relative, lambda path: write_table(table, path), count_rows)


def run_pair(config: BuildConfig, reads: list[Commit]) -> Commit:
    """Gather the entities of each split, draw the samples, and store both."""
    build, base = config.out, config.out / WORK
    done = committed(build, "pair", base)
    if done:
        return done
    files, splits = [], {}
    for split in SPLITS:
        parts = [
            map_table(base / record.files[0].path)
            for record in reads
            if record.counts["split"] == split and record.files[0].rows
        ]
        if parts:
            table = pa.concat_tables(parts)
            files.append(_store(base, f"{split}.arrow", table))
            splits[split] = EntityColumns.of(map_table(base / f"{split}.arrow"))
    samples = select(config, splits)
    counts: dict[str, Any] = {}
    for split, columns in splits.items():
        rows = used_images(samples[split], columns)
        files.append(_store_array(base, f"{split}-samples.npy", samples[split]))
        files.append(_store_array(base, f"{split}-image-rows.npy", rows))
        counts[split] = {
            "pairs": len(samples[split]),
            "images": int(rows.max(initial=-1)) + 1,
            "cells": cell_counts(samples[split], columns),
            "source_images": _images_by_source(columns, rows),
            "entities": _entities_by_source(columns),
        }
    if "test" in splits:
        chosen, empty = _benchmark(config, samples["test"], splits["test"])
        files.append(_store_array(base, f"{BENCHMARK}-rows.npy", chosen))
        subset = samples["test"][chosen]
        counts[BENCHMARK] = {
            "of": "test",
            "pairs": len(chosen),
            "cells": cell_counts(subset, splits["test"]),
            "empty_cells": [list(cell) for cell in empty],
        }
    shown = next((split for split in ("test", "validation", "train") if split in splits), None)
    if shown is not None:
        chosen = preview_rows(samples[shown], splits[shown])
        files.append(_store_array(base, "preview-rows.npy", chosen))
        counts["preview"] = {"preview": len(chosen), "of": shown}
    return commit(build, Commit("pair", tuple(files), counts))


def _benchmark(
    config: BuildConfig, samples: NDArray[np.void], columns: EntityColumns
) -> tuple[NDArray[np.int64], list[tuple[str, str]]]:
    rows = used_images(samples, columns)
    ids = PairTable(columns, rows, "test", config.seed).ids(samples)
    tasks = config.identity()["tasks"]
    cells = [(source, str(task)) for source in sorted(config.sources) for task in tasks]
    return benchmark_rows(samples, columns, ids, cells)


def _images_by_source(columns: EntityColumns, rows: NDArray[np.int32]) -> dict[str, int]:
    codes, names = columns.coded("source")
    return {n: len(np.unique(rows[(codes == i) & (rows >= 0)])) for i, n in enumerate(names)}


def _entities_by_source(columns: EntityColumns) -> dict[str, int]:
    codes, names = columns.coded("source")
    return {name: int((codes == code).sum()) for code, name in enumerate(names)}


def _store_array(base: Path, relative: str, array: NDArray[Any]) -> WrittenFile:
    def write(path: Path) -> int:
        with path.open("wb") as handle:
            np.save(handle, array)
        return len(array)

    return write_shard(base, relative, write, lambda path: len(np.load(path, mmap_mode="r")))


def write_tasks(config: BuildConfig, paired: Commit) -> list[WriteTask]:
    """Return the tasks that write the tables, from what pairing counted."""
    sources = tuple((name, _image_source(config, name)) for name in sorted(config.sources))
    tasks = []
    tables = (("preview", 1 << 30), ("pairs", config.pair_shard_rows))
    for table, size in (*tables, ("images", config.image_shard_rows)):
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
                    seed=config.seed,
                    embed=config.images == "embed",
                    sources=sources,
                )
                tasks.append(task)
    return tasks


def pictures_bytes(config: BuildConfig, paired: Commit) -> int:
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
    manifest = manifest_of(name)
    return ImageSource(config.source_root(name), manifest.image_licence if manifest else "")


def run_write(task: WriteTask) -> Commit:
    """Write one shard of a table, unless that is done already."""
    ready = task.build / READY
    done = committed(task.build, task.name, ready, task.build)
    if done:
        return done
    write = {"pairs": _write_pairs, "images": _write_images, "preview": _write_preview}[task.table]
    written = write_shard(ready, task.output, lambda path: write(task, path), parquet_rows)
    return commit(task.build, Commit(task.name, (written,)))


def _write_pairs(task: WriteTask, path: Path) -> int:
    base = task.build / WORK
    samples = np.load(base / f"{task.origin}-samples.npy", mmap_mode="r")
    chosen = np.load(base / f"{BENCHMARK}-rows.npy") if task.split == BENCHMARK else None
    table = _pair_table(task.build, task.origin, task.seed)

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(task.start, task.stop, ROW_GROUP):
            stop = min(task.stop, start + ROW_GROUP)
            yield table.batch(
                samples[start:stop] if chosen is None else samples[chosen[start:stop]]
            )

    return write_parquet(path, PAIRS, batches())


@lru_cache(maxsize=1)
def _pair_table(build: Path, split: str, seed: int) -> PairTable:
    base = build / WORK
    columns = EntityColumns.of(map_table(base / f"{split}.arrow"))
    return PairTable(columns, np.load(base / f"{split}-image-rows.npy"), split, seed)


def _write_preview(task: WriteTask, path: Path) -> int:
    from mixedparts.view.preview import preview_batch  # brings OpenCV, which no other task needs

    base = task.build / WORK
    chosen = np.load(base / "preview-rows.npy")
    samples = np.load(base / f"{task.origin}-samples.npy", mmap_mode="r")[chosen]
    table = _pair_table(task.build, task.origin, task.seed)
    files = table.pictures(samples, {name: source.root for name, source in task.sources})

    rows = table.batch(samples).to_pylist()
    drawn = (
        preview_batch(rows[at : at + 10], files[2 * at : 2 * at + 20])
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
