"""The copy of a build that is sent to a Hub: without pixels by default, and loadable as it is.

The images belong to the owners of the sources, so a copy leaves them out unless the user asks for
them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import pyarrow as pa

from mixedparts.cards.card import card
from mixedparts.cards.croissant import croissant_text
from mixedparts.files.text import read_own_json
from mixedparts.hub.private_paths import check_no_paths, shortened
from mixedparts.storage.build_folder import CARD, CROISSANT, MANIFEST, REJECTS_FILE, BuildFolder
from mixedparts.storage.digest_list import DIGEST_LIST, write_digest_list
from mixedparts.storage.parquet import parquet_rows, write_parquet
from mixedparts.storage.schema import IMAGES, REJECTS
from mixedparts.storage.shards import WrittenFile, intact, write_json, write_shard, write_text

LAST_FILES = (MANIFEST, CROISSANT, DIGEST_LIST, CARD)
"""Files that describe the data; a push sends them in its last commit."""
_PIXELS = "preview/"  # its images have masks drawn in, so nothing of it is left without pixels


@dataclass(frozen=True, slots=True)
class PushFile:
    """One file to push.

    Attributes:
        path: path relative to the build folder, with POSIX separators.
        bytes: size.
        exact: False if the size is an estimate, for a file that is made anew for the push.
    """

    path: str
    bytes: int
    exact: bool = True


@dataclass(frozen=True, slots=True)
class _Note:
    """What the copy of a shard was made of, and its record; the names are keys of the JSON file."""

    of: str
    file: WrittenFile


def push_files(build: BuildFolder, pixels: bool) -> list[PushFile]:
    """Return the files that a push sends: data in the order of the manifest, then what names them.

    Raises:
        DamagedShard: a shard of `images` is missing or damaged.
    """
    files = []
    for shard in build.shards:
        if not pixels and shard.path.startswith(_PIXELS):
            continue
        if not pixels and shard.path.startswith("images/"):
            files.append(PushFile(shard.path, _without_pixels(build, shard.path), exact=False))
        else:
            files.append(PushFile(shard.path, shard.bytes, shard.path != REJECTS_FILE))
    for name in LAST_FILES:
        path = build.path / name
        files.append(PushFile(name, path.stat().st_size if path.is_file() else 0, exact=False))
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
        ProblemsFound: an absolute path is part of the data.
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
    text = card(described)
    write_digest_list(copy, shards, text)
    write_text(copy / CARD, text)
    check_no_paths(BuildFolder.open(copy), described)
    return copy


def _shard(build: BuildFolder, copy: Path, shard: WrittenFile, pixels: bool) -> WrittenFile:
    """Put one shard into the copy, and return its record."""
    if shard.path == REJECTS_FILE and _has_folders(build):
        return _rewritten(build, copy, shard, REJECTS, _shortened(build))
    if pixels or not shard.path.startswith("images/"):
        if not intact(copy, shard):
            _link(build.path / shard.path, copy / shard.path)
        return shard
    return _rewritten(build, copy, shard, IMAGES, _stripped(build, shard.path))


def _rewritten(
    build: BuildFolder,
    copy: Path,
    shard: WrittenFile,
    schema: pa.Schema,
    rows: Iterator[pa.RecordBatch],
) -> WrittenFile:
    """Write changed rows of one shard into the copy, unless an earlier push did; return its record.

    Args:
        build: the build.
        copy: folder of the copy.
        shard: the shard of the build.
        schema: columns of its table.
        rows: the changed rows; they are read only if they have to be written.

    Returns:
        The record of the written file.
    """
    # The note names the digest of the original shard: without it, finding out whether the copy is
    # of this build would mean to write it again.
    note = copy / f".{shard.path.replace('/', '-')}.json"
    stored = _noted(note)
    if stored is not None and stored.of == shard.sha256 and intact(copy, stored.file):
        return stored.file
    written = write_shard(
        copy, shard.path, lambda path: write_parquet(path, schema, rows), parquet_rows
    )
    write_json(note, asdict(_Note(shard.sha256, written)))
    return written


def _noted(note: Path) -> _Note | None:
    """Return the note beside the copy of a shard; None without an intact one."""
    try:
        return msgspec.convert(read_own_json(note), _Note)
    except msgspec.ValidationError:
        return None


def _stripped(build: BuildFolder, relative: str) -> Iterator[pa.RecordBatch]:
    """Yield the rows of an images shard with a null in place of each image."""
    # The image column is not read at all: it has nearly all bytes of the shard.
    columns = [name for name in IMAGES.names if name != "image"]
    for batch in build.shard_batches(relative, columns):
        nulls = pa.nulls(batch.num_rows, IMAGES.field("image").type)
        arrays = [nulls if name == "image" else batch[name] for name in IMAGES.names]
        yield pa.RecordBatch.from_arrays(arrays, schema=IMAGES)


def _has_folders(build: BuildFolder) -> bool:
    """Return whether any reject names an absolute path."""
    return any(not shortened(batch).equals(batch) for batch in build.shard_batches(REJECTS_FILE))


def _shortened(build: BuildFolder) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the table of rejects without folders of absolute paths."""
    for batch in build.shard_batches(REJECTS_FILE):
        yield shortened(batch)


def _link(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, which takes no space; a copy if that fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
