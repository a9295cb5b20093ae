"""Which samples can be asked about the same images in one conversation."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
from numpy.random import Generator
from numpy.typing import NDArray

from calico.dataset.pairs import SampleTable


class ConversationPartners:
    """Samples of the same images, in the same order or the other way round.

    Args:
        pairs: all samples, with the same number of images each.
        left_out: indices of samples that are nobody's companions.
    """

    def __init__(self, pairs: SampleTable, left_out: NDArray[np.int64]) -> None:
        flat = pc.struct_field(pc.list_flatten(pairs.table.column("images")), "row")
        rows = flat.to_numpy().astype(np.int64).reshape(-1, pairs.images_per_sample)
        self._reversed: NDArray[np.bool_] = rows[:, 0] > rows[:, -1]
        ordered = np.where(self._reversed[:, None], rows[:, ::-1], rows)
        _, group = np.unique(ordered[:, 0], return_inverse=True)
        for column in ordered.T[1:]:
            _, place = np.unique(column, return_inverse=True)
            _, group = np.unique(group * (place.max() + 1) + place, return_inverse=True)
        self._group: NDArray[np.int64] = group
        kept = np.ones(len(rows), np.bool_)
        kept[left_out] = False
        self._members = np.argsort(group, kind="stable")
        self._members = self._members[kept[self._members]]
        self._starts = np.searchsorted(group[self._members], np.arange(group.max() + 2))

    def of(self, index: int) -> NDArray[np.int64]:
        """Return the companions of a sample, ascending, without itself."""
        group = self._group[index]
        members = self._members[self._starts[group] : self._starts[group + 1]]
        return np.asarray(members[members != index])

    def opposed(self, one: int, other: int) -> bool:
        """Return whether a sample has the images of another the other way round."""
        return bool(self._reversed[one] != self._reversed[other])

    def conversation(self, index: int, most: int, rng: Generator) -> NDArray[np.int64]:
        """Return a sample and as many companions as there are, in an order drawn at random.

        Args:
            index: the sample.
            most: samples of the conversation at most; which companions, is drawn too.
            rng: random numbers.
        """
        chosen = rng.permutation(self.of(index))[: most - 1]
        return rng.permutation(np.append(chosen, index))
