"""Samples of a dataset that contrast: the same image beside another partner, another answer.

The definition is that of `mixedparts.pairing.contrast`. It is computed from the rows, so any
dataset has such samples, however it was built; `mixedparts build --contrast` gives it more of them.
An image shows the classes that any of the rows names for it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calico.dataset.columns import PairColumns
from calico.dataset.pairs import SampleTable
from mixedparts.errors import UsageError
from mixedparts.pairing.contrast import Sides, numbered
from mixedparts.pairing.samples import scrambled
from mixedparts.records import Task

_CHUNK = 1 << 16  # samples whose classes are compared at once


class ContrastPartners:
    """For each sample those that contrast with it.

    Args:
        pairs: all samples.
        excluded: (k,) int64 indices of those that training leaves out.

    Raises:
        UsageError: they have more than two images.
    """

    def __init__(self, pairs: SampleTable, excluded: NDArray[np.int64] | None = None) -> None:
        if pairs.images_per_sample != 2:
            raise UsageError(
                f"training.contrast needs samples of two images, these have"
                f" {pairs.images_per_sample}",
                "Set training.contrast to {} in --config.",
            )
        tasks, of_row = pairs.coded("task")
        about_objects = np.array([task == Task.COMMON_OBJECT for task in tasks])[of_row]
        batches = pairs.columns.batches
        empty = np.zeros((0, 2), np.int64)
        classes = np.concatenate([empty, *(_classes(batch) for batch in batches)])
        parts = np.concatenate([empty.astype(np.uint64), *(_part_sets(batch) for batch in batches)])
        images = pairs.image_numbers()
        partners = images[:, ::-1]
        keys, answers = _sides(of_row, images.astype(np.int64), classes, parts, about_objects)
        able = ~about_objects | _need_both(images, classes)
        if excluded is not None:
            able[excluded] = False
        numbers = (keys.reshape(-1, 2), answers.reshape(-1, 2), partners.astype(np.int64))
        contrasted = Sides(*numbers, able).contrasted()
        self._tasks = of_row
        self._contrasted = [
            np.flatnonzero(contrasted & (of_row == task)) for task in range(len(tasks))
        ]
        # Two entries for each sample, one an image, in order of their keys.
        self._order = np.argsort(keys, kind="stable").astype(np.int32)
        self._starts = np.append(0, np.cumsum(np.bincount(keys)))
        self._keys = keys.astype(np.int32)
        self._answers = answers.astype(np.int32)
        self._partners = partners.reshape(-1)
        self._able = able

    def of(self, index: int) -> NDArray[np.int64]:
        """Return the indices of the samples that contrast with a sample, ascending."""
        if not self._able[index]:
            return np.zeros(0, np.int64)
        found = []
        for entry in (2 * index, 2 * index + 1):
            key = self._keys[entry]
            same = self._order[self._starts[key] : self._starts[key + 1]]
            other = self._answers[same] != self._answers[entry]
            other &= self._partners[same] != self._partners[entry]
            found.append(same[other] // 2)
        either = np.unique(np.concatenate(found)).astype(np.int64)
        return either[self._able[either]]

    def group(self, index: int, first: float, second: float) -> tuple[int, int] | None:
        """Choose two samples that contrast, the first of them this one if any contrasts with it.

        Args:
            index: of the sample.
            first: uniform in [0, 1); chooses the first one otherwise, among those of its task.
            second: uniform in [0, 1); chooses the second one.

        Returns:
            Their indices; None if no two samples of the task contrast.
        """
        found = self.of(index)
        if not len(found):
            others = self._contrasted[self._tasks[index]]
            if not len(others):
                return None
            index = int(others[int(first * len(others))])
            found = self.of(index)
        return index, int(found[int(second * len(found))])


def _sides(
    tasks: NDArray[np.int64],
    images: NDArray[np.int64],
    classes: NDArray[np.int64],
    parts: NDArray[np.uint64],
    about_objects: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return key and answer (2 n,) int64 of both images of each sample.

    Args:
        tasks: (n,) code of each sample's task.
        images: (n, 2) number of each image.
        classes: (n, 2) code of the object's class in each image.
        parts: (n, 2) hash of the parts that the answer names in each image.
        about_objects: (n,) whether the answer is the object's class.
    """
    # Samples of a source and task: images of two sources never share a row of the table.
    columns = [
        np.stack((tasks, tasks), axis=1),
        images,
        # Which classes meet does not matter where the answer is the class.
        np.where(about_objects[:, None], -1, classes),
        np.where(about_objects[:, None], -1, classes[:, ::-1]),
    ]
    answers = np.where(about_objects[:, None], classes.astype(np.uint64), parts)
    return numbered([column.reshape(-1) for column in columns]), numbered([answers.reshape(-1)])


def _need_both(images: NDArray[np.integer], classes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (n,) bool, whether both images show a class of their own besides a single common one.

    Args:
        images: (n, 2) number of each image.
        classes: (n, 2) code of the object's class in each image.
    """
    number, images = len(images), images.reshape(-1)
    names, of_image = np.unique(classes.reshape(-1), return_inverse=True)
    shown = np.zeros((int(images.max(initial=-1)) + 1, len(names)), np.bool_)
    shown[images, of_image.reshape(-1)] = True
    able = np.zeros(number, np.bool_)
    for start in range(0, number, _CHUNK):
        one, two = (
            shown[images[2 * start : 2 * (start + _CHUNK)]]
            .reshape(-1, 2, len(names))
            .swapaxes(0, 1)
        )
        common = (one & two).sum(axis=1)
        able[start : start + _CHUNK] = (common == 1) & (one.sum(axis=1) > 1) & (two.sum(axis=1) > 1)
    return able


def _classes(batch: PairColumns) -> NDArray[np.int64]:
    """Return (n, 2) int64, the code of the object's class in each image."""
    ends, cells = batch.lists("objects")
    # A row has one object an image, in the order of the images.
    first = cells[ends[:-1]]
    second = cells[np.maximum(ends[1:] - 1, 0)]
    return np.stack((first[:, 1], second[:, 1]), axis=1).astype(np.int64)


def _part_sets(batch: PairColumns) -> NDArray[np.uint64]:
    """Return (n, 2) uint64, a hash of the set of parts that the answer names in each image."""
    ends, cells = batch.lists("parts")
    row = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
    sums = np.zeros((len(ends) - 1, 2), np.uint64)
    used = cells[ends[0] : ends[-1]]
    # A sum of scrambled codes does not depend on the order of the parts.
    np.add.at(sums, (row, used[:, 0]), scrambled(used[:, 1].astype(np.uint64)))
    return sums
