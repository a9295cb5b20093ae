"""The two results of every reader: the header of a usable image, and rejects of all else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from mixedparts.images.checks import check_image
from mixedparts.records import ImageRecord, Level, ObjectInstance, PartInstance, Reason, Reject

# An annotation with this many pixels, or more, is broken if its image has another size.
_IMPLAUSIBLE = 1 << 29
# In characters. Details quote the broken value, which can have any length.
MAX_DETAIL = 200


class ImageHeader(msgspec.Struct, frozen=True, gc=False):
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

    def at(self, path: str) -> ImageHeader:
        """Return the header with the path of its file."""
        return ImageHeader(
            self.record_id, self.image_id, self.file_name, self.name, path, self.width, self.height
        )

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


def image_fault(path: Path, width: int, height: int) -> tuple[Reason, str] | None:
    """Check an image file against its annotation, as `check_image` does.

    An image that really has more than `mixedparts.images.opening.MAX_PIXELS` is unreadable, as for
    everything that opens images, however many its annotation claims.

    Args:
        path: the image file.
        width: annotated width of the stored grid in pixels.
        height: annotated height of the stored grid in pixels.

    Returns:
        None if the image can be used, else the reason code and a sentence for people.
    """
    fault = check_image(path, width, height)
    if fault is not None and fault[0] is Reason.SIZE_MISMATCH and width * height >= _IMPLAUSIBLE:
        return Reason.MALFORMED_RECORD, f"{width} x {height} is not the size of an image"
    return fault
