"""The val/test split of sources whose upstream has a validation set and no test set."""

from __future__ import annotations

import hashlib

OFFICIAL = "official"
"""The variant without a split: validation and test are the same images, as upstream."""


def val_or_test(image_id: str) -> str:
    """Return `validation` or `test` for an upstream validation image, half of them each."""
    # The hash depends on the id only, so an image stays in its split whatever else a source has,
    # on any machine. Another hash would move images between the splits of released builds.
    digest = hashlib.blake2b(image_id.encode(), digest_size=8).digest()
    return "test" if digest[0] & 1 else "validation"
