"""Image files as they were when the annotations of their images were read.

A build reads its image files twice: a reader checks that they decode and have the annotated size,
and the tables `images` and `preview` are made from them. In between, minutes or days pass. An image
that is another one by then would get the masks of the one that was read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mixedparts.entities.table import EntityColumns
from mixedparts.errors import InputError
from mixedparts.images.headers import has_size
from mixedparts.records import ImageRecord

_COLUMNS = ("source", "image_id", "file_name", "path", "file_bytes", "width", "height")


@dataclass(frozen=True, slots=True)
class ImageFile:
    """The file of an image, and what was read of it.

    Attributes:
        source: registered name of the reader.
        image_id: unique within the source.
        file_name: as the annotation file writes it.
        path: the file, below the root of the source.
        file_bytes: size of the file in bytes.
        width, height: pixels of the stored grid.
    """

    source: str
    image_id: str
    file_name: str
    path: Path
    file_bytes: int
    width: int
    height: int

    def read(self) -> bytes:
        """Return the bytes of the file, which is still the image that was read.

        Raises:
            InputError: the file is missing, or its size or header is another one.
        """
        try:
            data = _contents(self.path, self.file_bytes)
        except OSError as error:
            raise self._changed(f"it cannot be read any more: {error.strerror or error}") from error
        if len(data) != self.file_bytes:
            raise self._changed(f"it had {self.file_bytes:,} bytes and now has {len(data):,}")
        if not has_size(data, self.width, self.height):
            raise self._changed(f"its header no longer is that of {self.width} x {self.height}")
        return data

    def _changed(self, what: str) -> InputError:
        image = f"image {self.image_id} of {self.source}, {self.path},"
        return InputError(
            f"{image} changed after it was read: {what}",
            "Put the old file back and run the same command again, or run it with --overwrite,"
            " which reads the sources anew.",
        )


def _contents(path: Path, size: int) -> bytes:
    """Return the bytes of a file that has most likely so many.

    Raises:
        OSError: it cannot be read.
    """
    # Plain calls of the system: a build reads every image here, and file objects take longer.
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        # One byte more: a short read then shows the end of the file.
        data = os.read(file, size + 1)
    finally:
        os.close(file)
    return data if len(data) == size else path.read_bytes()


def file_bytes(root: str | Path, record: ImageRecord) -> int:
    """Return the size of a record's image file in bytes.

    Raises:
        InputError: the file was there when the reader checked it, and no longer is.
    """
    path = os.path.join(root, record.path)
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise InputError(
            f"image {record.image_id} of {record.source}, {path}, disappeared while it was read"
            f" ({error.strerror or error})",
            "Put it back, or run the same command again without it.",
        ) from None


def image_files(
    columns: EntityColumns, rows: NDArray[Any], roots: Mapping[str, Path]
) -> list[ImageFile]:
    """Return the image files of some entities.

    Args:
        columns: entities of a split.
        rows: `(n,)` integers, rows of the table.
        roots: root of each source.

    Returns:
        A file for each row, in the order of the rows.
    """
    values = zip(*(columns.column(name).take(rows).to_pylist() for name in _COLUMNS), strict=True)
    return [
        ImageFile(source, image_id, file_name, roots[source] / path, size, width, height)
        for source, image_id, file_name, path, size, width, height in values
    ]
