"""Entities without pixels for tests of pairing: an index, and the same things one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from mixedparts.pairing.entity_index import EntityIndex
from tests.oracles.admissible_samples import Thing

NAMES = ("chair", "mug", "sofa", "stool")
COMPARABLE = {("chair", "sofa"), ("sofa", "stool")}


def comparable(first: str, second: str) -> bool:
    """Say whether two names are comparable: symmetric, but not transitive."""
    return (min(first, second), max(first, second)) in COMPARABLE


@dataclass(frozen=True)
class Indexed:
    """An index and its entities; rows of the index are numbered from 7 up."""

    index: EntityIndex
    things: list[Thing]
    sources: int

    @classmethod
    def of(
        cls,
        places: list[tuple[int, int]],
        parts: NDArray[np.bool_],
        known: NDArray[np.bool_],
        sources: int = 1,
    ) -> Indexed:
        """Lay out entities given as (image, class); with two sources odd images are the second's.

        A class of the second source has a number of its own in the index, as in a build.
        """
        keys = np.array(places).reshape(-1, 2)
        side = keys[:, 0] % sources
        names = NAMES * sources
        classes = keys[:, 1] + side * len(NAMES)
        sides = tuple(np.repeat(np.arange(sources), len(NAMES)).tolist()) if sources > 1 else ()
        rows = np.arange(len(keys)) + 7
        index = EntityIndex(rows, keys[:, 0], classes, names, parts, known, sides)
        things = [
            Thing(
                int(rows[at]),
                int(side[at]),
                image,
                NAMES[name],
                frozenset(np.flatnonzero(parts[at]).tolist()) if known[at] else None,
            )
            for at, (image, name) in enumerate(places)
        ]
        return cls(index, things, sources)


@st.composite
def indices(draw: st.DrawFn, most: int = 25, one_an_image: bool = False) -> Indexed:
    """Draw a few entities of four classes with four parts, of one source or of two."""
    keys = st.tuples(st.integers(0, 30 if one_an_image else 9), st.integers(0, 3))
    unique = (lambda key: key[0]) if one_an_image else (lambda key: key)
    places = sorted(draw(st.lists(keys, min_size=1, max_size=most, unique_by=unique)))
    number = len(places)
    flags = st.lists(st.booleans(), min_size=number * 4, max_size=number * 4)
    parts = np.array(draw(flags)).reshape(number, 4)
    known = np.array(draw(st.lists(st.booleans(), min_size=number, max_size=number)))
    parts[~known] = False
    return Indexed.of(places, parts, known, draw(st.sampled_from((1, 2))))
