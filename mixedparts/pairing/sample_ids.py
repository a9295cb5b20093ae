"""Ids of samples: 64 bits that follow from split, task and the entities in their order.

Rows of `pairs` stand in the order of their ids. Ids are hashes, so that is a shuffle, and one that
anybody can check; the question of a row follows from its id too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixedparts.entities.table import EntityColumns

Ids = NDArray[np.uint64]


def entity_key(source: str, image_id: str, category: str) -> int:
    """Return the 64-bit key of an entity."""
    return _hash(f"{source}\0{image_id}\0{category}")


def entity_keys(columns: EntityColumns) -> Ids:
    """Return (n,) keys of the entities of a table."""
    names = (columns.column(n).to_pylist() for n in ("source", "image_id", "category"))
    return np.array(list(map(entity_key, *names)), np.uint64)


def sample_ids(split: str, tasks: Sequence[str], keys: Ids, present: NDArray[np.bool_]) -> Ids:
    """Return (n,) ids of samples.

    Args:
        tasks: the n samples' tasks.
        keys: (n, k) keys of their entities in the order of their images.
        present: (n, k), False where a sample has fewer than k entities.
    """
    starts = {task: _hash(f"{split}\0{task}") for task in set(tasks)}
    ids = np.array([starts[task] for task in tasks], np.uint64)
    for column, there in zip(keys.T, present.T, strict=True):
        ids = np.where(there, _mixed(ids + column), ids)
    return ids


def id_texts(ids: Ids) -> list[str]:
    """Return ids as they stand in the tables: 16 hexadecimal digits, in the order of the values."""
    return [f"{value:016x}" for value in ids.tolist()]


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _mixed(values: Ids) -> Ids:
    """Scramble 64-bit values, one to one (the finaliser of SplitMix64); sums wrap around."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
