"""The only reader of finished builds: manifest, schema version, splits, shards and tables.

Everything that reads a build folder opens it here: `load_dataset`, verification, statistics, the
page of samples, export, push, and training and evaluation of CALICO. The pipeline, which writes the
folder, takes the file names from here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixedparts.errors import InputError, UsageError, near_names
from mixedparts.files.foreign import packed_or_absent
from mixedparts.files.opening import check_regular, is_there, read_head
from mixedparts.files.text import read_own_json
from mixedparts.records import BENCHMARK, SPLITS
from mixedparts.settings.local_paths import typed
from mixedparts.storage.copies import local_file, name_of
from mixedparts.storage.manifest_shape import manifest_faults, manifest_hint
from mixedparts.storage.schema import CONFIGS, REJECTS
from mixedparts.storage.shards import WrittenFile

MANIFEST = "manifest.json"
CARD = "README.md"
CROISSANT = "croissant.json"
REJECTS_FILE = "rejects.parquet"
PLAN = Path("_build/plan.json")
# The order of splits wherever they are listed; `preview` is the split of the table of that name.
SPLIT_ORDER = (*SPLITS, BENCHMARK, "preview")
# What reading a damaged file raises: a wrong byte in the name of a column is no error of Arrow.
_READ_ERRORS = (OSError, pa.ArrowException, UnicodeDecodeError)


class DamagedShard(InputError):
    """A data file of a build is missing or cannot be read.

    Args:
        build: the build folder.
        shard: path of the file, relative to the build folder.
        reason: why it cannot be read.
    """

    def __init__(self, build: Path, shard: str, reason: str) -> None:
        name = name_of(build)
        super().__init__(
            f"{name}/{shard} cannot be read: {reason}", f"Type: mixedparts verify {typed(name)}"
        )
        self.build, self.shard, self.reason = build, shard, reason

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.build, self.shard, self.reason)


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
    # As many digits in all names of a split, so that names in order are shards in order.
    digits = max(5, len(str(of)))
    return f"{table}/{split}-{number:0{digits}d}-of-{of:0{digits}d}.parquet"


def shard_pattern(table: str, split: str) -> str:
    """Return the glob pattern of all shards of a table and split, relative to the build folder."""
    return f"{table}/{split}-*.parquet"


def stored_manifest(path: Path) -> dict[str, Any] | None:
    """Return the manifest in a folder, unchecked; None where there is no finished build."""
    return _stored(path / MANIFEST, shards=list)


def stored_plan(path: Path) -> dict[str, Any] | None:
    """Return the plan that was stored in a build folder; None where there is none."""
    return _stored(path / PLAN, build_id=str, identity=dict)


def _stored(path: Path, **types: type) -> dict[str, Any] | None:
    """Return a JSON object with values of these types; None where a file has no such object."""
    # A file that somebody edited can contain anything.
    value = read_own_json(path)
    if not isinstance(value, dict):
        return None
    return value if all(isinstance(value.get(key), t) for key, t in types.items()) else None


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
            why = f"no readable {MANIFEST}" if is_there(path) else "there is no such folder"
            hint = "Run the `mixedparts build` command: it continues where it stopped."
            raise InputError(f"{name_of(path)} contains no finished build ({why})", hint)
        if check and (faults := manifest_faults(manifest)):
            raise InputError(f"{path / MANIFEST}: {faults[0]}", manifest_hint(path, manifest))
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
        """The configuration of the build, without folders, workers and engine."""
        configuration: Mapping[str, Any] = self.manifest["configuration"]
        return configuration

    @property
    def plan(self) -> dict[str, Any] | None:
        """The stored plan; None in a copy of the dataset without `_build`."""
        return stored_plan(self.path)

    @cached_property
    def shards(self) -> tuple[WrittenFile, ...]:
        """All data files with their rows, bytes and digests, with `rejects.parquet`."""
        return tuple(WrittenFile(**shard) for shard in self.manifest["shards"])

    @property
    def bytes(self) -> int:
        """Size of all data files in bytes."""
        return sum(shard.bytes for shard in self.shards)

    def splits(self, table: str = "pairs") -> tuple[str, ...]:
        """Return the splits that a table has files of, train first."""
        present = {_split_of(shard) for shard in self.shards if _table_of(shard) == table}
        ordered = [split for split in SPLIT_ORDER if split in present]
        # A manifest from elsewhere may list others; they come last.
        return (*ordered, *sorted(present.difference(ordered)))

    def check_split(self, split: str, table: str = "pairs") -> None:
        """Check that a table has a split that a user named.

        Raises:
            UsageError: it does not; the message lists its splits.
        """
        splits = self.splits(table)
        if split not in splits:
            raise UsageError(
                f"{name_of(self.path)} has no split '{split}'.{near_names(split, splits)}",
                f"Splits there: {', '.join(splits) or 'none'}",
            )

    def check_table(self, table: str, split: str) -> None:
        """Check that a table has files of a split before it is read.

        Raises:
            InputError: it has none; the message lists its splits.
        """
        if split not in self.splits(table):
            raise InputError(
                f"the dataset {name_of(self.path)} has no {table} of split '{split}'",
                f"Splits: {', '.join(self.splits(table)) or 'none'}",
            )

    def table_shards(self, table: str, split: str | None = None) -> tuple[WrittenFile, ...]:
        """Return the files of a table, of one split or of all, in the order of their names."""
        shards = (
            shard
            for shard in self.shards
            if _table_of(shard) == table and (split is None or _split_of(shard) == split)
        )
        # Shard numbers have equally many digits, so names in order are rows in order.
        return tuple(sorted(shards, key=lambda shard: shard.path))

    def count(self, table: str, split: str | None = None) -> int:
        """Return the number of rows of a table, of one split or of all."""
        return sum(shard.rows for shard in self.table_shards(table, split))

    @contextmanager
    def open_shard(self, relative: str, **options: Any) -> Iterator[pq.ParquetFile]:
        """Open one data file for the length of a `with` block.

        Args:
            relative: path of the file, relative to the build folder.
            **options: passed on to `pyarrow.parquet.ParquetFile`, such as `read_dictionary`.

        Yields:
            The open file.

        Raises:
            DamagedShard: the file is missing, has other columns than the schema, or opening or
                reading it in the block fails.
        """
        # Opening reads the footer alone; a damaged page raises its error when it is read.
        try:
            path = local_file(self.path, relative, self.shards)
            check_regular(path)
            with pq.ParquetFile(path, **options) as file:
                # Parquet leaves out columns that are not there without a word. Metadata does not
                # count: it only has hints for `datasets` and pandas.
                columns = file.schema.to_arrow_schema().remove_metadata()
                if columns != CONFIGS.get(relative.partition("/")[0], REJECTS):
                    raise DamagedShard(self.path, relative, "other columns than the schema has")
                yield file
        except _READ_ERRORS as error:
            # One problem is one line of a report. Messages of Arrow have several lines, and
            # characters of the damaged file.
            printable = "".join(c if c.isprintable() else " " for c in str(error))
            reason = " ".join(printable.split())
            # A clone of a pushed build has pointers instead of its tables without Git LFS.
            path = self.path / relative
            with suppress(InputError):
                if clause := packed_or_absent(read_head(path), str(path)):
                    reason = f"it {clause}"
            raise DamagedShard(self.path, relative, reason) from error

    def shard_batches(
        self, relative: str, columns: Sequence[str] | None = None, rows: int = 1_000
    ) -> Iterator[pa.RecordBatch]:
        """Yield one data file batch by batch.

        Args:
            relative: path of the file, relative to the build folder.
            columns: columns, or paths of leaf columns; None for all of them.
            rows: most rows of a batch.

        Yields:
            Record batches with these columns.

        Raises:
            DamagedShard: the file is missing or damaged.
        """
        wanted = None if columns is None else list(columns)
        with self.open_shard(relative) as file:
            for batch in file.iter_batches(rows, columns=wanted):
                # Arrow does not check texts until they become Python values, which is too late.
                batch.validate(full=True)
                yield batch

    def read_shard(
        self, relative: str, columns: Sequence[str] | None = None, **options: Any
    ) -> pa.Table:
        """Read one data file into memory.

        Args:
            relative: path of the file, relative to the build folder.
            columns: columns, or paths of leaf columns; None for all of them.
            **options: passed on to `pyarrow.parquet.ParquetFile`, such as `read_dictionary`.

        Returns:
            The rows with these columns, one chunk or more a row group.

        Raises:
            DamagedShard: the file is missing or damaged.
        """
        wanted = None if columns is None else list(columns)
        with self.open_shard(relative, **options) as file:
            # One by one: Arrow cannot read nested dictionaries of several row groups at once.
            groups = [file.read_row_group(n, wanted) for n in range(file.num_row_groups)]
            table = pa.concat_tables(groups) if groups else file.read(wanted)
            table.validate(full=True)
        return table

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
            rows: most rows of a batch.

        Yields:
            Record batches with these columns, in the order of the files.

        Raises:
            DamagedShard: a file is missing or damaged.
        """
        for shard in self.table_shards(table, split):
            yield from self.shard_batches(shard.path, columns, rows)

    def rows(
        self, table: str, split: str | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of a table as dicts; a thousand of them are in memory at a time.

        Args:
            table: `pairs`, `images`, `entities` or `preview`.
            split: one split; None for all of them.
            columns: columns, or paths of leaf columns; None for all of them.

        Yields:
            One dict a row.

        Raises:
            DamagedShard: a file is missing or damaged.
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
            **options: passed on to `pyarrow.parquet.ParquetFile`, such as `read_dictionary`.

        Returns:
            The rows in the order of the files, one or more chunks a file.

        Raises:
            InputError: the build has no such split.
            DamagedShard: a file is missing or damaged.
        """
        self.check_table(table, split)
        shards = self.table_shards(table, split)
        tables = [self.read_shard(shard.path, columns, **options) for shard in shards]
        try:
            return pa.concat_tables(tables)
        except pa.ArrowException as error:  # files of different columns
            raise InputError(
                f"{table} of split '{split}' cannot be read: {error}",
                f"Type: mixedparts verify {typed(name_of(self.path))}",
            ) from error


@lru_cache(maxsize=4)
def _reopened(path: Path) -> BuildFolder:
    """Return the build of a path; a process opens it once, without a second check."""
    return BuildFolder.open(path, check=False)


def _table_of(shard: WrittenFile) -> str:
    """Return the table of a data file; empty for `rejects.parquet`."""
    table, slash, _ = shard.path.partition("/")
    return table if slash and table in CONFIGS else ""


def _split_of(shard: WrittenFile) -> str:
    """Return the split of a shard, which its name begins with (`shard_name`)."""
    return PurePosixPath(shard.path).name.split("-")[0]
