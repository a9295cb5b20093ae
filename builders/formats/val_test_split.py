"""How a validation set without a test set beside it is divided in two."""

from __future__ import annotations

import hashlib

OFFICIAL = "official"
"""The variant that divides nothing: validation and test are the same images, as upstream."""


def val_or_test(image_id: str) -> str:
    """Return the split of an upstream validation image, half of them `test`."""
    digest = hashlib.blake2b(image_id.encode(), digest_size=8).digest()
    return "test" if digest[0] & 1 else "validation"
