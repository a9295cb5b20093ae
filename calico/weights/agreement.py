"""Settle the values that published models fix and that the shapes of their weights do not show.

The numbers of heads, norm constants and rotary bases do not show in shapes: with a wrong value, a
model loads without an error and computes nonsense. Every part of the model is compared with the
sources that supply it, and with no others: GLaMM replaces InstructBLIP's language model, so what
InstructBLIP's config.json says about that one does not count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calico.config.calico import CalicoConfig
from calico.config.open_values import open_values, settled, value_of
from calico.weights.files import WeightFiles
from calico.weights.matching import Matching
from calico.weights.published.configs import published_values, read_published_config
from mixedparts.errors import InputError, UsageError

# Part of the configuration -> prefixes of the stable names of its weights.
_PARTS = {
    "vision": ("encoders.vision.",),
    "semantic": ("encoders.semantic.",),
    "qformer": ("bridge.qformer.",),
    "sam": ("encoders.sam.", "grounding.mask_decoder."),
    "language": ("language.",),
}
_REGISTERS = "encoders.semantic.embeddings.register_tokens"
# What the model always has, whatever its configuration says.
_FIXED = {
    "vision.activation": "gelu",
    "semantic.activation": "gelu",
    "qformer.activation": "gelu",
    "sam.activation": "gelu",
    "language.activation": "silu",
    "qformer.positions": "absolute",
    "language.rope_scaling": "default",
    "language.rotary_share": 1.0,
}


@dataclass(frozen=True, slots=True)
class Agreement:
    """A configuration that agrees with the published weights.

    Attributes:
        config: without open values.
        report: at most one line, about the values that were taken from the weights.
    """

    config: CalicoConfig
    report: list[str]


@dataclass(frozen=True, slots=True)
class _Stated:
    """A value that a source states about a part that it supplies."""

    name: str
    value: Any
    origin: Path


def agree(config: CalicoConfig, matching: Matching, files: Sequence[WeightFiles]) -> Agreement:
    """Compare the sources of every part with the configuration, and fill its open values.

    Args:
        config: of the model.
        matching: of the sources, which names the part that each supplies.
        files: the sources.

    Returns:
        The configuration with the values of the weights, or with defaults where they state none.

    Raises:
        InputError: a `config.json` is not a JSON object, or has no number where one belongs.
        UsageError: values differ; all are listed.
    """
    stated = [one for one in _stated(config, matching, files) if one.value is not None]
    left_open = {name: d for name, d in open_values(config) if value_of(config, name) is None}
    # Where two sources supply one part, the later one counts, and an earlier one that states
    # another value is a fault below.
    taken = {one.name: one for one in stated if one.name in left_open}
    agreed = settled(config, {name: _value(one, left_open[name]) for name, one in taken.items()})
    differing = [one for one in stated if not _equal(one, _ours(agreed, one.name))]
    if differing:
        raise _disagreement(agreed, differing)
    shown = ", ".join(
        f"{name} {one.value} ({one.origin.name or one.origin})" for name, one in taken.items()
    )
    return Agreement(agreed, [f"taken from the weights: {shown}"] if taken else [])


def _disagreement(config: CalicoConfig, differing: Sequence[_Stated]) -> UsageError:
    """Return the error for values that differ, grouped by the sources that state them."""
    lines = []
    for origin in dict.fromkeys(one.origin for one in differing):
        lines.append(f"the weights in {origin} are of another architecture:")
        lines += [
            f"  {one.name}: {one.value!r} there, {_ours(config, one.name)!r} here"
            for one in differing
            if one.origin == origin
        ]
    fixed = [one.name for one in differing if one.name in (*_FIXED, "language.window")]
    hint = "Set these values in a --config file, or set norm and rotary values to null there: they"
    hint += " are then taken from the weights."
    if fixed:
        hint = f"This model does not compute {', '.join(fixed)} otherwise: take other weights."
    return UsageError("\n".join(lines), hint)


def _value(stated: _Stated, default: Any) -> Any:
    """Return a stated value in the type of its default; errors as `agree`."""
    value = stated.value
    # A file may write a rotary base of 10,000 as a whole number.
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    whole = type(value) is type(default)
    if not whole or (isinstance(value, float) and not 0 < value < math.inf):
        raise InputError(f"{stated.origin}: its config.json gives {value!r} for {stated.name}")
    return value


def _stated(
    config: CalicoConfig, matching: Matching, files: Sequence[WeightFiles]
) -> Iterator[_Stated]:
    for part, prefixes in _PARTS.items():
        if not _has(config, part):
            continue
        for number in matching.suppliers(prefixes):
            place = files[number].place
            data = read_published_config(place)
            for name, value in published_values(data, matching.layouts[number], part):
                yield _Stated(name, value, place)
    # The one open value that tensors show: DINOv2 was published with 4 registers and without.
    for number in matching.suppliers(("encoders.semantic.",)) if _has(config, "semantic") else ():
        count = matching.shape(_REGISTERS)[1] if _REGISTERS in matching.recipes else 0
        yield _Stated("semantic.registers", count, files[number].place)


def _has(config: CalicoConfig, part: str) -> bool:
    """Return whether the model has a part."""
    if part == "semantic":
        return config.uses_semantic
    return part != "qformer" or config.qformer.kind == "qformer"


def _ours(config: CalicoConfig, name: str) -> Any:
    """Return the value of a name in the model that the configuration describes."""
    language = config.language
    if name in _FIXED:
        return _FIXED[name]
    if name == "language.window":
        return language.max_positions
    if name == "qformer.vocabulary" and not config.qformer.sees_question:
        return None  # it has no words then
    # 0 stands for as many key/value heads as query heads, and for heads that share the width.
    if name == "language.kv_heads":
        return language.kv_heads or language.heads
    if name == "language.head_size":
        return language.head_size or language.hidden_size // language.heads
    return value_of(config, name)


def _equal(stated: _Stated, ours: Any) -> bool:
    if stated.name == "language.window" and isinstance(stated.value, int):
        return bool(stated.value >= ours)  # a window that no prompt fills changes nothing
    return ours is None or bool(stated.value == ours)
