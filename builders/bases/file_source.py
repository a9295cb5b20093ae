"""What the readers of one annotation file an image share: splits, shards, and the accounting.

A file that cannot be read as what it should be is one reject of level image: of thousands, one
broken file stops nothing. A split is a list of such files in a fixed order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from builders.formats.image_rejects import MAX_PIXELS, Picture, Refuser
from builders.formats.val_test_split import OFFICIAL, val_or_test
from mixedparts.errors import UsageError
from mixedparts.images.checks import check_image
from mixedparts.records import ImageRecord, Level, Reason, Reject
from mixedparts.sources.contract import SPLITS, ReadShard


class Refused(Exception):
    """An image that cannot be used, with the reason code and a sentence for people."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class FileSource(ABC):
    """Base of the readers with one annotation file an image.

    Upstream has train and validation; each validation image is in `validation` or in `test`, by
    the hash of its id that also divides ADE20K-Part-234, unless the variant is `official`.
    """

    name: str
    version: str
    variants: ClassVar[tuple[str, ...]] = ("", "hash", OFFICIAL)

    @abstractmethod
    def layout(self, root: Path) -> str:
        """Return the tree of files that the source is looked for in."""

    @abstractmethod
    def required_files(self, root: Path, split: str) -> tuple[str, ...]:
        """Return what a split is read from; see `Source.required_files`."""

    @abstractmethod
    def splits(self, root: Path) -> tuple[str, ...]:
        """Return the splits that are there; see `Source.splits`."""

    @abstractmethod
    def listing(self, root: Path, split: str) -> Sequence[str | Reject]:
        """Return the annotation files of a split in order, and rejects for bad entries of a list.

        Raises:
            InputError: what lists them is missing or unreadable.
        """

    @abstractmethod
    def read_file(self, root: Path, file: str, refuse: Refuser) -> Iterator[ImageRecord | Reject]:
        """Yield the record of one file's image, and a reject for all in it that is refused.

        Raises:
            Refused: the image cannot be used.
        """

    def plan(self, root: Path, split: str, shard_images: int, variant: str) -> list[ReadShard]:
        """Divide a split into shards; see `Source.plan`."""
        if variant not in self.variants:
            known = ", ".join(f"'{item}'" for item in self.variants)
            raise UsageError(f"{self.name} has no variant '{variant}'", f"It has: {known}")
        if split not in SPLITS:
            raise UsageError(f"{self.name} has no split '{split}'", f"Splits: {', '.join(SPLITS)}")
        if shard_images < 1:
            raise UsageError(f"a shard of {shard_images} images is not possible", "Use 1 or more")
        total = len(self.listing(root, split))
        where = self.required_files(root, split)[0]
        return [
            ReadShard(
                self.name, split, str(root), where, start, min(start + shard_images, total), variant
            )
            for start in range(0, max(total, 1), shard_images)
        ]

    def read(self, shard: ReadShard) -> Iterator[ImageRecord | Reject]:
        """Yield the records and rejects of a shard; see `Source.read`."""
        root = Path(shard.root)
        for item in self.listing(root, shard.split)[shard.start : shard.stop]:
            if isinstance(item, Reject):
                if self._selects(shard, item.record_id):
                    yield item
                continue
            stem = PurePosixPath(item).stem
            if not self._selects(shard, stem):
                continue
            refuse = Refuser(self.name, shard.split, item)
            try:
                yield from self.read_file(root, item, refuse)
            except Refused as fault:
                yield refuse(Level.IMAGE, stem, fault.reason, fault.detail)

    def _selects(self, shard: ReadShard, image_id: str) -> bool:
        if shard.split == "train" or shard.variant == OFFICIAL:
            return True
        return shard.split == val_or_test(image_id)


def checked_image(
    root: Path, image_id: str, file_name: str, path: PurePosixPath, width: int, height: int
) -> Picture:
    """Return a picture that decodes and has its annotated size in pixels.

    Raises:
        Refused: it does not.
    """
    if min(width, height) < 1 or width * height >= MAX_PIXELS:
        raise Refused(Reason.MALFORMED_RECORD, f"{width} x {height} is no size of an image")
    fault = check_image(root / path, width, height)
    if fault is not None:
        raise Refused(*fault)
    return Picture(image_id, image_id, file_name, path, str(path), width, height)
