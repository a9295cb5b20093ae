"""The one door to a finished build: its manifest, schema version, splits, shards and tables.

Everything that reads a build folder opens it here: `load_dataset`, verification, statistics,
gallery, export, push, and training and evaluation of CALICO. The pipeline, which writes the folder,
takes the file names from here too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from mixedparts.errors import InputError, UsageError, near_names
from mixedparts.records import SPLITS
from mixedparts.storage.schema import CONFIGS, SCHEMA_VERSION
from mixedparts.storage.shards import WrittenFile

MANIFEST = "manifest.json"
CARD = "README.md"
REJECTS_FILE = "rejects.parquet"
PLAN = Path("_build/plan.json")
BENCHMARK = "benchmark"  # a split of `pairs` whose rows are copies of rows of test
# The order of splits wherever they are listed; `preview` is the split of the table of that name.
SPLIT_ORDER = (*SPLITS, BENCHMARK, "preview")


class _Configuration(msgspec.Struct):
    min_object_area: float
    min_part_area: float
    images: str
    profile: str = "full"


class _ManifestShape(msgspec.Struct):
    """What readers rely on; a manifest may hold more."""

    build_id: str
    schema_version: int
    synthetic: bool
    configuration: _Configuration
    sources: dict[str, dict[str, Any]]
    counts: dict[str, dict[str, dict[str, int]]]
    benchmark: dict[str, Any]
    rejects: dict[str, int]
    shards: list[WrittenFile]


def shard_name(table: str, split: str, number: int, of: int) -> str:
    """Return the path of a shard, relative to the build folder.

    Args:
        table: `pairs`, `images`, `entities` or `preview`.
        split: the shard's split.
        number: place of the shard among those of its split, from 0.
        of: number of shards of the split.

    Returns:
        POSIX path, such as `pairs/train-00000-of-00004.parquet`.
    """
    return f"{table}/{split}-{number:05d}-of-{of:05d}.parquet"


def shard_pattern(table: str, split: str) -> str:
    """Return the glob pattern of all shards of a table and split, relative to the build folder."""
    return f"{table}/{split}-*.parquet"


def stored_manifest(path: Path) -> dict[str, Any] | None:
    """Return the manifest in a folder as it is written; None where there is no finished build."""
    try:
        value = json.loads((path / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and "shards" in value else None


def stored_plan(path: Path) -> dict[str, Any] | None:
    """Return the plan that a build folder was begun with; None where there is none."""
    try:
        value = json.loads((path / PLAN).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and "build_id" in value else None


def manifest_faults(manifest: Mapping[str, Any]) -> list[str]:
    """Return a sentence for everything that makes a manifest unusable.

    The version comes first: a manifest of another schema version may have any shape.
    """
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        return [f"schema version {version}, this program reads version {SCHEMA_VERSION}"]
    try:
        shape = msgspec.convert(dict(manifest), _ManifestShape)
    except msgspec.ValidationError as error:
        return [f"not as a build writes it: {error}"]
    # A manifest can come from anywhere, and readers join these paths to the folder.
    return [
        f"names a file outside the build: {shard.path}"
        for shard in shape.shards
        if PurePosixPath(shard.path).is_absolute() or ".." in PurePosixPath(shard.path).parts
    ]


@dataclass(frozen=True)
class BuildFolder:
    """A finished build on disk, open for reading.

    Attributes:
        path: the build folder.
        manifest: the JSON values of its manifest.
    """

    path: Path
    manifest: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def open(cls, path: Path, check: bool = True) -> BuildFolder:
        """Open a build folder.

        Args:
            path: the folder.
            check: refuse another schema version and a damaged manifest. Verification opens without
                this check, because it reports both as problems.

        Returns:
            The open build.

        Raises:
            InputError: the folder contains no finished build, a build of another schema version, or
                a damaged manifest; the message ends with the command that helps.
        """
        manifest = stored_manifest(path)
        if manifest is None:
            raise InputError(
                f"{path} contains no finished build (no readable {MANIFEST})",
                "Run the `mixedparts build` command again: it goes on where it stopped.",
            )
        if check and (faults := manifest_faults(manifest)):
            raise InputError(f"{path / MANIFEST}: {faults[0]}", _hint(path, manifest))
        return cls(path, manifest)

    def __reduce__(self) -> tuple[Any, ...]:
        # Tasks carry their build to worker processes: the path is enough, and each process then
        # reads the manifest once.
        return _reopened, (self.path,)

    @property
    def build_id(self) -> str:
        """Identity of the build: a hash of its configuration, code and inputs."""
        return str(self.manifest["build_id"])

    @property
    def synthetic(self) -> bool:
        """Whether any source of the build is synthetic."""
        return bool(self.manifest["synthetic"])

    @property
    def profile(self) -> str:
        """The profile whose class and part names the build uses."""
        return str(self.configuration.get("profile", "full"))

    @property
    def configuration(self) -> Mapping[str, Any]:
        """The choices that the build was made with."""
        configuration: Mapping[str, Any] = self.manifest["configuration"]
        return configuration

    @property
    def plan(self) -> dict[str, Any] | None:
        """The stored plan; None in a copy of the dataset without `_build`."""
        return stored_plan(self.path)

    @cached_property
    def shards(self) -> tuple[WrittenFile, ...]:
        """All data files with their rows, bytes and digests, `rejects.parquet` included."""
        return tuple(WrittenFile(**shard) for shard in self.manifest["shards"])

    @property
    def bytes(self) -> int:
        """Size of all data files in bytes."""
        return sum(shard.bytes for shard in self.shards)

    def splits(self, table: str = "pairs") -> tuple[str, ...]:
        """Return the splits that a table has files of, train first."""
        there = {_split_of(shard) for shard in self.shards if _table_of(shard) == table}
        ordered = [split for split in SPLIT_ORDER if split in there]
        return (*ordered, *sorted(there.difference(ordered)))

    def check_split(self, split: str, table: str = "pairs") -> None:
        """Refuse a split that a table does not have.

        Raises:
            UsageError: there is no such split; the message names those there are.
        """
        there = self.splits(table)
        if split not in there:
            raise UsageError(
                f"{self.path} has no split '{split}'.{near_names(split, there)}",
                f"Splits there: {', '.join(there) or 'none'}",
            )

    def check_table(self, table: str, split: str) -> None:
        """Refuse to read a table that has no file of a split.

        Raises:
            InputError: there is none; the message names the splits that the table has.
        """
        if split not in self.splits(table):
            raise InputError(
                f"the dataset {self.path} has no {table} of split '{split}'",
                f"Splits: {', '.join(self.splits(table)) or 'none'}",
            )

    def table_shards(self, table: str, split: str | None = None) -> tuple[WrittenFile, ...]:
        """Return the files of a table, of one split or of all, in the order of their names."""
        mine = (
            shard
            for shard in self.shards
            if _table_of(shard) == table and (split is None or _split_of(shard) == split)
        )
        return tuple(sorted(mine, key=lambda shard: shard.path))

    def files(self, table: str, split: str | None = None) -> list[Path]:
        """Return the paths of `table_shards`."""
        return [self.path / shard.path for shard in self.table_shards(table, split)]

    def count(self, table: str, split: str | None = None) -> int:
        """Return the rows of a table, of one split or of all."""
        return sum(shard.rows for shard in self.table_shards(table, split))

    def open_shard(self, relative: str) -> pq.ParquetFile:
        """Open one data file, named relative to the build folder.

        Raises:
            InputError: the file is missing or is not Parquet.
        """
        path = self.path / relative
        try:
            return pq.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"{path} cannot be read: {error}", f"Type: mixedparts verify {self.path}"
            ) from error

    def batches(
        self,
        table: str,
        split: str | None = None,
        columns: Sequence[str] | None = None,
        rows: int = 1_000,
    ) -> Iterator[pa.RecordBatch]:
        """Yield a table batch by batch.

        Args:
            table: `pairs`, `images`, `entities` or `preview`.
            split: one split; None for all of them.
            columns: columns, or paths of leaf columns; None for all of them.
            rows: at most so many rows a batch.

        Yields:
            Record batches with these columns, in the order of the files.

        Raises:
            InputError: a file is missing or damaged.
        """
        wanted = None if columns is None else list(columns)
        for shard in self.table_shards(table, split):
            try:
                yield from self.open_shard(shard.path).iter_batches(rows, columns=wanted)
            except (OSError, pa.ArrowException) as error:
                raise InputError(
                    f"{self.path / shard.path} cannot be read: {error}",
                    f"Type: mixedparts verify {self.path}",
                ) from error

    def rows(
        self, table: str, split: str | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of a table as dicts; a thousand of them are in memory at a time.

        Args:
            table: `pairs`, `images`, `entities` or `preview`.
            split: one split; None for all of them.
            columns: columns to read; None for all of them.

        Yields:
            One dict a row.

        Raises:
            InputError: a file is missing or damaged.
        """
        for batch in self.batches(table, split, columns):
            yield from batch.to_pylist()

    def read(
        self, table: str, split: str, columns: Sequence[str] | None = None, **options: Any
    ) -> pa.Table:
        """Read a table of one split into memory.

        Args:
            table: `pairs`, `images`, `entities` or `preview`.
            split: one split.
            columns: columns, or paths of leaf columns; None for all of them.
            **options: passed on to `pyarrow.parquet.read_table`, such as `read_dictionary`.

        Returns:
            The rows in the order of the files, one or more chunks a file.

        Raises:
            InputError: the build has no such split, or a file is missing or damaged.
        """
        self.check_table(table, split)
        files = self.files(table, split)
        wanted = None if columns is None else list(columns)
        try:
            return pa.concat_tables(pq.read_table(f, columns=wanted, **options) for f in files)
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"{table} of split '{split}' cannot be read: {error}",
                f"Type: mixedparts verify {self.path}",
            ) from error


@lru_cache(maxsize=4)
def _reopened(path: Path) -> BuildFolder:
    return BuildFolder.open(path, check=False)


def _table_of(shard: WrittenFile) -> str:
    table, slash, _ = shard.path.partition("/")
    return table if slash and table in CONFIGS else ""


def _split_of(shard: WrittenFile) -> str:
    return PurePosixPath(shard.path).name.split("-")[0]


def _hint(path: Path, manifest: Mapping[str, Any]) -> str:
    """Return the command that helps with a manifest that cannot be used."""
    version = manifest.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        return "A newer mixedparts wrote it: pip install --upgrade mixedparts (checkout: git pull)"
    if version == SCHEMA_VERSION:
        return f"See what else is wrong: mixedparts verify {path}"
    sources = manifest.get("sources")
    names = " ".join(sorted(sources)) if isinstance(sources, dict) and sources else "NAME"
    return f"Build it again: mixedparts build --sources {names} --out {path} --overwrite"
