"""Which objects and how many parts each image of a split has, with exact totals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mixedparts.synthetic.scale.counts import Counts

# Images with a class for each object of it, in the PACO train file, for all but frequent classes.
_IMAGES_PER_OBJECT = 0.52


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """The objects of a split, image by image.

    Attributes:
        starts: (images + 1,) int64, the first object of each image, then the number of objects.
        classes: (objects,) uint8, index of each object's class.
        parts: (objects,) uint8, number of parts of each object.
    """

    starts: NDArray[np.int64]
    classes: NDArray[np.uint8]
    parts: NDArray[np.uint8]

    def block(self, start: int, stop: int) -> SplitPlan:
        """Return the plan of the images from `start` up to `stop`, which is excluded."""
        first, end = int(self.starts[start]), int(self.starts[stop])
        starts = self.starts[start : stop + 1] - first
        return SplitPlan(starts, self.classes[first:end], self.parts[first:end])

    @property
    def annotations(self) -> int:
        """Number of objects and parts together."""
        return len(self.classes) + int(self.parts.sum(dtype=np.int64))


def plan_split(
    counts: Counts,
    weights: NDArray[np.float64],
    most_parts: NDArray[np.int64],
    most_images: float,
    rng: Generator,
) -> SplitPlan:
    """Draw the objects of every image of a split.

    An object class occurs in groups: some images have many objects of it, most have none. Every
    image has at least one object.

    Args:
        counts: totals of the split. With more parts than its objects can have, each object gets all
            of its parts.
        weights: (classes,) float64, how frequent the objects of each class are.
        most_parts: (classes,) int64, how many parts an object of each class can have.
        most_images: share of the images that show a class at most, about.
        rng: source of the random numbers.

    Returns:
        The plan.
    """
    if counts.objects == counts.images:
        images = np.arange(counts.images)
        classes = np.repeat(np.arange(len(weights)), _shares(weights, counts.objects))
        rng.shuffle(classes)
    else:
        images, classes = _grouped(counts, weights, most_images, rng)
    order = np.argsort(images, kind="stable")
    chosen = classes[order].astype(np.uint8)
    starts = np.zeros(counts.images + 1, np.int64)
    np.cumsum(np.bincount(images, minlength=counts.images), out=starts[1:])
    return SplitPlan(starts, chosen, _part_counts(counts.parts, most_parts[chosen], rng))


def _grouped(
    counts: Counts, weights: NDArray[np.float64], most_images: float, rng: Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return image and class of every object, in no order."""
    wanted = _shares(weights, counts.objects)
    most = max(1, round(most_images * counts.images))
    groups = np.minimum(np.ceil(_IMAGES_PER_OBJECT * wanted).astype(np.int64), most)
    # Every image needs a group. Where there are too few, each object is a group of its own.
    if groups.sum() < counts.images:
        groups = wanted
    sizes = [
        1 + rng.multinomial(total - number, _normal(rng.exponential(size=number)))
        for total, number in zip(wanted.tolist(), groups.tolist(), strict=True)
        if number
    ]
    classes = np.repeat(np.arange(len(weights)), groups)
    order = rng.permutation(len(classes))
    extra = rng.integers(0, counts.images, len(classes) - counts.images)
    images = np.concatenate([rng.permutation(counts.images), extra])
    of_group = np.concatenate(sizes)[order]
    return images.repeat(of_group), classes[order].repeat(of_group)


def _shares(weights: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Divide a total in proportion to the weights; the largest remainders get what is left."""
    exact = _normal(weights) * total
    shares = np.floor(exact).astype(np.int64)
    left = total - int(shares.sum())
    shares[np.argsort(shares - exact, kind="stable")[:left]] += 1
    return shares


def _normal(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(weights / weights.sum(), np.float64)


def _part_counts(total: int, most: NDArray[np.int64], rng: Generator) -> NDArray[np.uint8]:
    """Draw a number of parts for each object, at most `most` of it, with an exact sum."""
    total = min(total, int(most.sum()))
    numbers = np.minimum(rng.poisson(1.1 * total / max(1, len(most)), len(most)), most)
    while (missing := total - int(numbers.sum())) != 0:
        step = 1 if missing > 0 else -1
        able = np.flatnonzero(numbers < most if step > 0 else numbers > 0)
        numbers[rng.permutation(able)[: abs(missing)]] += step
    return numbers.astype(np.uint8)
