"""mixedparts: builds, checks and serves the MixedParts dataset for part-focused co-segmentation."""

from __future__ import annotations

from mixedparts._renamed import install as _install
from mixedparts._version import __version__

TYPE_CHECKING = False  # importing `typing` for it would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any

    from mixedparts.loading import load_dataset as load_dataset

__all__ = ["__version__", "load_dataset"]

_install()


def __getattr__(name: str) -> Any:
    """Import `load_dataset` on first use: it brings heavy libraries with it."""
    if name == "load_dataset":
        from mixedparts.loading import load_dataset

        return load_dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
