"""Import paths of earlier versions that the documentation named; they still work, with a warning.

Source readers and scripts of users import from these paths. Undocumented paths are not kept. The
first import of an old path raises a `DeprecationWarning` that names the new one.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# Old module -> new module.
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
# Old module and old name -> new name; other names are the same in both modules.
NAMES = {
    ("mixedparts.pixels", "check_picture"): "check_image",
    ("mixedparts.taxonomy", "Group"): "ComparableGroup",
}


class _Moved(Loader):
    """Import loader of a module that takes every attribute from the module at the new path."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return a module of the old name, after importing the one at the new path."""
        old, new = spec.name, MODULES[spec.name]
        target = import_module(new)

        # Attributes are looked up at each access (PEP 562) and not copied, so that both modules
        # always have the same objects.
        def forward(name: str) -> object:
            return getattr(target, NAMES.get((old, name), name))

        module = ModuleType(old, f"Moved to `{new}`.")
        module.__getattr__ = forward  # type: ignore[method-assign]
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Warn about the old path; there is no code to run."""
        new = MODULES[module.__name__]
        # `warnings` does not count frames of the import system, so that level 2 is the line with
        # the import.
        warnings.warn(f"{module.__name__} is now {new}", DeprecationWarning, stacklevel=2)


class _Finder(MetaPathFinder):
    """Import finder of the old paths."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module that has moved.

        Args:
            fullname: dotted name of the module.
            path: where its package would be searched; not used.
            target: module that is being reloaded; not used.

        Returns:
            Its spec, None for any other module.
        """
        return ModuleSpec(fullname, _Moved()) if fullname in MODULES else None


def install() -> None:
    """Let imports of moved modules succeed."""
    # The last finder is asked only for modules that no other finder has, so other imports are not
    # slower.
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
