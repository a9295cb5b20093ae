"""The copy of a build that is sent to a Hub: without pixels by default, and loadable as it is.

The images belong to the owners of the sources, so a copy leaves them out unless the user asks for
them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from mixedparts.cards.card import card
from mixedparts.cards.croissant import CROISSANT, croissant_text
from mixedparts.storage.build_folder import CARD, MANIFEST, BuildFolder
from mixedparts.storage.parquet import parquet_rows, write_parquet
from mixedparts.storage.schema import IMAGES
from mixedparts.storage.shards import WrittenFile, intact, write_json, write_shard, write_text

_PIXELS = "preview/"  # its images have masks drawn in, so nothing of it is left without pixels


@dataclass(frozen=True, slots=True)
class PushFile:
    """One file to push.

    Attributes:
        path: path relative to the build folder, with POSIX separators.
        bytes: size; an estimate for a shard of `images` that is sent without pixels.
    """

    path: str
    bytes: int


def push_files(build: BuildFolder, pixels: bool) -> list[PushFile]:
    """Return the data files that a push would send, in the order of the manifest.

    Raises:
        DamagedShard: a shard of `images` is missing or damaged.
    """
    files = []
    for shard in build.shards:
        if not pixels and shard.path.startswith(_PIXELS):
            continue
        size = shard.bytes
        if not pixels and shard.path.startswith("images/"):
            size = _without_pixels(build, shard.path)
        files.append(PushFile(shard.path, size))
    return files


def _without_pixels(build: BuildFolder, relative: str) -> int:
    """Return the compressed bytes of all columns of an images shard except the image bytes."""
    # From the footer: it has the compressed size of every column in every row group.
    with build.open_shard(relative) as file:
        metadata = file.metadata
    columns = (
        metadata.row_group(group).column(column)
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    )
    return sum(c.total_compressed_size for c in columns if c.path_in_schema != "image.bytes")


def make_copy(build: BuildFolder, pixels: bool, url: str) -> Path:
    """Write the copy into the build's `_build` folder, reusing what an earlier push left there.

    Args:
        build: the build.
        pixels: whether the copy contains images.
        url: page of the dataset, for the Croissant metadata.

    Returns:
        The folder of the copy: data files, manifest, card and Croissant metadata.

    Raises:
        DamagedShard: a shard of `images` is missing or damaged.
    """
    # Two folders, so that pushes with and without pixels do not undo each other's work.
    copy = build.path / "_build" / ("push-with-pixels" if pixels else "push")
    shards = [
        _shard(build, copy, shard, pixels)
        for shard in build.shards
        if pixels or not shard.path.startswith(_PIXELS)
    ]
    # Files that an earlier build left in this folder.
    current = {shard.path for shard in shards}
    for stray in sorted(path for path in copy.rglob("*.parquet")):
        if stray.relative_to(copy).as_posix() not in current:
            stray.unlink()
    # Digests, sizes and `images: omit` describe the copy, so that it passes verification by itself.
    described = {**build.manifest, "shards": [asdict(shard) for shard in shards]}
    if not pixels:
        described["configuration"] = {**build.configuration, "images": "omit"}
    write_json(copy / MANIFEST, described)
    write_text(copy / CROISSANT, croissant_text(described, url))
    write_text(copy / CARD, card(described))
    return copy


def _shard(build: BuildFolder, copy: Path, shard: WrittenFile, pixels: bool) -> WrittenFile:
    """Put one shard into the copy, and return its record."""
    if pixels or not shard.path.startswith("images/"):
        if not intact(copy, shard):
            _link(build.path / shard.path, copy / shard.path)
        return shard
    # The note names the digest of the original shard: without it, finding out whether the copy is
    # of this build would mean to write it again.
    note = copy / f".{shard.path.replace('/', '-')}.json"
    stored = _noted(note)
    if stored is not None and stored[0] == shard.sha256 and intact(copy, stored[1]):
        return stored[1]
    written = write_shard(
        copy, shard.path, lambda path: write_parquet(path, IMAGES, _stripped(build, shard.path)),
        parquet_rows,
    )  # fmt: skip
    write_json(note, {"of": shard.sha256, "file": asdict(written)})
    return written


def _noted(note: Path) -> tuple[str, WrittenFile] | None:
    """Return the digest of the original shard and the record of its copy; None without a note."""
    try:
        value = json.loads(note.read_bytes())
        return value["of"], WrittenFile(**value["file"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stripped(build: BuildFolder, relative: str) -> Iterator[pa.RecordBatch]:
    """Yield the rows of an images shard with a null in place of each image."""
    # The image column is not read at all: it has nearly all bytes of the shard.
    columns = [name for name in IMAGES.names if name != "image"]
    for batch in build.shard_batches(relative, columns):
        nulls = pa.nulls(batch.num_rows, IMAGES.field("image").type)
        arrays = [nulls if name == "image" else batch[name] for name in IMAGES.names]
        yield pa.RecordBatch.from_arrays(arrays, schema=IMAGES)


def _link(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, which takes no space; a copy if that fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
