"""The contract of a bundle's readers, and the registry that finds them.

The readers know the native formats, so they are in the package of the source readers, which this
package must not import. They register in the entry-point group `mixedparts.bundles`, as sources
register in `mixedparts.sources`.
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
    """Paths of the files of one source and split.

    Attributes:
        objects: file of the object annotations.
        parts: file of the part annotations (PartImageNet), or folder of the part segmentation maps
            (ADE20K); None for PACO, whose parts are in `objects`.
        image_root: folder that image paths are relative to.
        layout_names: path -> name of the file in the bundle's layout, for rejects.
    """

    objects: Path
    parts: Path | None
    image_root: Path
    layout_names: dict[str, str]


@dataclass(frozen=True, slots=True)
class RecordSide:
    """One of the two images of a record, with the class and parts that the record names.

    Attributes:
        image: id of the image in the source's annotation file.
        category: object class, in lower case.
        objects: annotation ids of its instances, sorted.
        common: common parts, name -> annotation ids or (ADE20K) values of the segmentation map.
        unique: unique parts, likewise.
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
        name: position in the file: record, and entry within it.
        source: name of the source here, such as `paco`.
        is_object: whether it is of a common-object record and names no parts.
        sides: the two images.
    """

    name: str
    source: str
    is_object: bool
    sides: tuple[RecordSide, RecordSide]


@dataclass(frozen=True, slots=True)
class Refused:
    """A record or an entry that cannot be used, or a pair that gives no row.

    Attributes:
        name: position in the file: record, and entry within it.
        source: name of the source here; empty if the record names none that is known.
        reason: reason code of the reject.
        detail: the reason in words.
    """

    name: str
    source: str
    reason: Reason
    detail: str


class RecordFile(Protocol):
    """The records of one split, read one by one.

    An import iterates several times, so each iteration starts at the first record.
    """

    def __len__(self) -> int:
        """Return the number of records."""
        ...

    def __iter__(self) -> Iterator[RecordEntry | Refused]:
        """Yield the entries of the records, and a refusal for each that cannot be used."""
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
            readers: BundleFormat = entry.load()()
            return readers
    raise EnvironmentFault(
        f"no installed package registers bundle readers (entry-point group {ENTRY_POINT_GROUP})",
        "Install the project again: pip install --editable .",
    )
