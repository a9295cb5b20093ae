"""The two results of every reader: the header of a usable image, and rejects of all else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from mixedparts.records import ImageRecord, Level, ObjectInstance, PartInstance, Reason, Reject

# A run in a compressed mask has at most 30 bits with its sign (see `mixedparts.masks`). Pillow
# opens no image of this size either.
MAX_PIXELS = 1 << 29
# In characters. Details quote the broken value, which can have any length.
MAX_DETAIL = 200


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an annotation file records of a usable image.

    Attributes:
        record_id: upstream id as text.
        image_id: id of the image in the source; see `ImageRecord.image_id`.
        file_name: as the annotation file writes it.
        name: `file_name` as a checked relative path.
        path: the image file, relative to the source root, POSIX separators.
        width, height: pixels of the stored grid.
    """

    record_id: str
    image_id: str
    file_name: str
    name: PurePosixPath
    path: str
    width: int
    height: int

    def record(
        self,
        refuse: Refuser,
        objects: Sequence[ObjectInstance],
        parts: Sequence[PartInstance],
        parts_known: bool = True,
    ) -> ImageRecord:
        """Return the record of this image with its usable objects and parts.

        Args:
            refuse: has the source and split of the record.
            objects: usable objects.
            parts: usable parts; each belongs to one of `objects`.
            parts_known: False if the parts of this image cannot be read.

        Returns:
            The record.
        """
        return ImageRecord(
            source=refuse.source,
            split=refuse.split,
            image_id=self.image_id,
            file_name=self.file_name,
            path=self.path,
            width=self.width,
            height=self.height,
            objects=tuple(objects),
            parts=tuple(parts),
            parts_known=parts_known,
        )


@dataclass(frozen=True, slots=True)
class Refuser:
    """Creates the rejects of one annotation file.

    Attributes:
        source: registered name of the reader.
        split: `train`, `validation` or `test`.
        file: the file, relative to the source root, POSIX separators.
    """

    source: str
    split: str
    file: str

    def __call__(self, level: Level, record_id: str, reason: Reason, detail: str = "") -> Reject:
        """Return the reject of one record; see `Reject` for the arguments."""
        detail = detail[:MAX_DETAIL]
        return Reject(self.source, self.split, self.file, record_id, level, reason, detail)
