"""Pictures of a build by their row, from a memory-mapped copy of those that are needed."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from mixedparts.entities.table import map_table
from mixedparts.errors import InputError
from mixedparts.images.checks import neutral_bytes
from mixedparts.storage.parquet import table_files
from mixedparts.storage.schema import IMAGES

_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp"}


class ImageReader:
    """Random access to the `images` rows of one split.

    Args:
        table: rows of `images`, memory-mapped.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        rows = table["row"].to_numpy()
        self._place: NDArray[np.int64] = np.full(int(rows.max(initial=-1)) + 1, -1)
        self._place[rows] = np.arange(len(rows))

    def row(self, number: int) -> dict[str, Any]:
        """Return a row of `images`; its picture has bytes, also where the build only refers."""
        found: dict[str, Any] = self._table.slice(int(self._place[number]), 1).to_pylist()[0]
        if found["image"]["bytes"] is None:
            found["image"] = {"bytes": _referred(found["image"]["path"]), "path": None}
        return found


@contextmanager
def open_images(
    build: Path, split: str, wanted: Collection[int], work: Path
) -> Iterator[ImageReader]:
    """Copy wanted rows of a split's `images` to a working file, and give access to them."""
    work.parent.mkdir(parents=True, exist_ok=True)
    rows = pa.array(sorted(wanted), pa.int32())
    try:
        with pa.OSFile(str(work), "wb") as sink, pa.ipc.new_file(sink, IMAGES) as writer:
            for path in table_files(build, "images", split):
                for batch in pq.ParquetFile(path).iter_batches(100):
                    kept = batch.filter(pc.is_in(batch["row"], rows))
                    if kept.num_rows:
                        writer.write_batch(kept.replace_schema_metadata(None))
        yield ImageReader(map_table(work))
    finally:
        work.unlink(missing_ok=True)


def image_suffix(data: bytes) -> str:
    """Return the usual suffix for a picture's bytes, whatever its file was called."""
    with Image.open(io.BytesIO(data)) as picture:
        return _SUFFIXES.get(picture.format or "", "img")


def _referred(path: str) -> bytes:
    try:
        return neutral_bytes(Path(path).read_bytes())
    except OSError as error:
        raise InputError(
            f"picture {path} cannot be read: {error.strerror or error}",
            "The build only refers to its pictures; put them back, or build with --images embed.",
        ) from error
