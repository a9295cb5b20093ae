"""The second stage: from the entities of all read shards to the list of samples, in one task.

It is one task because every choice of the sampler depends on the choices before it. Entities are
numbers here, so one process is enough for millions of rows; no mask is decoded.
"""

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
from mixedparts.pipeline.empty_cells import Causes
from mixedparts.pipeline.select import Selection, select, sources_of_cells
from mixedparts.pipeline.workspace import WORK, store_array, store_rejects, store_table
from mixedparts.records import BENCHMARK, SPLITS, Level, Reason, Reject
from mixedparts.storage.shards import Commit, WrittenFile, commit, committed


def run_pair(config: BuildConfig, reads: list[Commit]) -> Commit:
    """Gather the entities of each split and select the samples, unless that is done already."""
    build, base = config.out, config.out / WORK
    done = committed(build, "pair", base)
    if done:
        return done
    files: list[WrittenFile] = []
    splits, rejects = _gather(config, reads, files)
    selected = select(config, splits)
    samples = {split: selection.samples for split, selection in selected.items()}
    metadata = {split: _metadata(selection) for split, selection in selected.items()}
    empty = {split: selection.empty for split, selection in selected.items()}
    return store_samples(config, splits, samples, rejects, files, metadata, empty)


def store_samples(
    config: BuildConfig,
    splits: dict[str, EntityColumns],
    samples: dict[str, NDArray[np.void]],
    rejects: list[Reject],
    files: list[WrittenFile],
    selection: Mapping[str, Any] = MappingProxyType({}),
    empty: Mapping[str, Causes] = MappingProxyType({}),
) -> Commit:
    """Store the samples of all splits, with the row numbers and counts that writing needs.

    Args:
        config: of the build.
        splits: the entities of each split.
        samples: for each split `(n,)` of `sample_type`, in the order of their ids.
        rejects: images that pairing rejected.
        files: working files that are stored already, with the entities of each split; gets the
            files that are stored here.
        selection: for each split the metadata of its selection, if this build has selected its
            samples.
        empty: for each split why cells have no samples, likewise.

    Returns:
        The commit record of the task `pair`.
    """
    build, base = config.out, config.out / WORK
    counts: dict[str, Any] = {"rejects": {}}
    if rejects:
        files.append(store_rejects(base, "rejects/pair.arrow", rejects))
        counts["rejects"] = dict(sorted(Counter(str(item.reason) for item in rejects).items()))
    for split, columns in splits.items():
        # Images are numbered in the order of the entities, from 0; -1 marks those without a sample.
        # Both write tasks and rows of `pairs` use these numbers.
        rows = used_images(samples[split], columns)
        files.append(store_array(base, f"{split}-samples.npy", samples[split]))
        files.append(store_array(base, f"{split}-image-rows.npy", rows))
        counts[split] = {
            "pairs": len(samples[split]),
            "images": int(rows.max(initial=-1)) + 1,
            "cells": cell_counts(samples[split], columns),
            "selection": selection.get(split, {}),
            "empty": empty.get(split, {}),
            "source_images": _images_by_source(columns, rows),
            "entities": columns.table.num_rows,
            "source_entities": _entities_by_source(columns),
        }
    for name, subset, chosen in _subsets(config, splits, samples):
        counts[name] = subset
        files.append(store_array(base, f"{name}-rows.npy", chosen))
    return commit(build, Commit("pair", tuple(files), counts))


def _gather(
    config: BuildConfig, reads: list[Commit], files: list[WrittenFile]
) -> tuple[dict[str, EntityColumns], list[Reject]]:
    """Store one table of entities for each split.

    An image that is in several splits of a source stays in the first of them only, so that no image
    of train is in validation or test too. With `ade20k_test: official` it stays in all of them, as
    in the bundle of the authors.

    Returns:
        The tables, and a reject for every image that was removed from a split.
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
        # `reads` is in the order of the plan, and so are the entities.
        table = pa.concat_tables(tables)
        assigned = _assigned(config, split, table, owners, rejects)
        if not all(assigned):
            table = table.filter(pa.array(assigned))
        if table.num_rows:
            # Stored as one batch and mapped again: `EntityColumns` needs contiguous columns, and
            # worker processes share the mapped pages.
            files.append(store_table(base, f"{split}.arrow", table))
            splits[split] = EntityColumns.of(map_table(base / f"{split}.arrow"))
    return splits, rejects


def _assigned(
    config: BuildConfig,
    split: str,
    table: pa.Table,
    owners: dict[tuple[str, str], str],
    rejects: list[Reject],
) -> list[bool]:
    """Return for each entity whether its image stays in this split.

    Args:
        config: of the build.
        split: the split of the table.
        table: entities that were read for this split.
        owners: (source, image id) -> the first split with this image; gets the images of the table.
        rejects: gets one reject for each image that is in an earlier split.

    Returns:
        One value a row of the table.
    """
    keys = list(zip(*(table[name].to_pylist() for name in ("source", "image_id")), strict=True))
    files = table["file_name"].to_pylist()
    assigned, reported = [], set()
    for key, file in zip(keys, files, strict=True):
        owner = owners.setdefault(key, split)
        assigned.append(owner == split or bool(config.variant(key[0])))
        # An image has one row for each of its entities, but is one record.
        if not assigned[-1] and key not in reported:
            reported.add(key)
            detail = f"its image is in {owner} already"
            rejects.append(
                Reject(key[0], split, file, key[1], Level.IMAGE, Reason.DUPLICATE_ID, detail)
            )
    return assigned


def _subsets(
    config: BuildConfig, splits: dict[str, EntityColumns], samples: dict[str, NDArray[np.void]]
) -> Iterator[tuple[str, dict[str, Any], NDArray[np.int64]]]:
    """Yield name, counts and `(k,)` rows of the subsets of samples: benchmark and preview."""
    if "test" in splits:
        chosen, empty = _benchmark(config, samples["test"], splits["test"])
        counts = {
            "of": "test",
            "pairs": len(chosen),
            "cells": cell_counts(samples["test"][chosen], splits["test"]),
            "empty_cells": [list(cell) for cell in empty],
        }
        yield BENCHMARK, counts, chosen
    # The preview is for people to look at: of held-out images if there are any.
    shown = next((split for split in ("test", "validation", "train") if split in splits), None)
    if shown is not None:
        chosen = preview_rows(samples[shown], splits[shown])
        yield "preview", {"preview": len(chosen), "of": shown}, chosen


def _benchmark(
    config: BuildConfig, samples: NDArray[np.void], columns: EntityColumns
) -> tuple[NDArray[np.int64], list[tuple[str, str]]]:
    """Return the rows of the benchmark among the samples of test, and its empty cells."""
    # Every cell that the configuration asks for, so that those without a sample are reported.
    tasks = config.identity()["tasks"]
    labels = ["+".join(sources) for sources in sources_of_cells(config)]
    cells = [(label, str(task)) for label in labels for task in tasks]
    return benchmark_rows(samples, columns, cells)


def _metadata(selection: Selection) -> dict[str, dict[str, dict[str, int]]]:
    """Return {source: {task: numbers}} of a split's selection, as `docs/selection.md` has them."""
    metadata: dict[str, dict[str, dict[str, int]]] = {}
    for (source, task), limit in selection.limits.items():
        numbers = {"image_limit": limit, "class_pairs": selection.class_pairs[source, task]}
        if selection.contrasted:
            numbers["contrasted"] = selection.contrasted[source, task]
        metadata.setdefault(source, {})[task] = numbers
    return metadata


def _images_by_source(columns: EntityColumns, rows: NDArray[np.int32]) -> dict[str, int]:
    """Return how many images of each source are in a sample, given each entity's image row."""
    codes, names = columns.coded("source")
    return {n: len(np.unique(rows[(codes == i) & (rows >= 0)])) for i, n in enumerate(names)}


def _entities_by_source(columns: EntityColumns) -> dict[str, int]:
    """Return how many entities of each source a split has."""
    codes, names = columns.coded("source")
    return {name: int((codes == code).sum()) for code, name in enumerate(names)}
