"""Rows of `pairs` as `load_dataset` gives them: dictionaries that a notebook shows as images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets.formatting import Formatter, _register_formatter

from mixedparts.errors import InputError
from mixedparts.loading.pixels import PixelJoin, StoredRows
from mixedparts.loading.tables import load_table
from mixedparts.storage.build_folder import BuildFolder

FORMAT = "mixedparts"


class Row(dict[str, Any]):
    """A row of `pairs`. It is a dictionary; a notebook shows it with its images and masks."""

    def _repr_html_(self) -> str | None:
        """Return the row as `mixedparts.show` does; None if columns for that are missing."""
        from mixedparts.loading.shown_row import ShownRow, lacking

        return ShownRow(self)._repr_html_() if lacking(self) is None else None


class RowFormatter(Formatter):  # type: ignore[misc]  # `datasets` has no types
    """The format of `datasets` that adds `pixels` to the images of a row.

    A transform would do that too, but not survive `save_to_disk`: its values must be JSON.

    Args:
        place: the build folder or Hub id with the table `images`.
        build: id of the build; empty for a Hub id.
        tables: splits of `images` that the rows refer to.
        **options: of every formatter.
    """

    def __init__(self, place: str, build: str, tables: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self._join = PixelJoin(StoredTables(place, build, tuple(tables)))

    def format_row(self, pa_table: pa.Table) -> Row:
        """Return the only row of a table."""
        row = self.python_arrow_extractor().extract_row(pa_table)
        return Row(self._join.row(self.python_features_decoder.decode_row(row)))

    def format_column(self, pa_table: pa.Table) -> list[Any]:
        """Return the only column of a table."""
        return self.format_batch(pa_table)[pa_table.column_names[0]]

    def format_batch(self, pa_table: pa.Table) -> dict[str, list[Any]]:
        """Return the columns of a table."""
        batch = self.python_arrow_extractor().extract_batch(pa_table)
        return self._join(self.python_features_decoder.decode_batch(batch))


class Place(str):
    """A text whose pickle imports this module, and with it the format, in another process."""

    __slots__ = ()


class StoredTables(Mapping[str, StoredRows]):
    """Split -> rows of its `images`, loaded when they are first asked for.

    Args:
        place: the build folder or Hub id.
        build: id of the build; empty for a Hub id.
        tables: splits of `images`.
    """

    def __init__(self, place: str, build: str, tables: tuple[str, ...]) -> None:
        self._of = place, build
        self._tables = tables

    def __getitem__(self, table: str) -> StoredRows:
        if table not in self._tables:
            raise KeyError(table)
        return stored_images(*self._of, table)

    def __iter__(self) -> Any:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)


def with_pixels(place: Path | str, tables: Sequence[str], rows: datasets.Dataset) -> Any:
    """Return rows whose `images` have the key `pixels`.

    Args:
        place: the build folder or Hub id that the rows are of.
        tables: splits of `images` that the rows refer to.
        rows: of `pairs`.

    Returns:
        The rows in the format of `RowFormatter`.
    """
    where, build = str(place), ""
    if isinstance(place, Path):
        # Rows travel to other processes and folders, so the path does not depend on them.
        where, build = str(place.resolve()), BuildFolder.open(place).build_id
    for table in tables:
        stored_images(where, build, table)  # held, should the build be replaced later
    return rows.with_format(FORMAT, place=Place(where), build=build, tables=list(tables))


@lru_cache(maxsize=16)
def stored_images(place: str, build: str, table: str) -> StoredRows:
    """Return the rows of a split's `images`, undecoded, by number.

    Args:
        place: the build folder or Hub id.
        build: id of the build; empty for a Hub id.
        table: the split.

    Returns:
        A `Dataset`.

    Raises:
        InputError: the build is not there, or another one is in its place.
    """
    where: Path | str = Path(place) if build else place
    if isinstance(where, Path) and (found := BuildFolder.open(where).build_id) != build:
        raise InputError(
            f"{place} contains another build ({found[:16]}) than the rows are of ({build[:16]})",
            "Load the rows again: mixedparts.load_dataset(…)",
        )
    stored: Any = load_table(where, "images", table)
    # Undecoded: `datasets` would apply the EXIF orientation, and the masks lie on the stored grid.
    undecoded: StoredRows = stored.cast_column("image", datasets.Image(decode=False))
    return undecoded


# At import: rows in another process, or from disk, ask for the format by its name.
_register_formatter(RowFormatter, FORMAT)
