"""Configurations in and out of YAML, with every fault of a file reported at once."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from calico.config.calico import CalicoConfig
from calico.config.presets import preset
from mixedparts.errors import InputError, UsageError

T = TypeVar("T")


def read_config(path: Path, base: CalicoConfig | None = None) -> CalicoConfig:
    """Read a YAML file of overrides.

    The base is the preset that the file names under `preset`, else `base`, else the 7B defaults.

    Raises:
        InputError: the file is missing or is no YAML mapping.
        UsageError: unknown names, values of a wrong type, or values that cannot work together.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the configuration {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise InputError(f"the configuration {path} is no YAML: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"the configuration {path} is no mapping of names to values")
    name = data.pop("preset", None)
    start = preset(name) if isinstance(name, str) else base or CalicoConfig()
    return override(start, data, str(path))


def override(base: CalicoConfig, data: Mapping[str, Any], origin: str) -> CalicoConfig:
    """Return `base` with nested values replaced.

    Raises:
        UsageError: as `read_config`; `origin` is named in the message.
    """
    faults: list[str] = []
    changed = _merge(base, data, "", faults)
    if faults:
        listed = "\n".join(f"  {fault}" for fault in faults)
        raise UsageError(f"the configuration {origin} cannot be used:\n{listed}")
    return changed


def write_config(config: CalicoConfig, path: Path) -> None:
    """Write all values, defaults included, so that the file alone rebuilds the model."""
    path.write_text(dump_config(config), encoding="utf-8")


def dump_config(config: CalicoConfig) -> str:
    """Return the YAML text of all values."""
    return yaml.safe_dump(plain_config(config), sort_keys=False, allow_unicode=True)


def plain_config(config: CalicoConfig) -> dict[str, Any]:
    """Return all values in plain types, for YAML and JSON."""
    found: dict[str, Any] = _plain(asdict(config))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _merge(base: T, data: Mapping[str, Any], prefix: str, faults: list[str]) -> T:
    """Return a copy of a dataclass with the values of `data`, collecting faults."""
    hints = typing.get_type_hints(type(base))
    names = [item.name for item in fields(base)]  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    for key, value in data.items():
        path = f"{prefix}{key}"
        if key not in names:
            near = get_close_matches(str(key), names, n=1)
            faults.append(f"{path}: unknown" + (f", did you mean '{near[0]}'?" if near else ""))
            continue
        current = getattr(base, key)
        if is_dataclass(current):
            if isinstance(value, Mapping):
                changes[key] = _merge(current, value, f"{path}.", faults)
            else:
                faults.append(f"{path}: expected a mapping, got {value!r}")
            continue
        try:
            changes[key] = _convert(value, hints[key])
        except ValueError as error:
            faults.append(f"{path}: {error}")
    return base if faults else replace(base, **changes)  # type: ignore[type-var]


def _convert(value: Any, hint: Any) -> Any:
    """Return `value` as the annotated type.

    Raises:
        ValueError: it is not one.
    """
    origin = typing.get_origin(hint)
    if origin is Literal:
        if value not in typing.get_args(hint):
            raise ValueError(f"{value!r}, choose from {', '.join(map(str, typing.get_args(hint)))}")
        return value
    if origin is tuple:
        return _convert_tuple(value, typing.get_args(hint))
    if origin is Mapping:
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise ValueError(f"expected a mapping of names to values, got {value!r}")
        return {name: _convert(item, typing.get_args(hint)[1]) for name, item in value.items()}
    if hint is float and isinstance(value, int | str) and not isinstance(value, bool):
        return _number(value)
    if type(value) is not hint:
        raise ValueError(f"expected {hint.__name__}, got {value!r}")
    return value


def _number(value: int | str) -> float:
    """Return a float; YAML reads 1e-3 (without a point) as text."""
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"expected float, got {value!r}") from None


def _convert_tuple(value: Any, hints: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected a list, got {value!r}")
    if hints[-1] is Ellipsis:
        return tuple(_convert(item, hints[0]) for item in value)
    if len(value) != len(hints):
        raise ValueError(f"expected {len(hints)} values, got {value!r}")
    return tuple(_convert(item, hint) for item, hint in zip(value, hints, strict=True))
