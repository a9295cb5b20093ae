"""The contract of a source reader, and the registry that finds readers by name.

A reader is registered under the entry-point group `mixedparts.sources` as a class without
constructor arguments. The built-in readers use the same group: this package imports no reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
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
    "SeparatesImages",
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
        split: one of `SPLITS`; the split of the records, also if several splits share a file.
        root: folder that the source's layout starts from.
        file: annotation file, relative to `root`, POSIX separators.
        start, stop: positions in the list of images of the file, stop excluded.
        variant: a choice that only this source has (ADE: the val/test split).
    """

    # Plain values only: a shard is sent to worker processes, and its positions name the same images
    # after a restart.
    source: str
    split: str
    root: str
    file: str
    start: int
    stop: int
    variant: str = ""


class Source(Protocol):
    """The methods of a source reader; `tests/builders/conformance.py` checks any implementation.

    Attributes:
        name: registered name.
        version: version of the reader, recorded in the build manifest.
    """

    name: str
    version: str

    def layout(self, root: Path) -> str:
        """Return the tree of files that the reader expects, as lines of text."""
        ...

    def splits(self, root: Path) -> tuple[str, ...]:
        """Return those of `SPLITS` whose annotation file exists.

        Raises:
            InputError: an annotation file exists, but one of its folders does not.
        """
        ...

    def required_files(self, root: Path, split: str) -> tuple[str, ...]:
        """Return the annotation files and folders of a split, relative to `root`.

        Annotation files and folders of segmentation maps come before image folders; a change in any
        of them changes the build id. Files in folders are known by their content, but for JPEG
        files and for folders of images (`SeparatesImages`), which are known by names and sizes.
        """
        ...

    def plan(self, root: Path, split: str, shard_images: int, variant: str) -> list[ReadShard]:
        """Divide a split into shards.

        Args:
            root: folder that the source's layout starts from.
            split: one of `SPLITS`.
            shard_images: most image records in a shard.
            variant: a choice that only this source has; empty for its default.

        Returns:
            The shards, in file order.

        Raises:
            InputError: an annotation file cannot be read as a whole.
            UsageError: the source has no such split or variant.
        """
        ...

    def read(self, shard: ReadShard) -> Iterator[ImageRecord | Reject]:
        """Yield a record for each usable image of the shard, and a reject for each other record.

        A bad record never stops the reader and is always reported: records in = records out plus
        rejects (the conformance checks count them). The shard with the position of an unusable
        image reports it. The shard that starts at 0 reports what belongs to no image: annotations
        of unknown images and broken categories.
        """
        ...


@runtime_checkable
class SelfDescribed(Protocol):
    """A source with its own manifest, for sources without a file in `manifests/`.

    The manifest has classes, part names, comparable groups, licence and citation. A source without
    any manifest keeps its native names, and each class is compared with itself only.
    """

    def manifest(self, root: Path | None) -> Manifest | None:
        """Return the manifest of the source.

        Args:
            root: folder that the source's layout starts from; None if it is not known.

        Returns:
            The manifest; None if it is a file below the root and `root` is None.

        Raises:
            InputError: the file of the manifest is missing or broken.
        """
        ...


@runtime_checkable
class SeparatesImages(Protocol):
    """A source that knows which of its folders contain images and nothing else.

    Images have many gigabytes, so the build id depends on their names and sizes only. All files of
    a source without this method are known by their content, except JPEG files.
    """

    def image_folders(self, root: Path, split: str) -> tuple[str, ...]:
        """Return those of `required_files` that contain only images, relative to `root`."""
        ...


def available() -> tuple[str, ...]:
    """Return the names of all registered sources, sorted."""
    return tuple(sorted({entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)}))


def get_source(name: str) -> Source:
    """Return the reader registered under `name`.

    Raises:
        UsageError: no source has this name; the message has the nearest names.
        InputError: the package that registers it cannot be imported.
    """
    return _reader(name)()


# A reader is looked up for every shard, and a search of the installed packages takes 15 ms. What
# fails is not cached: a package may be installed or repaired meanwhile.
@cache
def _reader(name: str) -> Callable[[], Source]:
    """Return the class of the reader registered under `name`; see `get_source`."""
    # Only the module of this reader is imported: a broken package of another source, or one with
    # heavy imports, does not matter.
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name == name:
            try:
                reader: Callable[[], Source] = entry.load()
            # The import of another package may raise any error.
            except Exception as error:
                raise InputError(
                    f"source '{name}' ({entry.value}) cannot be imported: {error}",
                    "Repair or remove the package that registers it.",
                ) from error
            return reader
    raise UsageError(
        f"there is no source '{name}'.{near_names(name, available())}",
        f"Known sources: {', '.join(available())}",
    )
