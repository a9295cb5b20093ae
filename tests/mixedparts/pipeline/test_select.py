"""Selections: images are used evenly, samples are distinct and follow the seed."""

from __future__ import annotations

import numpy as np

from benchmarks.selection_speed import split_table
from mixedparts.entities.table import EntityColumns
from mixedparts.pairing.samples import TASKS
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.select import select


def test_images_are_used_evenly_in_every_cell() -> None:
    columns = EntityColumns.of(split_table("train", 0.05))
    config = BuildConfig(sources=("paco", "partimagenet"), samples=40_000)
    found = select(config, {"train": columns})["train"]
    samples = found.samples
    starts = columns.first_of_image()
    image = np.searchsorted(starts, np.arange(columns.table.num_rows), side="right") - 1
    codes, names = columns.coded("source")
    sources = codes[samples["entities"][:, 0]]
    assert len(samples) == 40_000
    for source in (names.index("paco"), names.index("partimagenet")):
        for task in range(len(TASKS)):
            mine = samples[(sources == source) & (samples["task"] == task)]
            uses = np.bincount(image[mine["entities"].reshape(-1)])
            low, high = np.quantile(uses[uses > 0], (0.05, 0.95))
            assert high <= 4 * low, (source, task)


def test_samples_of_a_selection_are_distinct_and_follow_the_seed() -> None:
    columns = {"train": EntityColumns.of(split_table("train", 0.003))}
    drawn = {}
    for seed in (0, 0, 1):
        config = BuildConfig(sources=("ade20k", "paco"), samples=900, seed=seed)
        samples = select(config, columns)["train"].samples
        keys = {
            (int(s["task"]), frozenset(map(int, s["entities"])))
            for s in samples
        }  # fmt: skip
        assert len(keys) == len(samples) == 900
        drawn.setdefault(seed, samples)
        assert (drawn[seed] == samples).all()
    assert not np.array_equal(drawn[0], drawn[1])
