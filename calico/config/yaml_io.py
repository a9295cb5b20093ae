"""Read and write configurations as YAML; all faults of a file are reported together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from calico.config.calico import CalicoConfig
from calico.config.presets import preset
from mixedparts.errors import UsageError
from mixedparts.settings.fields import converted
from mixedparts.settings.yaml_file import read_yaml_mapping


def read_config(path: Path, base: CalicoConfig | None = None) -> CalicoConfig:
    """Return the configuration of a YAML file, which overrides values of a base.

    The base is the preset that the file names under `preset`, else `base`, else the 7B defaults.

    Raises:
        InputError: the file is missing or is not a YAML mapping.
        UsageError: names are unknown, values have the wrong type, or they cannot work together.
    """
    data = read_yaml_mapping(path)
    name = data.pop("preset", None)
    start = preset(name) if isinstance(name, str) else base or CalicoConfig()
    return override(start, data, str(path))


def override(base: CalicoConfig, data: Mapping[str, Any], origin: str) -> CalicoConfig:
    """Return `base` with nested values replaced.

    Args:
        base: gives every value that `data` does not name.
        data: field name -> plain value, nested like the dataclasses.
        origin: what the values come from, such as a file; the message names it.

    Returns:
        A validated configuration.

    Raises:
        UsageError: as `read_config`.
    """
    faults: list[str] = []
    changes = converted(CalicoConfig, data, faults, base)
    if faults:
        listed = "\n".join(f"  {fault}" for fault in faults)
        raise UsageError(f"the configuration {origin} cannot be used:\n{listed}")
    return replace(base, **changes)


def write_config(config: CalicoConfig, path: Path) -> None:
    """Write all values of a configuration to a YAML file."""
    # Defaults too: the file alone rebuilds the model, whatever a later version has as defaults.
    path.write_text(dump_config(config), encoding="utf-8")


def dump_config(config: CalicoConfig) -> str:
    """Return the YAML text of all values."""
    return yaml.safe_dump(plain_config(config), sort_keys=False, allow_unicode=True)


def plain_config(config: CalicoConfig) -> dict[str, Any]:
    """Return all values in plain types, for YAML and JSON."""
    values: dict[str, Any] = _plain(asdict(config))
    return values


def _plain(value: Any) -> Any:
    # YAML's safe dumper has no tuples.
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
