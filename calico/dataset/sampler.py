"""Which samples a step takes, and the random numbers of a run.

Everything is a function of the seed and the step, so a resumed run needs no position to be saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

from calico.dataset.sampling_weights import SamplingGroup
from mixedparts.pairing.allocation import proportional


class Purpose(IntEnum):
    """What random numbers are for; stages of one run never share any."""

    TRAINING = 0
    VISION = 1
    SEMANTIC = 2
    MASKS = 3
    QFORMER = 4
    STRATA = 5
    NOISE = 6  # seeds of torch, for dropout


def generator(seed: int, purpose: Purpose, number: int, draws: bool, part: int = 0) -> Generator:
    """Return the random numbers of one epoch's order, or with `draws` of one step's variations.

    Philox keyed by all five; `part` tells the parts of a batch apart that processes take.
    """
    low = ((2 * purpose + draws) << 48) | (part << 40) | number
    return Generator(Philox(key=np.array([seed, low], dtype=np.uint64)))


_POOLED_BATCHES = 16  # samples are sorted by length within that many batches, not over an epoch


class Sampler:
    """Batches of indices, in an order drawn for each epoch.

    Without groups each index comes once an epoch. With groups each of them has its share of every
    epoch, to the nearest whole sample, and goes through orders of its own: none of its samples
    comes again before all have come.

    Args:
        size: number of samples; fewer than a batch are repeated.
        batch_size: indices of a step; what is left at the end of an epoch waits for another one.
        seed: of the orders.
        purpose: keeps the orders of different stages apart.
        lengths: (size,) of the samples; where given, batches hold samples of like length, so that
            little of them is padding.
        groups: share the epochs among themselves; their members are the indices.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        purpose: Purpose = Purpose.TRAINING,
        lengths: NDArray[np.int64] | None = None,
        groups: Sequence[SamplingGroup] = (),
    ) -> None:
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.purpose = purpose
        self.lengths = lengths
        self.groups = tuple(groups)
        self.steps_per_epoch = max(1, size // batch_size)
        shares = [group.share for group in self.groups]
        places = self.steps_per_epoch * batch_size
        self.allocations = proportional(places, shares, [places] * len(shares)).tolist()
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def batch(self, step: int) -> NDArray[np.int64]:
        """Return the indices of a step, counted from 0."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, self._drawn(epoch))
        start = place * self.batch_size
        return self._order[1][start : start + self.batch_size]

    def _drawn(self, epoch: int) -> NDArray[np.int64]:
        """Return the order of an epoch, whole batches only."""
        rng = generator(self.seed, self.purpose, epoch, draws=False)
        places = self.steps_per_epoch * self.batch_size
        if self.groups:
            order = rng.permutation(self._shared_out(epoch))
        else:
            order = np.resize(rng.permutation(self.size), places)
        if self.lengths is None or self.size < self.batch_size:
            return order
        pools = np.array_split(order, -(-self.steps_per_epoch // _POOLED_BATCHES))
        ranked = [pool[np.argsort(self.lengths[pool], kind="stable")] for pool in pools]
        batches = np.concatenate(ranked).reshape(-1, self.batch_size)
        return batches[rng.permutation(len(batches))].reshape(-1)

    def _shared_out(self, epoch: int) -> NDArray[np.int64]:
        """Return the indices of an epoch, group by group."""
        taken = []
        for number, (group, quota) in enumerate(zip(self.groups, self.allocations, strict=True)):
            size = len(group.members)
            start, stop = epoch * quota, (epoch + 1) * quota  # of its walk since the first epoch
            for turn in range(start // size, -(-stop // size)):
                rng = generator(self.seed, Purpose.STRATA, number << 32 | turn, draws=False)
                order = group.members[rng.permutation(size)]
                taken.append(order[max(0, start - turn * size) : stop - turn * size])
        return np.concatenate(taken)
