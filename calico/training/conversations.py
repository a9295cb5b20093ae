"""Multi-turn conversations: which samples can be asked together about the same images."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from calico.dataset.pairs import SampleTable
from mixedparts.pairing.contrast import numbered


class ConversationPartners:
    """Groups of samples with the same images, in the same or the opposite order.

    Args:
        pairs: all samples, with the same number of images each.
        left_out: indices of samples that are no partner of any other.
    """

    def __init__(self, pairs: SampleTable, left_out: NDArray[np.int64]) -> None:
        rows = pairs.image_numbers().astype(np.int64)
        # Both orders of the same images get one key: ascending by the first and last image. Of
        # three or more images only the reversal is recognised, which is the one swap there is.
        self._reversed: NDArray[np.bool_] = rows[:, 0] > rows[:, -1]
        ordered = np.where(self._reversed[:, None], rows[:, ::-1], rows)
        group = numbered(list(ordered.T))
        # 32 bits for each of millions of samples, in every process.
        self._group = group.astype(np.int32)
        partners = np.ones(len(rows), np.bool_)
        partners[left_out] = False
        # Members of all groups in one array, group after group, with the start of each.
        self._members = np.argsort(group, kind="stable").astype(np.int32)
        self._members = self._members[partners[self._members]]
        self._starts = np.searchsorted(group[self._members], np.arange(group.max() + 2))

    def of(self, index: int) -> NDArray[np.int64]:
        """Return the indices of a sample's partners, ascending, without itself."""
        group = self._group[index]
        members = self._members[self._starts[group] : self._starts[group + 1]]
        return np.asarray(members[members != index], np.int64)

    def opposed(self, one: int, other: int) -> bool:
        """Return whether two samples of a group have their images in opposite order."""
        return bool(self._reversed[one] != self._reversed[other])

    def conversation(self, index: int, most: int, rng: Generator) -> NDArray[np.int64]:
        """Return a sample and its partners in random order.

        Args:
            index: of the sample.
            most: greatest number of samples; of more partners a random choice is taken.
            rng: source of the random order.

        Returns:
            (K,) int64 indices of samples, K from 1 to `most`.
        """
        chosen = rng.permutation(self.of(index))[: most - 1]
        return rng.permutation(np.append(chosen, index))
