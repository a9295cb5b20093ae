"""What every reader has to do with: pictures that can be used, and rejects of what cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from mixedparts.records import ImageRecord, Level, ObjectInstance, PartInstance, Reason, Reject

MAX_PIXELS = 1 << 29  # the mask code counts no further; no decoder opens such a picture either
MAX_DETAIL = 200  # characters; a broken record may quote itself at any length


@dataclass(frozen=True, slots=True)
class Picture:
    """A usable image record; `path` is relative to the source root, sizes are in pixels."""

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
        """Return the record of this picture with what was found in it."""
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
    """Makes the rejects of one annotation file."""

    source: str
    split: str
    file: str

    def __call__(self, level: Level, record_id: str, reason: Reason, detail: str = "") -> Reject:
        detail = detail[:MAX_DETAIL]
        return Reject(self.source, self.split, self.file, record_id, level, reason, detail)
