"""Base class of the readers that divide a split into shards by positions in one list."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from mixedparts.errors import UsageError
from mixedparts.sources.contract import SPLITS, ReadShard


class ShardedSource(ABC):
    """Base of the readers whose split is one list of records, in a fixed order."""

    name: str
    version: str
    variants: ClassVar[tuple[str, ...]] = ("",)

    @abstractmethod
    def entries(self, root: Path, split: str) -> tuple[str, int] | None:
        """Return the file that rejects of a split name, and the number of records to divide.

        None if the source does not have the split.

        Raises:
            InputError: the list of the records is missing or unreadable.
        """

    def plan(self, root: Path, split: str, shard_images: int, variant: str) -> list[ReadShard]:
        """Divide a split into shards; see `Source.plan`.

        Args:
            root: folder that the source's layout starts from.
            split: `train`, `validation` or `test`.
            shard_images: most records in a shard.
            variant: one of `variants`.

        Returns:
            The shards in the order of the records; one empty shard for a split without records.

        Raises:
            InputError: the list of the records is missing or unreadable.
            UsageError: the source has no such split or variant, or `shard_images` is below 1.
        """
        if variant not in self.variants:
            variants = ", ".join(f"'{item}'" for item in self.variants)
            raise UsageError(f"{self.name} has no variant '{variant}'", f"It has: {variants}")
        if shard_images < 1:
            raise UsageError(f"a shard of {shard_images} images is not possible", "Use 1 or more")
        entries = self.entries(root, split) if split in SPLITS else None
        if entries is None:
            raise UsageError(f"{self.name} has no split '{split}'", f"Splits: {', '.join(SPLITS)}")
        file, total = entries
        # Without records there is still one shard: the one that starts at 0 reports stray records.
        return [
            ReadShard(
                self.name, split, str(root), file, start, min(start + shard_images, total), variant
            )
            for start in range(0, max(total, 1), shard_images)
        ]
