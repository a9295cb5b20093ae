"""Random access to the images of a build, through a memory-mapped copy of those that are needed.

Rows of `pairs` show images in no particular order, and Parquet can only be read row group by row
group. An uncompressed Arrow file gives any row without reading its neighbours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mixedparts.entities.table import map_table
from mixedparts.errors import InputError
from mixedparts.images.exif import neutral_bytes
from mixedparts.images.formats import SUFFIXES, format_of
from mixedparts.images.opening import UnreadableImage, decodable_size
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.storage.checked_rows import checked_batches
from mixedparts.storage.schema import IMAGES

_CHECK = "Check the build: mixedparts verify DIR --level deep"


class ImageReader:
    """Random access to the `images` rows of one split.

    Args:
        table: rows of `images`, memory-mapped; any subset in any order.
        roots: source -> folder of the images that a build with `--images reference` refers to.
    """

    def __init__(self, table: pa.Table, roots: Mapping[str, str]) -> None:
        self._table = table
        self._roots = roots
        self._checked: set[int] = set()
        self._place = {number: place for place, number in enumerate(table["row"].to_pylist())}

    def has_pixels(self, number: int) -> bool:
        """Return whether the row with a number has its image; a copy for a Hub may have none."""
        place = self._place.get(number)
        return place is None or bool(self._table["image"][place].is_valid)

    def row(self, number: int) -> dict[str, Any]:
        """Return the row of `images` with a number; its `image` always has bytes.

        A build with `--images reference` stores paths only; the bytes then come from the file.

        Raises:
            InputError: there is no such row, the file that the build refers to cannot be read, or
                the image does not decode, so that no reader of the export could open it.
        """
        if number not in self._place:
            raise InputError(f"a sample shows row {number} of images, which is not there", _CHECK)
        row: dict[str, Any] = self._table.slice(self._place[number], 1).to_pylist()[0]
        if row["image"]["bytes"] is None:
            file = referenced_file(row["image"]["path"], row["source"], self._roots)
            row["image"] = {"bytes": _referenced(file), "path": None}
        # Some formats store an image in every row that shows it; it is checked once.
        if number not in self._checked:
            try:
                decodable_size(row["image"]["bytes"])
            except UnreadableImage as fault:
                raise InputError(
                    f"the image {row['image_id']} in row {number} of images cannot be decoded:"
                    f" {fault}",
                    _CHECK,
                ) from fault
            self._checked.add(number)
        return row


@contextmanager
def open_images(
    build: BuildFolder, split: str, wanted: Collection[int], work: Path
) -> Iterator[ImageReader]:
    """Copy the wanted rows of a split's `images` to a working file, and yield a reader of it.

    Args:
        build: the build.
        split: a split of the table `images`.
        wanted: row numbers of the images to copy.
        work: path of the working file, which is removed at the end.

    Yields:
        A reader of the wanted rows.

    Raises:
        InputError: a shard of `images` is missing or damaged.
    """
    work.parent.mkdir(parents=True, exist_ok=True)
    rows = pa.array(sorted(wanted), pa.int32())
    try:
        with pa.OSFile(str(work), "wb") as sink, pa.ipc.new_file(sink, IMAGES) as writer:
            for batch in checked_batches(build, "images", split, rows=100):
                selected = batch.filter(pc.is_in(batch["row"], rows))
                if selected.num_rows:
                    # Drop the metadata for `datasets`: the schema of the working file has none.
                    writer.write_batch(selected.replace_schema_metadata(None))
        roots = build.configuration.get("source_roots")
        yield ImageReader(map_table(work), roots if isinstance(roots, dict) else {})
    finally:
        work.unlink(missing_ok=True)


def referenced_file(path: str, source: str, roots: Mapping[str, str]) -> Path:
    """Return the file of an image that a build refers to.

    Args:
        path: from a row of `images`.
        source: from the same row.
        roots: source -> folder of its files, from the configuration of the build.

    Returns:
        The path, which is not resolved: users link image folders into a root.

    Raises:
        InputError: the file is not below the folder of its source.
    """
    file, root = Path(path), roots.get(source)
    if root is None or ".." in file.parts or not file.is_relative_to(root):
        raise InputError(
            f"a row of the build names the image {path}, which is not below the folder of its"
            f" source {source} ({root or 'unknown'})",
            "Check where the build comes from, or build again with --images embed.",
        )
    return file


def image_suffix(data: bytes) -> str:
    """Return the file suffix that fits the format of an encoded image, from its bytes alone."""
    return SUFFIXES.get(format_of(data) or "", "img")


def _referenced(path: Path) -> bytes:
    """Return the bytes of an image file as a build with `--images embed` would store them."""
    try:
        return neutral_bytes(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"image {path} cannot be read: {error.strerror or error}",
            "The build only refers to its images; put them back, or build with --images embed.",
        ) from error
