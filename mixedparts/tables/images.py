"""Images as rows of the `images` table: each stored once, in its original encoding.

Embedded bytes have a neutral EXIF orientation, because masks lie on the stored pixel grid and a
reader that applies the orientation would turn the image away from them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixedparts.entities.table import EntityColumns
from mixedparts.errors import InputError
from mixedparts.images.checks import neutral_bytes
from mixedparts.storage.schema import IMAGES


@dataclass(frozen=True, slots=True)
class ImageSource:
    """The folder of a source's images, and the note on their licence."""

    root: Path
    licence: str


def image_batches(
    columns: EntityColumns,
    image_rows: NDArray[np.int32],
    span: tuple[int, int],
    split: str,
    sources: Mapping[str, ImageSource],
    embed: bool,
    batch_rows: int = 100,
) -> Iterator[pa.RecordBatch]:
    """Yield a range of rows of a split's images table.

    Args:
        columns: entities of the split.
        image_rows: `(n,)` int32, each entity's row in the table, -1 where unused.
        span: first row, and the one after the last.
        split: written into the rows.
        sources: folder and licence of each source.
        embed: store the bytes; else only the absolute path of the unchanged file.
        batch_rows: most rows of a batch.

    Yields:
        Batches of the schema `IMAGES`, in the order of the rows.

    Raises:
        InputError: an image that was present when the annotations were read cannot be read now.
    """
    # The first entity of an image represents it: all its entities have one path and size.
    firsts = columns.first_of_image()
    entity_of = firsts[image_rows[firsts] >= 0][span[0] : span[1]]
    for start in range(0, len(entity_of), batch_rows):
        chosen = entity_of[start : start + batch_rows]
        table = columns.table.take(pa.array(chosen)).select(
            ["source", "image_id", "file_name", "path", "width", "height"]
        )
        rows = []
        for offset, entity in enumerate(table.to_pylist()):
            source = sources[entity["source"]]
            path = source.root / entity["path"]
            try:
                data = path.read_bytes()
            except OSError as error:
                raise InputError(f"image {path} cannot be read any more: {error}") from error
            stored = neutral_bytes(data) if embed else data
            name = Path(entity["file_name"]).name if embed else str(path.resolve())
            rows.append(
                {
                    "row": span[0] + start + offset,
                    "image_id": entity["image_id"],
                    "image": {"bytes": stored if embed else None, "path": name},
                    "width": entity["width"],
                    "height": entity["height"],
                    # Of the bytes that a reader of the table gets, so that it can check them.
                    "sha256": hashlib.sha256(stored).hexdigest(),
                    "source": entity["source"],
                    "split": split,
                    "licence": source.licence,
                }
            )
        yield pa.RecordBatch.from_pylist(rows, schema=IMAGES)
