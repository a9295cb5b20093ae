"""docs/fidelity.md against the preset 7b and the code: options, values, files and names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from calico.config.calico import CalicoConfig
from calico.config.open_values import settled
from calico.config.presets import PRESETS, seven_b
from calico.config.yaml_io import override, plain_config
from tests.checkout import DOCS

ROOT = Path(__file__).parents[2]
TEXT = (DOCS / "fidelity.md").read_text(encoding="utf-8")
OPTION = re.compile(r"`([a-z_]+(?:\.[a-z_]+)+)(?:: ([^`]+))?`")
PLACE = re.compile(r"`(calico/[a-z_/]+\.py)`((?: `\w+`,?)+)")


def rows(section: str) -> Iterator[list[str]]:
    """Yield the cells of the rows of a section's table, without its head."""
    body = TEXT.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in body.splitlines() if line.startswith("|")]
    assert len(lines) > 2, section
    for line in lines[2:]:
        yield [cell.strip() for cell in re.split(r" \|(?= )", line.strip("|"))]


def value_of(values: dict[str, Any], name: str) -> Any:
    found: Any = values
    for part in name.split("."):
        assert isinstance(found, dict), f"there is no option {name}"
        assert part in found, f"there is no option {name}"
        found = found[part]
    return found


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    return plain_config(settled(seven_b()))


SETTINGS = ("Model", "Prompt", "Loss", "Training")


def test_every_value_of_the_page_is_the_presets(values: dict[str, Any]) -> None:
    compared = 0
    for section in SETTINGS:
        for _, _, ours, _ in rows(section):
            for name, told in OPTION.findall(ours):
                assert told, f"{name} has no value on the page"
                assert value_of(values, name) == yaml.safe_load(told), name
                compared += 1
    assert compared >= 80


def test_what_the_preset_sets_is_on_the_page(values: dict[str, Any]) -> None:
    """A value that the preset changes has its place, and so has every one of the losses."""
    told = {name for name, _ in OPTION.findall(TEXT)}
    changed = set(differing(values, plain_config(settled(CalicoConfig()))))
    assert changed - {"name"} <= told
    for section in ("loss", "trained", "correspondence"):
        open_ones = {"loss.points", "loss.oversample", "loss.importance"}
        assert {f"{section}.{name}" for name in values[section]} - told <= open_ones


def differing(one: dict[str, Any], other: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of values that differ."""
    for name, value in one.items():
        if isinstance(value, dict) and isinstance(other[name], dict) and value:
            yield from differing(value, other[name], f"{prefix}{name}.")
        elif value != other[name]:
            yield f"{prefix}{name}"


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))


def test_every_file_and_name_of_the_page_exists() -> None:
    places = PLACE.findall(TEXT)
    assert len(places) >= 50
    for path, listed in places:
        for name in re.findall(r"`(\w+)`", listed):
            assert name in names_in(path), f"{path} has no {name}"
    for section in SETTINGS:
        for setting, _, _, code in rows(section):
            assert PLACE.search(code), setting


def test_every_equation_has_its_code() -> None:
    numbers = [int(one) for cells in rows("Equations") for one in re.findall(r"\d+", cells[0])]
    assert numbers == list(range(1, 12))
    assert all(PLACE.search(cells[2]) for cells in rows("Equations"))


def test_every_difference_names_its_option(values: dict[str, Any]) -> None:
    listed = list(rows("Remaining differences"))
    assert len(listed) >= 10
    for difference, _, option in listed:
        names = OPTION.findall(option)
        presets = re.findall(r"--preset ([\w-]+)", option)
        assert names or presets, difference
        assert set(presets) <= set(PRESETS)
        for name, _ in names:
            value_of(values, name)


def test_our_own_values_are_a_configuration_that_differs_everywhere(values: dict[str, Any]) -> None:
    ours = yaml.safe_load(TEXT.partition("```yaml\n")[2].partition("```")[0])
    config = plain_config(settled(override(seven_b(), ours, "the page")))
    leaves = set(differing(ours, values_of_same_names(ours, values)))
    assert set(differing(config, values)) == leaves
    assert len(leaves) == 7


def values_of_same_names(like: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: values_of_same_names(value, values[name]) if isinstance(value, dict) else values[name]
        for name, value in like.items()
    }
