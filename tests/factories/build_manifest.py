"""The manifest of a fabricated build, from the Parquet files that lie in its folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def stamp_manifest(folder: Path, build_id: str = "b" * 64, **changes: Any) -> Path:
    """Write `manifest.json` and a card, as complete as readers ask for.

    Args:
        folder: a folder with tables, such as `pairs/train-00000-of-00001.parquet`.
        build_id: identity of the build.
        **changes: other values for keys of the manifest.
    """
    shards = [
        {
            "path": path.relative_to(folder).as_posix(),
            "rows": pq.read_metadata(path).num_rows,
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(folder.glob("*/*.parquet"))
    ]
    configuration = {"min_object_area": 0.0, "min_part_area": 0.0, "images": "embed"}
    manifest = {
        "build_id": build_id,
        "schema_version": 2,
        "synthetic": True,
        "configuration": {**configuration, "profile": "full"},
        "sources": {},
        "counts": {},
        "benchmark": {},
        "rejects": {},
        "shards": shards,
    }
    (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))
    (folder / "README.md").write_text("---\n---\n")
    return folder
