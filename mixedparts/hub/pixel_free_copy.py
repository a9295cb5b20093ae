"""The copy of a build that goes to a Hub: without pixels unless asked, and loadable as it is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixedparts.cards.card import card
from mixedparts.cards.croissant import CROISSANT, croissant_text
from mixedparts.pipeline.build_manifest import CARD, MANIFEST
from mixedparts.storage.parquet import parquet_rows, write_parquet
from mixedparts.storage.schema import IMAGES
from mixedparts.storage.shards import WrittenFile, intact, write_json, write_shard, write_text

_PIXELS = "preview/"  # pictures with masks drawn in


@dataclass(frozen=True, slots=True)
class PushFile:
    """One file to push, with its size; without pixels that of `images` is an estimate."""

    path: str
    bytes: int


def push_files(manifest: dict[str, Any], build: Path, pixels: bool) -> list[PushFile]:
    """Return the data files that a push would send, writing nothing."""
    files = []
    for shard in manifest["shards"]:
        if not pixels and shard["path"].startswith(_PIXELS):
            continue
        size = shard["bytes"]
        if not pixels and shard["path"].startswith("images/"):
            size = _without_pixels(build / shard["path"])
        files.append(PushFile(shard["path"], size))
    return files


def _without_pixels(path: Path) -> int:
    """Return how many bytes of a shard's columns are not pictures."""
    metadata = pq.read_metadata(path)
    columns = (
        metadata.row_group(group).column(column)
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    )
    return sum(c.total_compressed_size for c in columns if c.path_in_schema != "image.bytes")


def make_copy(build: Path, manifest: dict[str, Any], pixels: bool, url: str) -> Path:
    """Write the copy beside the build's records, or take the one that an earlier push left.

    Returns:
        The folder: data files, manifest, card and Croissant metadata.
    """
    copy = build / "_build" / ("push-with-pixels" if pixels else "push")
    shards = [
        _shard(build, copy, WrittenFile(**shard), pixels)
        for shard in manifest["shards"]
        if pixels or not shard["path"].startswith(_PIXELS)
    ]
    kept = {shard.path for shard in shards}
    for stray in sorted(path for path in copy.rglob("*.parquet")):
        if stray.relative_to(copy).as_posix() not in kept:
            stray.unlink()
    told = {**manifest, "shards": [asdict(shard) for shard in shards]}
    if not pixels:
        told["configuration"] = {**manifest["configuration"], "images": "omit"}
    write_json(copy / MANIFEST, told)
    write_text(copy / CROISSANT, croissant_text(told, url))
    write_text(copy / CARD, card(told))
    return copy


def _shard(build: Path, copy: Path, shard: WrittenFile, pixels: bool) -> WrittenFile:
    if pixels or not shard.path.startswith("images/"):
        if not intact(copy, shard):
            _link(build / shard.path, copy / shard.path)
        return shard
    note = copy / f".{shard.path.replace('/', '-')}.json"  # which shard the copy was made from
    stored = _noted(note)
    if stored is not None and stored[0] == shard.sha256 and intact(copy, stored[1]):
        return stored[1]
    written = write_shard(
        copy, shard.path, lambda path: write_parquet(path, IMAGES, _stripped(build / shard.path)),
        parquet_rows,
    )  # fmt: skip
    write_json(note, {"of": shard.sha256, "file": asdict(written)})
    return written


def _noted(note: Path) -> tuple[str, WrittenFile] | None:
    try:
        value = json.loads(note.read_bytes())
        return value["of"], WrittenFile(**value["file"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stripped(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the rows of an images shard with a null in place of each picture."""
    columns = [name for name in IMAGES.names if name != "image"]
    for batch in pq.ParquetFile(path).iter_batches(1_000, columns=columns):
        nothing = pa.nulls(batch.num_rows, IMAGES.field("image").type)
        arrays = [nothing if name == "image" else batch[name] for name in IMAGES.names]
        yield pa.RecordBatch.from_arrays(arrays, schema=IMAGES)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
