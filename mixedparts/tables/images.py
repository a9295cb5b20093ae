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
from mixedparts.images.exif import neutral_bytes
from mixedparts.storage.schema import IMAGES
from mixedparts.tables.image_files import image_files


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
        InputError: an image is no longer the one that was there when the annotations were read.
    """
    # The first entity of an image represents it: all its entities have one path and size.
    firsts = columns.first_of_image()
    entity_of = firsts[image_rows[firsts] >= 0][span[0] : span[1]]
    # Links above the root are resolved, as in the configuration; those below it stay, so that every
    # path of the table starts with the root.
    roots = {name: source.root.resolve() for name, source in sources.items()}
    for start in range(0, len(entity_of), batch_rows):
        files = image_files(columns, entity_of[start : start + batch_rows], roots)
        rows = []
        for offset, file in enumerate(files):
            data = file.read()
            stored = neutral_bytes(data) if embed else data
            name = Path(file.file_name).name if embed else str(file.path)
            rows.append(
                {
                    "row": span[0] + start + offset,
                    "image_id": file.image_id,
                    "image": {"bytes": stored if embed else None, "path": name},
                    "width": file.width,
                    "height": file.height,
                    # Of the bytes that a reader of the table gets, so that it can check them.
                    "sha256": hashlib.sha256(stored).hexdigest(),
                    "source": file.source,
                    "split": split,
                    "licence": sources[file.source].licence,
                }
            )
        yield pa.RecordBatch.from_pylist(rows, schema=IMAGES)
