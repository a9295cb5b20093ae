"""mixedparts: builds, checks and serves the MixedParts dataset for part-focused co-segmentation."""

from __future__ import annotations

from mixedparts._renamed import install as _install
from mixedparts._version import __version__

TYPE_CHECKING = False  # importing `typing` for it would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any

    from mixedparts.loading import load_dataset as load_dataset
    from mixedparts.notebook.commands import build as build
    from mixedparts.notebook.commands import sample as sample
    from mixedparts.notebook.commands import verify as verify
    from mixedparts.notebook.commands import view as view
    from mixedparts.notebook.show import show as show
    from mixedparts.reports.frames import stats as stats

__all__ = ["__version__", "build", "load_dataset", "sample", "show", "stats", "verify", "view"]

# Name to the module that has it. They bring heavy libraries with them.
_LAZY = {
    "build": "mixedparts.notebook.commands",
    "load_dataset": "mixedparts.loading",
    "sample": "mixedparts.notebook.commands",
    "show": "mixedparts.notebook.show",
    "stats": "mixedparts.reports.frames",
    "verify": "mixedparts.notebook.commands",
    "view": "mixedparts.notebook.commands",
}

_install()


def __getattr__(name: str) -> Any:
    """Import a function on first use."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
