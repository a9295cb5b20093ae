"""Where a build reads and how it works: what its plan leaves out, because machines differ in it.

A run notes these choices in the log, so that `mixedparts finalize` can continue without them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mixedparts.errors import UsageError
from mixedparts.pipeline.config import BuildConfig, config_values
from mixedparts.settings.local_paths import address_of, as_path, typed
from mixedparts.settings.options import result_fields
from mixedparts.storage.copies import name_of

_KEYS = ("root", "source_roots", "max_rejects")


def places(config: BuildConfig) -> dict[str, Any]:
    """Return the folders and limits of a run as JSON values, for its event `begin`."""
    return {
        "root": _absolute(config.root),
        "source_roots": {name: _absolute(root) for name, root in config.source_roots.items()},
        "max_rejects": config.max_rejects,
        "engine": config.engine,
        "workers": config.workers,
    }


def absolute_places(config: BuildConfig) -> dict[str, Any]:
    """Return the folders of a configuration so that they mean the same in any process, by field."""
    return {
        "out": as_path(_absolute(config.out)),
        "root": as_path(_absolute(config.root)),
        "source_roots": {n: as_path(_absolute(root)) for n, root in config.source_roots.items()},
    }


def _absolute(path: Path) -> str:
    # The copy of a source at an address is on this machine alone.
    return address_of(path) or name_of(path.absolute())


def noted_places(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the places that the latest run has noted, by field of `BuildConfig`."""
    noted: dict[str, Any] = {}
    for event in events:
        if event["event"] == "begin":
            noted = {key: event[key] for key in _KEYS if key in event}
    return noted


def stored_choices(out: str, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the choices in a stored plan, by field of `BuildConfig`.

    Args:
        out: the build folder or address, for messages.
        configuration: of the plan's identity.

    Returns:
        Values of the fields that decide the result, in their types.

    Raises:
        UsageError: it is the plan of an import, or has unknown fields.
    """
    if "imported" in configuration:
        raise UsageError(
            f"{out} contains an unfinished import, and its plan does not name the bundle",
            "Run the same `mixedparts import` again; it continues where it stopped:"
            f" --out {typed(out)}",
        )
    known = set(result_fields(BuildConfig))
    choices = {name: value for name, value in configuration.items() if name in known}
    return config_values(choices, f"the plan of {out}")
