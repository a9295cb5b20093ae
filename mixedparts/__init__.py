"""mixedparts: builds, checks and serves the MixedParts dataset for part-focused co-segmentation."""

from __future__ import annotations

from mixedparts._renamed import install as _install
from mixedparts._version import __version__

TYPE_CHECKING = False  # importing `typing` for it would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any

    from mixedparts.loading import load_dataset as load_dataset
    from mixedparts.reports.frames import stats as stats

__all__ = ["__version__", "load_dataset", "stats"]

# Name to the module that has it. They bring heavy libraries with them.
_LAZY = {"load_dataset": "mixedparts.loading", "stats": "mixedparts.reports.frames"}

_install()


def __getattr__(name: str) -> Any:
    """Import a function on first use."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
