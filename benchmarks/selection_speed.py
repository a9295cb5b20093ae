"""Time the selection of samples from entities of the real sources' size, and how even it is.

The entities are drawn: images a split as upstream counts them, classes and parts of the manifests,
class frequencies that fall by a power law (the most frequent class of PACO in about 1,800 images),
each part visible with a chance of its own. Masks are left out: selection never looks at them.

Example:
    python -m benchmarks.selection_speed --samples 2400000
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mixedparts.entities.table import EntityColumns
from mixedparts.pairing.samples import TASKS, used_images
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.select import Selection, select
from mixedparts.records import SPLITS
from mixedparts.sources.manifests import load_manifest
from mixedparts.storage.schema import ENTITIES

IMAGES = {
    "ade20k": {"train": 7_347, "validation": 508, "test": 508},
    "paco": {"train": 45_790, "validation": 2_410, "test": 9_443},
    "partimagenet": {"train": 20_481, "validation": 1_206, "test": 2_408},
}
CLASSES_AN_IMAGE = {"ade20k": 2.5, "paco": 1.7, "partimagenet": 1.0}


def split_table(split: str, share: float) -> pa.Table:
    """Draw the entities of a split; `share` scales the number of images."""
    rows = [row for source in IMAGES for row in _source_rows(source, split, share)]
    return pa.Table.from_pylist(rows, schema=ENTITIES).combine_chunks()


def _source_rows(source: str, split: str, share: float) -> Iterator[dict[str, Any]]:
    manifest = load_manifest(source)
    rng = np.random.Generator(np.random.Philox(key=len(source), counter=len(split)))
    names = sorted(manifest.by_name)
    weights = 1 / (rng.permutation(len(names)) + 8.0)
    chances = {name: rng.uniform(0.2, 0.9, 99) for name in names}
    for number in range(round(IMAGES[source][split] * share)):
        several = min(len(names), 1 + rng.poisson(CLASSES_AN_IMAGE[source] - 1))
        chosen = rng.choice(len(names), several, replace=False, p=weights / weights.sum())
        for name in sorted(names[at] for at in chosen):
            known = manifest.part_names(name)
            seen = np.flatnonzero(rng.random(len(known)) < chances[name][: len(known)])
            yield {
                "source": source,
                "image_id": f"{split}{number:06d}",
                "category": name,
                "parts_known": True,
                "parts": [{"name": known[at]} for at in seen],
            }


def usage_lines(columns: EntityColumns, selection: Selection) -> Iterator[str]:
    """Yield for each source and task how often images are used: 5th and 95th percentile."""
    starts = columns.first_of_image()
    image = np.searchsorted(starts, np.arange(columns.table.num_rows), side="right") - 1
    codes, names = columns.coded("source")
    samples = selection.samples
    for code, source in enumerate(names):
        for place, task in enumerate(TASKS):
            mine = samples["entities"][
                (codes[samples["entities"][:, 0]] == code) & (samples["task"] == place)
            ]
            uses = np.bincount(image[mine.reshape(-1)])
            low, high = np.quantile(uses[uses > 0], (0.05, 0.95))
            pairs = selection.class_pairs[source, str(task)]
            yield f"| {source} | {task} | {len(mine):,} | {pairs:,} | {low:.0f} | {high:.0f} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.selection_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--samples", type=int, default=2_400_000, help="rows to draw")
    parser.add_argument("--share", type=float, default=1.0, help="of the real number of images")
    parser.add_argument("--images-per-sample", type=int, default=2)
    parser.add_argument("--cross-source", action="store_true")
    given = parser.parse_args(argv)
    tables = {name: split_table(name, given.share) for name in SPLITS}
    splits = {name: EntityColumns.of(table) for name, table in tables.items()}
    config = BuildConfig(
        sources=tuple(IMAGES),
        samples=given.samples,
        images_per_sample=given.images_per_sample,
        cross_source=given.cross_source,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, used = time.perf_counter(), time.process_time()
    found = select(config, splits)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    rows = sum(len(selection.samples) for selection in found.values())
    images = sum(
        int(used_images(selection.samples, splits[name]).max()) + 1
        for name, selection in found.items()
    )
    entities = sum(len(table) for table in tables.values())
    print(f"{rows:,} samples of {entities:,} entities in {images:,} images: {seconds:.1f} s,")
    print(f"{used:.1f} s of CPU time, one thread; peak memory grew by {grown:.0f} MB\n")
    print("| source (train) | task | samples | class pairs | 5th percentile | 95th |")
    print("|---|---|---:|---:|---:|---:|")
    print("\n".join(usage_lines(splits["train"], found["train"])))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
