"""Numbers of a build for people and programs: samples, usage, areas, answers."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from mixedparts.build_manifest import read_manifest
from mixedparts.errors import InputError
from mixedparts.parquet import table_files

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def collect(build: Path) -> dict[str, Any]:
    """Return the statistics of a build as JSON values.

    Raises:
        InputError: there is no finished build in the folder.
    """
    manifest = read_manifest(build)
    if manifest is None:
        raise InputError(f"{build} holds no finished build")
    samples, regions, uses = (pd.concat(f, ignore_index=True) for f in _frames(build))
    areas = regions.groupby("level")["share"].quantile(np.array(_QUANTILES)).unstack()
    cells = samples.groupby(["split", "source", "task"]).size()
    usage = uses.groupby(["source", "task", "image_id"]).size().groupby(["source", "task"])
    return {
        "build_id": manifest["build_id"],
        "synthetic": manifest["synthetic"],
        "samples": {_joined(key): int(n) for key, n in cells.items()},
        "class_pairs": _top(samples["classes"]),
        "classes": _top(regions.loc[regions.level == "object", "name"]),
        "parts": _top(regions.loc[regions.level == "part", "name"]),
        "image_use": {
            _joined(key): {f"{q:.0%}": float(n.quantile(q)) for q in _QUANTILES} for key, n in usage
        },
        "mask_share_of_image": {
            str(level): {f"{q:.0%}": round(float(v), 5) for q, v in row.items()}
            for level, row in areas.iterrows()
        },
        "answer_words": {
            str(task): round(float(words.mean()), 2)
            for task, words in samples.groupby("task")["words"]
        },
    }


def _frames(build: Path) -> tuple[list[pd.DataFrame], list[pd.DataFrame], list[pd.DataFrame]]:
    """Return frames of samples, of regions, and of (sample, image) uses; masks are not read."""
    samples, regions, uses = [], [], []
    columns = ["source", "split", "task", "answer", "images"]
    fields = ["image", "category", "name", "area"]
    leaves = [f"objects.list.element.{field}" for field in fields]
    leaves += [f"parts.list.element.{field}" for field in fields]
    for split in ("train", "validation", "test"):
        for path in table_files(build, "pairs", split):
            for batch in pq.ParquetFile(path).iter_batches(1_000, columns=columns + leaves):
                rows = batch.to_pylist()
                samples.append(pd.DataFrame(map(_sample, rows)))
                regions.append(pd.DataFrame(r for row in rows for r in _regions(row)))
                uses.append(pd.DataFrame(u for row in rows for u in _uses(row)))
    return samples, regions, uses


def _sample(row: dict[str, Any]) -> dict[str, Any]:
    classes = " + ".join(sorted(item["category"] for item in row["objects"]))
    kept = {key: row[key] for key in ("source", "split", "task")}
    return {**kept, "classes": classes, "words": len(row["answer"].split())}


def _regions(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for level, key, items in (
        ("object", "category", row["objects"]),
        ("part", "name", row["parts"]),
    ):
        for item in items:
            image = row["images"][item["image"]]
            share = item["area"] / (image["width"] * image["height"])
            yield {"level": level, "name": item[key], "share": share}


def _uses(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for image in row["images"]:
        yield {"source": row["source"], "task": row["task"], "image_id": image["image_id"]}


def _joined(key: Hashable) -> str:
    return " / ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _top(names: pd.Series[str]) -> dict[str, int]:
    return {str(name): int(number) for name, number in names.value_counts(sort=True).items()}


def as_text(values: dict[str, Any], most: int = 15) -> str:
    """Return the statistics as text, the longest lists cut."""
    made = " (synthetic)" if values["synthetic"] else ""
    lines = [f"build {values['build_id']}{made}"]
    for key, found in values.items():
        if not isinstance(found, dict):
            continue
        lines.append(f"\n{key.replace('_', ' ')}:")
        for name, number in list(found.items())[:most]:
            text = number
            if isinstance(number, dict):
                text = ", ".join(f"{q} {v:g}" for q, v in number.items())
            lines.append(f"  {name}: {text}")
        if len(found) > most:
            lines.append(f"  … and {len(found) - most} more; all of them with --json")
    return "\n".join(lines)
