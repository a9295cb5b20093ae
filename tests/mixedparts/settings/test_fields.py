"""A field states its type and range once: conversion, faults and options follow from it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from mixedparts.errors import InputError
from mixedparts.settings.fields import (
    AboveZero,
    Count,
    CountOrZero,
    Option,
    Share,
    ValueFault,
    ZeroOrMore,
    convert,
    converted,
    value_faults,
)
from mixedparts.settings.options import add_field_options, given_options, result_fields
from mixedparts.settings.yaml_file import read_yaml_mapping


@dataclass(frozen=True)
class Inner:
    rate: AboveZero = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    weights: Mapping[str, ZeroOrMore] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    number: Annotated[Count, Option("how many", "N")] = 3
    limit: Annotated[Count | None, Option("at most", "N")] = None
    share: Annotated[Share, Option("share", "F")] = 0.5
    kind: Annotated[Literal["a", "b"], Option("kind")] = "a"
    names: Annotated[tuple[str, ...], Option("names", "NAME")] = ()
    folder: Annotated[Path, Option("where", "DIR", result=False)] = Path("here")
    quick: Annotated[bool, Option("quick")] = False
    inside: int = 1
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, Count, 3),
        (2, float, 2.0),
        ("1e-3", float, 0.001),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([0.5, 1], tuple[float, float], (0.5, 1.0)),
        ("x", Path, Path("x")),
        (Path("x"), Path, Path("x")),
        (None, Count | None, None),
        ({"a": 1}, Mapping[str, float], {"a": 1.0}),
        ({"a": "2e1"}, Mapping[str, float], {"a": 20.0}),
        ("b", Literal["a", "b"], "b"),
    ],
)
def test_values_become_their_type(value: Any, hint: Any, expected: Any) -> None:
    found = convert(value, hint)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (0, Count, "expected int >= 1, got 0"),
        (-1, CountOrZero, "expected int >= 0, got -1"),
        (1.5, Share, r"expected float <= 1\.0, got 1\.5"),
        (True, Count, "expected int, got True"),
        ("3", Count, "expected int, got '3'"),
        ("much", float, "expected float, got 'much'"),
        (math.inf, float, "expected a finite number, got inf"),
        (math.nan, ZeroOrMore, r"expected float >= 0\.0, got nan"),
        (math.nan, float, "expected a finite number, got nan"),
        ([1.0, math.inf], tuple[float, float], "expected a finite number"),
        ([1], tuple[int, int], "expected list of length 2"),
        ("ab", tuple[str, ...], "expected list, got 'ab'"),
        ("c", Literal["a", "b"], "'c', choose from a, b"),
        (3, Path, "expected Path, got 3"),
        (3, Mapping[str, float], "expected a mapping of names to values, got 3"),
        ({1: 2}, Mapping[str, float], "expected a mapping of names"),
        (None, Count, "expected int, got None"),
    ],
)
def test_what_is_not_of_the_type_is_one_sentence(value: Any, hint: Any, message: str) -> None:
    with pytest.raises(ValueFault, match=f"^{message}"):
        convert(value, hint)


def test_faults_of_all_values_come_together() -> None:
    inner = Inner(rate=0.0, weights={"paco": -1.0})
    faults = list(value_faults(Settings(number=0, share=2.0, inner=inner)))
    assert faults == [
        "number: expected int >= 1, got 0",
        "share: expected float <= 1.0, got 2.0",
        "inner.rate: expected float > 0.0, got 0.0",
        "inner.weights.paco: expected float >= 0.0, got -1.0",
    ]
    assert list(value_faults(Settings())) == []


def test_plain_values_are_converted_and_unknown_names_named() -> None:
    faults: list[str] = []
    data = {
        "numbre": 1,
        "folder": "there",
        "inner": {"rate": "1e-2", "betas": [1, "x"], "weights": 3},
        "names": "one",
        7: 8,
    }
    values = converted(Settings, data, faults, Settings())
    assert values["folder"] == Path("there")
    assert values["inner"] == Inner(rate=0.01)
    assert [fault.split(":")[0] for fault in faults] == [
        "numbre",
        "inner.betas",
        "inner.weights",
        "names",
        "7",
    ]
    assert "Did you mean 'number'" in faults[0]


def test_ranges_wait_for_the_other_rules() -> None:
    """So that a value out of range is reported together with values that do not fit each other."""
    faults: list[str] = []
    values = converted(Settings, {"number": 0}, faults, Settings())
    assert (values, faults) == ({"number": 0}, [])
    assert list(value_faults(replace(Settings(), **values))) == ["number: expected int >= 1, got 0"]


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    add_field_options(made, Settings, result=True)
    add_field_options(made, Settings, result=False)
    return made


def test_options_follow_from_the_fields() -> None:
    words = [
        "--number",
        "5",
        "--limit",
        "2",
        "--share",
        "0.25",
        "--kind",
        "b",
        "--names",
        "x",
        "y",
        "--folder",
        "out",
        "--quick",
    ]
    given = given_options(parser().parse_args(words), Settings)
    assert given == {
        "number": 5,
        "limit": 2,
        "share": 0.25,
        "kind": "b",
        "names": ("x", "y"),
        "folder": Path("out"),
        "quick": True,
    }
    assert Settings(**given).inside == 1


def test_what_is_not_given_has_no_value() -> None:
    assert given_options(parser().parse_args([]), Settings) == {}


def test_fields_that_do_not_decide_the_result_are_left_out() -> None:
    assert "folder" not in result_fields(Settings)
    assert {"number", "inside", "inner"} <= set(result_fields(Settings))


@pytest.mark.parametrize("text", ["a: [", "- a", "3", "\x00"])
def test_a_file_that_is_no_mapping_is_one_message(tmp_path: Path, text: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"my\.yaml"):
        read_yaml_mapping(path)
