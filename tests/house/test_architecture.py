"""docs/architecture.md shows the layers that import-linter checks, and names what is there."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from tests.checkout import DOCS, ROOT

PAGE = (DOCS / "architecture.md").read_text(encoding="utf-8")
CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
    "importlinter"
]["contracts"]
TOP: list[str] = CONTRACTS[0]["layers"]


def layers(package: str) -> list[set[str]]:
    """Return the layers of a package from the top down, as import-linter has them."""
    (contract,) = [one for one in CONTRACTS[1:] if one["containers"] == [package]]
    return [{name.strip() for name in layer.split("|")} for layer in contract["layers"]]


def diagram(package: str) -> list[set[str]]:
    """Return the boxes of a package in the order of their arrows."""
    (block,) = re.findall(rf"^  subgraph {package}\n(.+?)^  end$", PAGE, re.MULTILINE | re.DOTALL)
    boxes = {key: set(label.split(" · ")) for key, label in re.findall(r'(\w+)\["(.+?)"\]', block)}
    below = dict(re.findall(r'(\w+)\[".+?"\] --> (\w+)', block))
    (first,) = boxes.keys() - below.values()
    order = [first]
    while order[-1] in below:
        order.append(below[order[-1]])
    assert len(order) == len(boxes)
    return [boxes[key] for key in order]


@pytest.mark.parametrize("package", TOP)
def test_the_diagram_has_every_layer_in_its_order(package: str) -> None:
    assert diagram(package) == layers(package)


def test_the_diagram_has_the_order_of_the_packages() -> None:
    assert f"  {' --> '.join(TOP)}\n```" in PAGE
    assert sorted(contract["containers"][0] for contract in CONTRACTS[1:]) == sorted(TOP)


@pytest.mark.parametrize("package", TOP)
def test_the_tables_describe_every_package(package: str) -> None:
    section = PAGE.split(f"\n### {package}\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)
    assert {name for name, _ in rows} == set().union(*layers(package))
    assert len(rows) == len(dict(rows))
    assert [name for name, text in rows if len(text) < 15] == []


def test_every_module_that_the_page_names_is_there() -> None:
    named = set(re.findall(rf"\b(?:{'|'.join(TOP)})(?:\.[a-z_]+)+", PAGE))
    # Entry-point groups and a class are no modules.
    named -= {"mixedparts.sources", "mixedparts.bundles", "mixedparts.masks"}
    assert len(named) > 20
    assert [name for name in sorted(named) if find_spec(name) is None] == []


def test_every_value_that_the_page_names_is_there() -> None:
    head, *rows = re.findall(r"^\| \w.* → .+ \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert head == ("value", "defined in")
    assert len(rows) == 8
    for values, modules in rows:
        found = [import_module(name) for name in re.findall(r"`([\w.]+)`", modules)]
        for value in re.findall(r"`([A-Z]\w+|sample_type)`", values):
            assert any(hasattr(module, value) for module in found), value
