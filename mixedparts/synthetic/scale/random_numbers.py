"""Independent random numbers for each purpose and block of images."""

from __future__ import annotations

import hashlib

from numpy.random import Generator, Philox


def generator(seed: int, purpose: str, number: int = 0) -> Generator:
    """Return the random numbers of a purpose; other purposes and numbers do not change them.

    Args:
        seed: of the run.
        purpose: what they are for.
        number: of the block.

    Returns:
        A generator that gives the same numbers on every machine.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{number}".encode()).digest()
    return Generator(Philox(key=int.from_bytes(digest[:16], "little")))
