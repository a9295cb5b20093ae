"""Read configurations from YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mixedparts.errors import InputError


def read_yaml_mapping(path: Path) -> dict[Any, Any]:
    """Read a YAML file of `name: value` lines.

    Raises:
        InputError: the file is missing, is not YAML, or contains no mapping.
    """
    # Nested deeply enough, a file exceeds the recursion limit of the parser.
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"the configuration {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise InputError(f"the configuration {path} is not YAML: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"the configuration {path} contains no mapping of names to values")
    return value
