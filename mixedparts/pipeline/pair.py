"""The second stage: the entities of all shards to the list of samples, one task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixedparts.entities.table import EntityColumns, map_table
from mixedparts.pairing.samples import benchmark_rows, cell_counts, preview_rows, used_images
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.select import Selection, select, sources_of_cells
from mixedparts.pipeline.workspace import WORK, store_array, store_rejects, store_table
from mixedparts.records import Level, Reason, Reject
from mixedparts.sources.contract import SPLITS
from mixedparts.storage.build_folder import BENCHMARK
from mixedparts.storage.shards import Commit, WrittenFile, commit, committed


def run_pair(config: BuildConfig, reads: list[Commit]) -> Commit:
    """Gather the entities of each split, draw the samples, and store both."""
    build, base = config.out, config.out / WORK
    done = committed(build, "pair", base)
    if done:
        return done
    files: list[WrittenFile] = []
    splits, rejects = _gather(config, reads, files)
    selected = select(config, splits)
    samples = {split: found.samples for split, found in selected.items()}
    facts = {split: _selection(found) for split, found in selected.items()}
    return store_samples(config, splits, samples, rejects, files, facts)


def store_samples(
    config: BuildConfig,
    splits: dict[str, EntityColumns],
    samples: dict[str, NDArray[np.void]],
    rejects: list[Reject],
    files: list[WrittenFile],
    selection: Mapping[str, Any] = MappingProxyType({}),
) -> Commit:
    """Store the samples of all splits with what writing the tables needs to know of them.

    Args:
        rejects: what pairing refused.
        files: working files that are there already, the entities of each split among them.
        selection: for each split how its samples were divided, if this build has drawn them.
    """
    build, base = config.out, config.out / WORK
    counts: dict[str, Any] = {"rejects": {}}
    if rejects:
        files.append(store_rejects(base, "rejects/pair.arrow", rejects))
        counts["rejects"] = dict(sorted(Counter(str(item.reason) for item in rejects).items()))
    for split, columns in splits.items():
        rows = used_images(samples[split], columns)
        files.append(store_array(base, f"{split}-samples.npy", samples[split]))
        files.append(store_array(base, f"{split}-image-rows.npy", rows))
        counts[split] = {
            "pairs": len(samples[split]),
            "images": int(rows.max(initial=-1)) + 1,
            "cells": cell_counts(samples[split], columns),
            "selection": selection.get(split, {}),
            "source_images": _images_by_source(columns, rows),
            "entities": columns.table.num_rows,
            "source_entities": _entities_by_source(columns),
        }
    for name, found, chosen in _subsets(config, splits, samples):
        counts[name] = found
        files.append(store_array(base, f"{name}-rows.npy", chosen))
    return commit(build, Commit("pair", tuple(files), counts))


def _gather(
    config: BuildConfig, reads: list[Commit], files: list[WrittenFile]
) -> tuple[dict[str, EntityColumns], list[Reject]]:
    """Store one table of entities a split.

    An image that several splits of a source list counts for the first of them, so that nothing
    of train is seen again in validation or test; `ade20k_test: official` asks for just that.

    Returns:
        The tables, and a reject for every image that a split had to give up.
    """
    base = config.out / WORK
    splits: dict[str, EntityColumns] = {}
    rejects: list[Reject] = []
    owners: dict[tuple[str, str], str] = {}
    for split in SPLITS:
        tables = [
            map_table(base / record.files[0].path)
            for record in reads
            if record.counts["split"] == split and record.files[0].rows
        ]
        if not tables:
            continue
        table = pa.concat_tables(tables)
        kept = _kept(config, split, table, owners, rejects)
        if not all(kept):
            table = table.filter(pa.array(kept))
        if table.num_rows:
            files.append(store_table(base, f"{split}.arrow", table))
            splits[split] = EntityColumns.of(map_table(base / f"{split}.arrow"))
    return splits, rejects


def _kept(
    config: BuildConfig,
    split: str,
    table: pa.Table,
    owners: dict[tuple[str, str], str],
    rejects: list[Reject],
) -> list[bool]:
    """Return for each entity whether its image belongs to this split; note the splits' images."""
    keys = list(zip(*(table[name].to_pylist() for name in ("source", "image_id")), strict=True))
    files = table["file_name"].to_pylist()
    kept, told = [], set()
    for key, file in zip(keys, files, strict=True):
        owner = owners.setdefault(key, split)
        kept.append(owner == split or bool(config.variant(key[0])))
        if not kept[-1] and key not in told:
            told.add(key)
            detail = f"its image is in {owner} already"
            rejects.append(
                Reject(key[0], split, file, key[1], Level.IMAGE, Reason.DUPLICATE_ID, detail)
            )
    return kept


def _subsets(
    config: BuildConfig, splits: dict[str, EntityColumns], samples: dict[str, NDArray[np.void]]
) -> Iterator[tuple[str, dict[str, Any], NDArray[np.int64]]]:
    """Yield name, counts and rows of what is shown or tested apart: benchmark and preview."""
    if "test" in splits:
        chosen, empty = _benchmark(config, samples["test"], splits["test"])
        found = {
            "of": "test",
            "pairs": len(chosen),
            "cells": cell_counts(samples["test"][chosen], splits["test"]),
            "empty_cells": [list(cell) for cell in empty],
        }
        yield BENCHMARK, found, chosen
    shown = next((split for split in ("test", "validation", "train") if split in splits), None)
    if shown is not None:
        chosen = preview_rows(samples[shown], splits[shown])
        yield "preview", {"preview": len(chosen), "of": shown}, chosen


def _benchmark(
    config: BuildConfig, samples: NDArray[np.void], columns: EntityColumns
) -> tuple[NDArray[np.int64], list[tuple[str, str]]]:
    tasks = config.identity()["tasks"]
    labels = ["+".join(sources) for sources in sources_of_cells(config)]
    cells = [(label, str(task)) for label in labels for task in tasks]
    return benchmark_rows(samples, columns, cells)


def _selection(found: Selection) -> dict[str, dict[str, dict[str, int]]]:
    """Return {source: {task: facts}} of how the samples of a split were divided."""
    facts: dict[str, dict[str, dict[str, int]]] = {}
    for (source, task), limit in found.limits.items():
        numbers = {"image_limit": limit, "class_pairs": found.class_pairs[source, task]}
        facts.setdefault(source, {})[task] = numbers
    return facts


def _images_by_source(columns: EntityColumns, rows: NDArray[np.int32]) -> dict[str, int]:
    codes, names = columns.coded("source")
    return {n: len(np.unique(rows[(codes == i) & (rows >= 0)])) for i, n in enumerate(names)}


def _entities_by_source(columns: EntityColumns) -> dict[str, int]:
    codes, names = columns.coded("source")
    return {name: int((codes == code).sum()) for code, name in enumerate(names)}
