"""The contract of a source reader, and the registry that finds readers by name.

A reader is registered under the entry-point group `mixedparts.sources` as a class without
constructor arguments; the built-in ones come in through the same door.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

from mixedparts.errors import InputError, UsageError, near_names
from mixedparts.records import SPLITS, ImageRecord, Reject
from mixedparts.sources.manifest_types import Manifest

__all__ = [
    "ENTRY_POINT_GROUP",
    "SPLITS",
    "ReadShard",
    "SelfDescribed",
    "Source",
    "available",
    "get_source",
]

ENTRY_POINT_GROUP = "mixedparts.sources"


@dataclass(frozen=True, slots=True)
class ReadShard:
    """A run of consecutive image records of one annotation file: the unit of reading.

    Attributes:
        source: registered name of the reader.
        split: one of `SPLITS`; the records' split, also where several splits share a file.
        root: folder that the source's layout starts from.
        file: annotation file, relative to `root`, POSIX separators.
        start, stop: positions in the file's list of images, stop excluded.
        variant: a choice that only this source understands (ADE: how validation is divided).
    """

    source: str
    split: str
    root: str
    file: str
    start: int
    stop: int
    variant: str = ""


class Source(Protocol):
    """What a builder author writes; `tests/builders/conformance.py` holds the inherited checks."""

    name: str
    version: str

    def layout(self, root: Path) -> str:
        """Return the tree of files that the source is looked for in, as lines of text."""
        ...

    def splits(self, root: Path) -> tuple[str, ...]:
        """Return those of `SPLITS` whose annotation file is there.

        Raises:
            InputError: an annotation file is there but a folder that belongs to it is not.
        """
        ...

    def required_files(self, root: Path, split: str) -> tuple[str, ...]:
        """Return annotation files and folders that a split is read from, relative to `root`.

        Annotation files and map folders come before picture folders; a change in any of them
        changes the build id.
        """
        ...

    def plan(self, root: Path, split: str, shard_images: int, variant: str) -> list[ReadShard]:
        """Divide a split into shards of at most `shard_images` image records, in file order.

        Raises:
            InputError: an annotation file cannot be read as a whole.
            UsageError: there is no such split or variant.
        """
        ...

    def read(self, shard: ReadShard) -> Iterator[ImageRecord | Reject]:
        """Yield every image of the shard that can be used, and a reject for all that cannot.

        A bad record never stops the reader, and none goes without a word: records in = records out
        plus rejects (the exact accounting stands in the conformance checks). An unusable image
        record is reported by the shard that holds its position, what belongs to no image (an
        annotation of an unknown image, a broken category) by the shard that starts at 0.
        """
        ...


@runtime_checkable
class SelfDescribed(Protocol):
    """A source that brings its own manifest, where `manifests/` has none of its name.

    Classes, part names, comparable groups, licence and citation come from there; a source without
    any manifest keeps its native names, and each class is compared with itself only.
    """

    def manifest(self, root: Path | None) -> Manifest | None:
        """Return what is known of the source.

        Args:
            root: folder that the source's layout starts from; None where nobody named one.

        Returns:
            None where that stands in files below a root, and none is given.

        Raises:
            InputError: a file that says it is missing or broken.
        """
        ...


def available() -> tuple[str, ...]:
    """Return the names of all registered sources, sorted."""
    return tuple(sorted({entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)}))


def get_source(name: str) -> Source:
    """Return the reader registered under `name`.

    Raises:
        UsageError: no source of this name, with the nearest names.
        InputError: the package that registers it cannot be imported.
    """
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name == name:
            try:
                reader = entry.load()
            except Exception as error:  # a stranger's package may fail in any way
                raise InputError(
                    f"source '{name}' ({entry.value}) cannot be imported: {error}",
                    "Repair or remove the package that registers it.",
                ) from error
            source: Source = reader()
            return source
    raise UsageError(
        f"there is no source '{name}'.{near_names(name, available())}",
        f"Known sources: {', '.join(available())}",
    )
