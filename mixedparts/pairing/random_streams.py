"""Random streams: an independent generator for every seed and key.

Code that needs random numbers asks for a stream by the seed of the build and a text that names its
purpose, such as `train|paco|common_parts` for one cell of the sampler. A BLAKE2b hash of
`SEED|TEXT` is the 128-bit key of a Philox generator (Salmon et al., "Parallel random numbers: as
easy as 1, 2, 3", SC 2011).

Philox computes its numbers from a counter and the key instead of updating a state, so that:

- The stream of a key is fixed. It does not depend on which streams were made before, or on how many
  numbers they gave. A build with a further source does not change the streams of its other cells.
- Streams of different keys are independent, although their seeds and texts are alike.
- The stream is the same on every machine and in every process. (Python's own `hash` of a text
  differs between processes; BLAKE2b does not.) NumPy may change between its versions what the
  methods of a generator make of a stream (NEP 19).
"""

from __future__ import annotations

import hashlib

import numpy as np


def philox(seed: int, key: str) -> np.random.Generator:
    """Return the random stream of a build's seed and a text that names the purpose."""
    digest = hashlib.blake2b(f"{seed}|{key}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
