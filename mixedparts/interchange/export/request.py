"""What an export is asked for, and what it has to say at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from mixedparts.errors import UsageError
from mixedparts.progress import Progress
from mixedparts.sources.contract import SPLITS

BENCHMARK = "benchmark"
EXPORT_SPLITS = (*SPLITS, BENCHMARK)
PARQUET_LIMIT = 1_000  # rows a split; pixels are repeated in every row that shows them


class Format(StrEnum):
    """The formats a build can be written in."""

    PUBLISHED = "published"
    COCO = "coco"
    WEBDATASET = "webdataset"
    PARQUET = "parquet"


class Visibility(StrEnum):
    """What stands under `visibility` in a published record.

    Its meaning is not documented; the authors' loaders only sort by its sum, ascending. Their COCO
    wrapper stores annotation area over image area, so that is the default.
    """

    IMAGE_SHARE = "image-share"  # area of the mask over that of its image
    OBJECT_SHARE = "object-share"  # parts: area over that of their object; objects as above
    CONSTANT = "constant"  # 0 everywhere: the order of the records is left as it is


class Origin(StrEnum):
    """Whose annotation ids a published record carries for PACO, and whose part maps for ADE."""

    OWN = "own"  # files written from the build: only pictures must be laid beside the bundle
    ORIGINAL = "original"  # upstream's own file and maps, as the published bundle does


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """Choices of one export.

    Attributes:
        splits: which to write; empty: train, validation and test where they have rows.
        limit: most rows of each split; None: all (Parquet: `PARQUET_LIMIT`).
        pictures: whether a COCO export holds the pictures.
        shard_rows: samples in one WebDataset or Parquet shard.
        root: upstream's folders, for `Origin.ORIGINAL`.
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
        faults += [f"there is no split '{name}'" for name in self.splits
                   if name not in EXPORT_SPLITS]  # fmt: skip
        out, build = self.out.resolve(), self.build.resolve()
        if out == build or out in build.parents or build in out.parents:
            faults.append(f"--out {self.out} and the build {self.build} lie in one another")
        if self.format is Format.PUBLISHED and {"test", BENCHMARK} <= set(self.splits):
            faults.append("published: test and benchmark would share mixed_parts_test.json")
        if faults:
            raise UsageError("\n".join(faults), f"Splits: {', '.join(EXPORT_SPLITS)}")

    @property
    def rows_a_split(self) -> int | None:
        """How many rows of a split are written at most."""
        if self.limit is None and self.format is Format.PARQUET:
            return PARQUET_LIMIT
        return self.limit

    def identity(self) -> dict[str, Any]:
        """Return the choices that decide the result, as JSON values; folders are not among them."""
        known: dict[str, Any] = {"format": str(self.format), "splits": sorted(self.splits)}
        known["limit"] = self.rows_a_split
        if self.format is Format.PUBLISHED:
            known |= {"visibility": str(self.visibility), "annotations": str(self.annotations)}
        elif self.format is Format.COCO:
            known["pictures"] = self.pictures
        else:
            known["shard_rows"] = self.shard_rows
        return known


@dataclass(slots=True)
class Outcome:
    """What a format's writer did.

    Attributes:
        rows: written rows by split.
        left_out: rows that the format cannot hold, by reason.
        notes: what the format cannot hold, and what to know to read it; one sentence each.
        use: how to read the export, as Markdown.
        front: YAML at the head of the export's README, for formats whose readers look there.
    """

    rows: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    use: str = ""
    front: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """An export under way.

    Attributes:
        splits: those to write, with how many rows of each are read.
        out: the folder to write to; it gets its name when everything is in it.
        manifest: of the build.
    """

    request: ExportRequest
    splits: dict[str, int]
    out: Path
    manifest: dict[str, Any]
    progress: Progress


Writer = Callable[[Job], Outcome]
