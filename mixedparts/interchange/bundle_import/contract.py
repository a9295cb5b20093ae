"""What an import needs of the readers of a bundle, and the registry that finds them.

The readers know native formats, so they live with the readers of the sources, which is above this
package. They come in through the entry-point group `mixedparts.bundles`, as sources come in through
`mixedparts.sources`.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from mixedparts.errors import EnvironmentFault
from mixedparts.records import ImageRecord, Reason, Reject

ENTRY_POINT_GROUP = "mixedparts.bundles"
Ids = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the files of one source and split lie.

    Attributes:
        objects: file of the object annotations.
        parts: file of the part annotations (PartImageNet), or folder of the part segmentation maps
            (ADE).
        pictures: folder that image paths are relative to.
        named: what `objects` and `parts` are called in rejects, by path.
    """

    objects: Path
    parts: Path | None
    pictures: Path
    named: dict[str, str]


@dataclass(frozen=True, slots=True)
class RecordSide:
    """What a record says about one of its two images.

    Attributes:
        image: id of the image in the source's annotation file.
        category: object class, in lower case.
        objects: annotation ids of its instances.
        common, unique: part name -> ids; annotation ids, or values of the part segmentation map
            (ADE).
    """

    image: str
    category: str
    objects: Ids
    common: dict[str, Ids]
    unique: dict[str, Ids]


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """One class of a common-object record, or one pair of a part record.

    Attributes:
        name: place in the file: record, and entry within it.
    """

    name: str
    source: str
    is_object: bool
    sides: tuple[RecordSide, RecordSide]


@dataclass(frozen=True, slots=True)
class Refused:
    """A record or an entry that cannot be used."""

    name: str
    source: str
    reason: Reason
    detail: str


class RecordFile(Protocol):
    """The records of one split, read one by one, never in memory as a whole."""

    def __len__(self) -> int:
        """Return the number of records."""
        ...

    def __iter__(self) -> Iterator[RecordEntry | Refused]:
        """Yield what the records contain, entry by entry."""
        ...


class AnnotationReader(Protocol):
    """Reads the images of one source that the records of a bundle name."""

    def records(self, split: str) -> Iterator[ImageRecord | Reject]:
        """Yield the records of wanted images; `image_id` is the upstream id."""
        ...


class BundleFormat(Protocol):
    """The readers of a bundle's files."""

    def open_records(self, path: Path) -> RecordFile:
        """Open the records of one split.

        Raises:
            InputError: the file is missing, is not JSON, or is not a list.
        """
        ...

    def annotations(
        self, source: str, place: Place, wanted: Container[str] | None
    ) -> AnnotationReader:
        """Return the reader of one source.

        Args:
            source: `paco`, `partimagenet` or `ade20k`.
            place: where its files are.
            wanted: upstream ids of the images to read; None: all images of the split.

        Returns:
            A reader with the same rules and reason codes as in a build.
        """
        ...


@cache
def bundle_format() -> BundleFormat:
    """Return the registered readers of the authors' bundle.

    Raises:
        EnvironmentFault: no installed package registers them.
    """
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name == "authors":
            found: BundleFormat = entry.load()()
            return found
    raise EnvironmentFault(
        f"no installed package registers bundle readers (entry-point group {ENTRY_POINT_GROUP})",
        "Install the project again: pip install --editable .",
    )
