"""The synthetic set that tests share: how many images of a source, and the seed."""

from __future__ import annotations

IMAGES = 40
SEED = 11
