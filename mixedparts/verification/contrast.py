"""Count again how many samples contrast with another one (`mixedparts.pairing.contrast`)."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedparts.pairing.contrast import Sides
from mixedparts.records import Task
from mixedparts.storage.build_folder import BuildFolder, shard_pattern
from mixedparts.verification.findings import Findings, Rule

_NONE: frozenset[str] = frozenset()
Cell = tuple[str, str]  # source, task
CellSides = Mapping[Cell, NDArray[np.int64]]
"""(n, 2, 3) int64 for the rows of each cell: key, answer and partner of both images."""


def contrast_asked(build: BuildFolder) -> bool:
    """Return whether a build was asked for samples that contrast."""
    return bool(build.configuration.get("contrast"))


class RowSides:
    """Collects the sides of rows of `pairs` as hashes, the same in every process."""

    def __init__(self) -> None:
        self._found: dict[Cell, list[int]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row of two images whose structure is whole."""
        sides = self._found.setdefault((row["source"], row["task"]), [])
        for image in range(2):
            sides += _side(row, image)

    def cells(self) -> CellSides:
        """Return what was added."""
        return {
            cell: np.array(sides, np.int64).reshape(-1, 2, 3) for cell, sides in self._found.items()
        }


def _side(row: Mapping[str, Any], image: int) -> list[int]:
    """Return key, answer and partner of one image of a row."""
    own, partner = (row["images"][at]["row"] for at in (image, 1 - image))
    classes = [item["category"] for item in row["objects"]]
    if row["task"] == Task.COMMON_OBJECT:
        return [own, _hash(classes[image]), partner]
    parts = [part["name"] for part in row["parts"] if part["image"] == image]
    return [_hash(own, classes[image], classes[1 - image]), _hash(*parts), partner]


def _hash(*values: object) -> int:
    # The zero bytes keep values apart, and the result is a positive int64.
    text = "\0".join(map(str, values)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def check_contrast(build: BuildFolder, split: str, shards: Iterable[CellSides]) -> Findings:
    """Compare the counts of contrasting samples in the manifest with the rows.

    Args:
        build: the build, which was asked for such samples.
        split: the split.
        shards: the sides of the rows of every shard.

    Returns:
        A problem for every cell with another count.
    """
    found = Findings()
    listed: dict[Cell, list[NDArray[np.int64]]] = {}
    for shard in shards:
        for cell, sides in shard.items():
            listed.setdefault(cell, []).append(sides)
    recorded = build.manifest.get("selection", {}).get(split, {})
    counts = {
        (source, task): numbers.get("contrasted", 0)
        for source, tasks in recorded.items()
        for task, numbers in tasks.items()
    }
    shown: dict[int, frozenset[str]] = {}
    for cell in sorted(counts.keys() | listed.keys()):
        number = 0
        if cell in listed:
            keys, answers, partners = np.moveaxis(np.concatenate(listed[cell]), 2, 0)
            able = np.ones(len(keys), np.bool_)
            if cell[1] == Task.COMMON_OBJECT:
                shown = shown or _shown_classes(build, split)
                able = _need_both(keys, shown)  # the key is the image's row
            number = int(Sides(keys, answers, partners, able).contrasted().sum())
        if number != counts.get(cell, 0):
            text = (
                f"{number} samples contrast with another one, the manifest has"
                f" {counts.get(cell, 0)}"
            )
            found.add(Rule.CONTRAST, shard_pattern("pairs", split), " ".join(cell), text)
    return found


def _need_both(images: NDArray[np.int64], shown: Mapping[int, frozenset[str]]) -> NDArray[np.bool_]:
    """Return `(k,)` bool, whether no image of a sample tells the common object alone.

    Args:
        images: `(k, 2)` int64, rows of `images`.
        shown: the classes of each of them.
    """
    able = np.zeros(len(images), np.bool_)
    for place, pair in enumerate(images.tolist()):
        one, two = (shown.get(row, _NONE) for row in pair)
        able[place] = len(one & two) == 1 and bool(one - two) and bool(two - one)
    return able


def _shown_classes(build: BuildFolder, split: str) -> dict[int, frozenset[str]]:
    """Return the classes of each row of `images` of a split, as the table `entities` has them."""
    listed: dict[int, set[str]] = defaultdict(set)
    for item in build.rows("entities", split, ["row", "category"]):
        if item["row"] is not None:  # a sample shows the image
            listed[item["row"]].add(item["category"])
    sets: dict[frozenset[str], frozenset[str]] = {}
    return {row: sets.setdefault(found := frozenset(names), found) for row, names in listed.items()}
