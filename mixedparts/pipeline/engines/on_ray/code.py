"""Give the processes of a running cluster the code and settings of this one.

The nodes may have another version of these packages, or none, and the build id depends on the code.
So the packages of this project travel to the nodes, with those that register a source of their own,
and with a list of the registered sources. Other packages (numpy, pyarrow, …) must be installed on
the nodes.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from mixedparts._version import __version__
from mixedparts.pipeline.engines.worker_pool import MAIN_PROCESS
from mixedparts.sources.contract import ENTRY_POINT_GROUP

_OURS = ("mixedparts", "builders", "manifests")
_PREFIX = "MIXEDPARTS_"
# Folders of this machine: every node has its own.
_LOCAL = ("MIXEDPARTS_CACHE", "MIXEDPARTS_HOME", "MIXEDPARTS_ROOT", MAIN_PROCESS)


def runtime_environment(folder: Path) -> dict[str, Any]:
    """Return Ray's runtime environment for the tasks of a build.

    Args:
        folder: an empty folder, which must stay until this process has connected.

    Returns:
        Packages to send (`py_modules`) and variables (`env_vars`).
    """
    values = {e.name: e.value for e in reversed(list(entry_points(group=ENTRY_POINT_GROUP)))}
    owners = {value.partition(":")[0].partition(".")[0] for value in values.values()}
    modules = [_packaged(name, folder) for name in sorted({*_OURS, *owners})]
    listed = _list_of_sources(folder, values)
    variables = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_PREFIX) and name not in _LOCAL
    }
    return {
        "py_modules": [str(path) for path in (*modules, listed) if path is not None],
        "env_vars": variables,
    }


def _packaged(name: str, folder: Path) -> Path | None:
    """Return a folder with a top-level package, without what is not code; None if absent."""
    # A package of somebody else may be broken or gone. Then its reader reports that.
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        place = Path(next(iter(spec.submodule_search_locations)))
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        return Path(shutil.copytree(place, folder / name, ignore=ignored))
    if spec.origin is None or not Path(spec.origin).is_file():
        return None
    # Ray sends folders. A module without a package becomes one of the same name.
    (folder / name).mkdir()
    shutil.copy(spec.origin, folder / name / "__init__.py")
    return folder / name


def _list_of_sources(folder: Path, values: dict[str, str]) -> Path:
    """Write the metadata of an installed package `mixedparts` that registers these sources."""
    # It comes before what is installed on a node, and hides the list there.
    place = folder / f"mixedparts-{__version__}.dist-info"
    place.mkdir()
    header = f"Metadata-Version: 2.1\nName: mixedparts\nVersion: {__version__}\n"
    (place / "METADATA").write_text(header, encoding="utf-8")
    lines = [f"[{ENTRY_POINT_GROUP}]", *(f"{name} = {value}" for name, value in values.items())]
    (place / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place
