"""Options of an export, and the result that the writer of a format returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from mixedparts.errors import UsageError
from mixedparts.progress import Progress
from mixedparts.records import BENCHMARK, SPLITS
from mixedparts.storage.build_folder import BuildFolder

EXPORT_SPLITS = (*SPLITS, BENCHMARK)
# Default limit of rows a split for Parquet, which repeats an image in every row that shows it.
PARQUET_LIMIT = 1_000
_MOST_SHARD_ROWS = 1_000_000_000  # more than any table has, and few enough for every counter


class Format(StrEnum):
    """The formats in which a build can be written."""

    PUBLISHED = "published"
    COCO = "coco"
    WEBDATASET = "webdataset"
    PARQUET = "parquet"


class Visibility(StrEnum):
    """Meaning of the number `visibility` in a record of the bundle.

    The authors do not document it; their loaders only sort by its sum, ascending. Their COCO
    wrapper stores annotation area over image area, so that is the default.
    """

    IMAGE_SHARE = "image-share"  # area of the mask over the area of its image
    OBJECT_SHARE = "object-share"  # parts: area over that of their object; objects: as above
    CONSTANT = "constant"  # 0 everywhere, so that a loader keeps the order of the records


class Origin(StrEnum):
    """The files that the records of a bundle refer to for PACO's ids and ADE20K's part maps."""

    OWN = "own"  # files written from the build; the user of the bundle adds only the images
    ORIGINAL = "original"  # upstream's file and maps, as in the authors' bundle


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """Options of one export.

    Attributes:
        build: folder of the build to export.
        format: format to write.
        out: folder to write to.
        splits: splits to write; empty: train, validation and test where they have rows.
        limit: most rows of each split; None: all (Parquet: `PARQUET_LIMIT`).
        pictures: whether a COCO export contains the images.
        shard_rows: samples in one WebDataset or Parquet shard.
        visibility: meaning of `visibility` in the records of a bundle.
        annotations: files that the records of a bundle refer to.
        root: upstream's folders, for `Origin.ORIGINAL`.

    Raises:
        UsageError: an option is out of range, a split does not exist, `out` and `build` lie in
            one another, or two splits would share a file; the message lists all faults.
    """

    build: Path
    format: Format
    out: Path
    splits: tuple[str, ...] = ()
    limit: int | None = None
    pictures: bool = True
    shard_rows: int = 1_000
    visibility: Visibility = Visibility.IMAGE_SHARE
    annotations: Origin = Origin.OWN
    root: Path = Path("sources")

    def __post_init__(self) -> None:
        faults = [
            f"{name} must be at least 1, not {value}"
            for name, value in (("--limit", self.limit), ("--shard-rows", self.shard_rows))
            if value is not None and value < 1
        ]
        if self.shard_rows > _MOST_SHARD_ROWS:
            faults.append(f"--shard-rows must be at most {_MOST_SHARD_ROWS:,}")
        # A plain text, as a script may give, is not the member of the same name for `is`.
        enums = {"format": Format, "visibility": Visibility, "annotations": Origin}
        for name, kind in enums.items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, kind(value))
            except ValueError:
                faults.append(f"{name} {value!r}, choose from {', '.join(kind)}")
        faults += [f"there is no split '{name}'" for name in self.splits
                   if name not in EXPORT_SPLITS]  # fmt: skip
        out, build = self.out.resolve(), self.build.resolve()
        # `--overwrite` removes `out` as a whole, and a build must not contain foreign files.
        if out == build or out in build.parents or build in out.parents:
            faults.append(f"--out {self.out} and the build {self.build} lie in one another")
        if self.format is Format.PUBLISHED and {"test", BENCHMARK} <= set(self.splits):
            faults.append("published: test and benchmark would share mixed_parts_test.json")
        if faults:
            raise UsageError("\n".join(faults), f"Splits: {', '.join(EXPORT_SPLITS)}")

    @property
    def rows_a_split(self) -> int | None:
        """Most rows of a split that are written; None: all."""
        if self.limit is None and self.format is Format.PARQUET:
            return PARQUET_LIMIT
        return self.limit

    def identity(self) -> dict[str, Any]:
        """Return the options that decide the result, as JSON values; folders are not among them."""
        options: dict[str, Any] = {"format": str(self.format), "splits": sorted(self.splits)}
        options["limit"] = self.rows_a_split
        if self.format is Format.PUBLISHED:
            options |= {"visibility": str(self.visibility), "annotations": str(self.annotations)}
        elif self.format is Format.COCO:
            options["pictures"] = self.pictures
        else:
            options["shard_rows"] = self.shard_rows
        return options


@dataclass(slots=True)
class Outcome:
    """Result of a format's writer.

    Attributes:
        rows: split -> written rows.
        left_out: reason -> rows that the format cannot represent.
        notes: limits of the format and hints for its readers, one sentence each.
        use: how to read the export, as Markdown.
        front: values of the YAML header of the export's README; `datasets` reads them there.
    """

    rows: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    use: str = ""
    front: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """An export in progress, as the writer of a format receives it.

    Attributes:
        request: options of the export.
        build: the build to export.
        splits: split -> rows to read, for each split to write.
        out: temporary folder to write to; it is renamed when it is complete.
        progress: receives the progress of the writer.
    """

    request: ExportRequest
    build: BuildFolder
    splits: dict[str, int]
    out: Path
    progress: Progress


Writer = Callable[[Job], Outcome]
