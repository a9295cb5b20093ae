"""Load a built dataset in Python: find it by name, read it with `datasets`, join pixels lazily."""

from __future__ import annotations

from mixedparts.loading.load import load_dataset
from mixedparts.loading.pixels import (
    ImageEntry,
    PixelJoin,
    open_picture,
    open_stored_image,
)
from mixedparts.storage.locate import resolve_build

__all__ = [
    "ImageEntry",
    "PixelJoin",
    "load_dataset",
    "open_picture",
    "open_stored_image",
    "resolve_build",
]
