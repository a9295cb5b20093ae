"""The samples of each training step, and the random numbers of a run.

Everything is a function of the seed and the step's number: no generator runs on from step to step.
A run that resumes at step n therefore takes exactly the samples and random numbers that it would
have taken without the interruption, with any number of worker processes, and a checkpoint stores no
state of the sampler. One process computes the same batch as many processes do; each of them takes
its part of it.
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
    """Purposes of random numbers; two purposes of one run never share a stream."""

    # The values are part of the generators' keys: another numbering would change every run.
    TRAINING = 0
    VISION = 1
    SEMANTIC = 2
    MASKS = 3
    QFORMER = 4
    GROUPS = 5
    NOISE = 6  # seeds of torch, for dropout


def generator(seed: int, purpose: Purpose, number: int, per_step: bool, part: int = 0) -> Generator:
    """Return the generator of one epoch's order, or of one step's random numbers.

    Args:
        seed: of the run.
        purpose: of the numbers.
        number: of the step or epoch, counted from 0; less than 2^40.
        per_step: true for a step's random numbers, false for an epoch's order.
        part: rank of the process that takes a part of the batch, where each needs numbers of its
            own; less than 256.

    Returns:
        A Philox generator whose key consists of all five values.
    """
    # Philox is counter-based: every key is a stream of its own, and a stream for step n is there
    # at once, without the numbers of the steps before. The fields of `low` do not overlap.
    low = ((2 * purpose + per_step) << 48) | (part << 40) | number
    return Generator(Philox(key=np.array([seed, low], dtype=np.uint64)))


# Answers are sorted by length within pools of this many batches. A sort of the whole epoch would
# give nearly the same batches in every epoch; a pool is a random part of the epoch.
_POOLED_BATCHES = 16


class Sampler:
    """Batches of indices, in a new random order for each epoch.

    Without groups, an epoch contains each index at most once. With groups, each group gets its
    share of every epoch, rounded to whole samples, and runs through random orders of its own: no
    sample is repeated before all samples of its group have been used.

    Args:
        size: number of samples; if there are fewer than a batch, they are repeated.
        batch_size: indices of a step. The samples that do not fill a batch at the end of an epoch
            are left out of this epoch.
        seed: of the orders.
        purpose: keeps the orders of different stages apart.
        lengths: (size,) int64 lengths of the samples. If given, batches consist of samples of
            similar length, which need little padding.
        groups: divide every epoch among themselves; their members are the indices.
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
        """Return the indices (batch_size,) int64 of a step, counted from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        # A cache for speed alone: the order of any epoch can be computed again at any time.
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, self._shuffled(epoch))
        start = position * self.batch_size
        return self._order[1][start : start + self.batch_size]

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        """Return the order of an epoch, whole batches only."""
        rng = generator(self.seed, self.purpose, epoch, per_step=False)
        places = self.steps_per_epoch * self.batch_size
        if self.groups:
            order = rng.permutation(self._grouped(epoch))
        else:
            # `resize` cuts the incomplete batch off, or repeats the samples of a small dataset.
            order = np.resize(rng.permutation(self.size), places)
        if self.lengths is None or self.size < self.batch_size:
            return order
        pools = np.array_split(order, -(-self.steps_per_epoch // _POOLED_BATCHES))
        # A stable sort: which of equally long samples comes first must not depend on numpy.
        ranked = [pool[np.argsort(self.lengths[pool], kind="stable")] for pool in pools]
        batches = np.concatenate(ranked).reshape(-1, self.batch_size)
        # The batches are shuffled again, or each pool would run from short to long answers.
        return batches[rng.permutation(len(batches))].reshape(-1)

    def _grouped(self, epoch: int) -> NDArray[np.int64]:
        """Return the indices of an epoch, group by group."""
        taken = []
        for number, (group, count) in enumerate(zip(self.groups, self.allocations, strict=True)):
            size = len(group.members)
            # A group's samples over the whole run are one sequence: a permutation of its members,
            # then the next one. Every epoch takes the next `count` of it, so where an epoch starts
            # follows from its number, and an epoch may begin in the middle of a permutation.
            start, stop = epoch * count, (epoch + 1) * count
            for cycle in range(start // size, -(-stop // size)):
                rng = generator(self.seed, Purpose.GROUPS, number << 32 | cycle, per_step=False)
                order = group.members[rng.permutation(size)]
                taken.append(order[max(0, start - cycle * size) : stop - cycle * size])
        return np.concatenate(taken)
