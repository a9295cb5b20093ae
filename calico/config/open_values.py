"""Values that a configuration leaves open until published weights or defaults decide them.

Most do not show in the shapes of weights: with a wrong one, a model loads without an error and
computes nonsense.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from calico.config.calico import CalicoConfig
from calico.config.model import (
    GlobalEncoderConfig,
    LanguageConfig,
    QFormerConfig,
    SamConfig,
    SemanticEncoderConfig,
)

# The defaults are those of transformers' classes and of the published encoders.
_DEFAULTS: dict[type, dict[str, Any]] = {
    GlobalEncoderConfig: {"norm_eps": 1e-6},
    SemanticEncoderConfig: {"norm_eps": 1e-6, "registers": 4},
    QFormerConfig: {"norm_eps": 1e-12},
    SamConfig: {"norm_eps": 1e-6},
    LanguageConfig: {"norm_eps": 1e-6, "rope_theta": 10000.0, "tie_embeddings": False},
}


def open_values(config: CalicoConfig) -> Iterator[tuple[str, Any]]:
    """Yield dotted name and default of every value that published weights can decide."""
    for section in fields(config):
        defaults = _DEFAULTS.get(type(getattr(config, section.name)), {})
        yield from ((f"{section.name}.{name}", value) for name, value in defaults.items())


def value_of(config: CalicoConfig, name: str) -> Any:
    """Return the value of a dotted name, such as `language.norm_eps`."""
    section, _, field = name.partition(".")
    return getattr(getattr(config, section), field)


def settled(config: CalicoConfig, found: Mapping[str, Any] | None = None) -> CalicoConfig:
    """Return a configuration without open values.

    Args:
        config: its own values stay, those that are None are filled.
        found: dotted name -> value; the rest gets the defaults.
    """
    found = found or {}
    return filled(config, {name: found.get(name, value) for name, value in open_values(config)})


def filled(config: CalicoConfig, found: Mapping[str, Any]) -> CalicoConfig:
    """Return a configuration whose open values have those of `found`; others stay open."""
    changes: dict[str, dict[str, Any]] = {}
    for name, _ in open_values(config):
        if name in found and value_of(config, name) is None:
            section, _, field = name.partition(".")
            changes.setdefault(section, {})[field] = found[name]
    sections = {name: replace(getattr(config, name), **values) for name, values in changes.items()}
    return replace(config, **sections)


def open_value(part: Any, name: str) -> Any:
    """Return a value of one part of a configuration, its default where it is open."""
    value = getattr(part, name)
    return _DEFAULTS[type(part)][name] if value is None else value
