"""Read configurations from YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mixedparts.errors import InputError
from mixedparts.files.text import check_surrogates, read_text

YAML_FAULTS = (yaml.YAMLError, RecursionError, ValueError, AttributeError)
"""What parsing a YAML text may raise: the last three for deep nesting, for the date 2024-13-45 or a
number of too many digits, and for a wrong `!!timestamp`."""


def read_yaml_mapping(path: Path) -> dict[Any, Any]:
    """Read a YAML file of `name: value` lines.

    Raises:
        InputError: the file is missing, is not YAML, or contains no mapping.
    """
    text = read_text(path, "the configuration")
    try:
        value = yaml.safe_load(text)
        check_surrogates(text, value)
    except YAML_FAULTS as error:
        raise InputError(f"the configuration {path} is not YAML: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"the configuration {path} contains no mapping of names to values")
    return value
