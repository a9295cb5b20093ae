"""Import paths of earlier versions that the documents named: they still lead to what moved.

Only documented paths are here. Each import of one warns and names the new path.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MODULES = {
    "builders.coco_source": "builders.bases.coco_source",
    "builders.file_source": "builders.bases.file_source",
    "builders.paths": "builders.formats.paths",
    "builders.segmentation": "builders.formats.segmentation",
    "calico.predictions_file": "calico.predictions.files",
    "calico.pretrained": "calico.inference.transformers_auto",
    "mixedparts.description": "mixedparts.sources.description",
    "mixedparts.pixels": "mixedparts.images.checks",
    "mixedparts.taxonomy": "mixedparts.sources.manifests",
}
NAMES = {
    ("mixedparts.pixels", "check_picture"): "check_image",
    ("mixedparts.taxonomy", "Group"): "ComparableGroup",
}


class _Moved(Loader):
    """Makes a module that takes every attribute from the module at the new path."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return a module of the old name, after importing the one at the new path."""
        old, new = spec.name, MODULES[spec.name]
        target = import_module(new)

        def forward(name: str) -> object:
            return getattr(target, NAMES.get((old, name), name))

        module = ModuleType(old, f"Moved to `{new}`.")
        module.__getattr__ = forward  # type: ignore[method-assign]
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Warn about the old path; there is no code to run."""
        new = MODULES[module.__name__]
        warnings.warn(f"{module.__name__} is now {new}", DeprecationWarning, stacklevel=2)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the modules of the table, and no others."""
        return ModuleSpec(fullname, _Moved()) if fullname in MODULES else None


def install() -> None:
    """Let imports of moved modules succeed; they are looked for after all others, so cost nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
