"""A build folder read with pyarrow and json alone, as a stranger would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def iter_rows(
    build: Path, table: str, split: str | None = None, columns: list[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table, of one split or of all, in the order of the files."""
    for path in sorted((build / table).glob(f"{split or '*'}-*.parquet")):
        yield from pq.ParquetFile(path).read(columns).to_pylist()


def read_manifest(build: Path) -> dict[str, Any]:
    """Return the manifest of a build."""
    manifest: dict[str, Any] = json.loads((build / "manifest.json").read_bytes())
    return manifest


def all_rows(out: Path) -> list[dict[str, Any]]:
    """Return the rows of `pairs` of every split and of the benchmark."""
    splits = ("train", "validation", "test", "benchmark")
    return [row for split in splits for row in iter_rows(out, "pairs", split)]
