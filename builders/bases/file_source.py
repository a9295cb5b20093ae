"""Base class of the readers with one annotation file an image: splits, shards, accounting.

A split is a list of annotation files in a fixed order. A file that cannot be read is one reject of
level image and does not stop the reader.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from builders.bases.sharded_source import ShardedSource
from builders.formats.image_rejects import ImageHeader, Refuser, image_fault
from builders.formats.val_test_split import OFFICIAL, val_or_test
from mixedparts.records import ImageRecord, Level, Reason, Reject
from mixedparts.sources.contract import ReadShard


class UnusableImage(Exception):
    """An image that cannot be used.

    Args:
        reason: code of the fault.
        detail: a sentence for people.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class FileSource(ShardedSource):
    """Base of the readers with one annotation file an image.

    Upstream has train and validation. A hash of the image id puts each validation image into
    `validation` or `test`, as for ADE20K-Part-234, unless the variant is `official`.
    """

    variants: ClassVar[tuple[str, ...]] = ("", "hash", OFFICIAL)

    @abstractmethod
    def layout(self, root: Path) -> str:
        """Return the tree of files that the reader expects, as lines of text."""

    @abstractmethod
    def required_files(self, root: Path, split: str) -> tuple[str, ...]:
        """Return the files and folders of a split; see `Source.required_files`."""

    @abstractmethod
    def splits(self, root: Path) -> tuple[str, ...]:
        """Return the splits whose files exist; see `Source.splits`."""

    @abstractmethod
    def listing(self, root: Path, split: str) -> Sequence[str | Reject]:
        """Return the annotation files of a split in order, and rejects for bad entries of a list.

        Raises:
            InputError: the list of the images is missing or unreadable.
        """

    @abstractmethod
    def read_file(self, root: Path, file: str, refuse: Refuser) -> Iterator[ImageRecord | Reject]:
        """Yield the record of the image of one file, and a reject for each record refused.

        Args:
            root: folder that the source's layout starts from.
            file: the annotation file, relative to `root`.
            refuse: creates the rejects.

        Yields:
            Rejects in any order, and one `ImageRecord` if the image is usable.

        Raises:
            UnusableImage: the image cannot be used.
        """

    def entries(self, root: Path, split: str) -> tuple[str, int]:
        """Return the first required file and the number of annotation files.

        Raises:
            InputError: the list of the images is missing or unreadable.
        """
        # Positions count all files of the upstream split: `validation` and `test` share a list, and
        # each shard leaves out the images of the other split.
        total = len(self.listing(root, split))
        return self.required_files(root, split)[0], total

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
            # `read_file` may have yielded rejects before it raises; each of them counts.
            try:
                yield from self.read_file(root, item, refuse)
            except UnusableImage as fault:
                yield refuse(Level.IMAGE, stem, fault.reason, fault.detail)

    def _selects(self, shard: ReadShard, image_id: str) -> bool:
        if shard.split == "train" or shard.variant == OFFICIAL:
            return True
        return shard.split == val_or_test(image_id)


def checked_image(
    root: Path, image_id: str, file_name: str, path: PurePosixPath, width: int, height: int
) -> ImageHeader:
    """Check an image file and return its header.

    Args:
        root: folder that the source's layout starts from.
        image_id: id of the image; also its `record_id`.
        file_name: as the annotation file writes it.
        path: the image file, relative to `root`.
        width: annotated width of the stored grid in pixels.
        height: annotated height of the stored grid in pixels.

    Returns:
        The header of an image that decodes and has this size.

    Raises:
        UnusableImage: the file is missing, does not decode, or has another size.
    """
    if min(width, height) < 1:
        raise UnusableImage(
            Reason.MALFORMED_RECORD, f"{width} x {height} is not the size of an image"
        )
    fault = image_fault(root / path, width, height)
    if fault is not None:
        raise UnusableImage(*fault)
    return ImageHeader(image_id, image_id, file_name, path, str(path), width, height)
