"""Make command-line options from the fields of a dataclass, and read the given ones back."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from mixedparts.settings.fields import bare_type, field_types, option_of
from mixedparts.settings.local_paths import local_path, place

_CONVERTERS: dict[type, Callable[[str], Any]] = {int: int, float: float, Path: local_path}


def add_field_options(parser: argparse.ArgumentParser, kind: type, result: bool) -> None:
    """Add an option for every field that has an `Option` in its annotation.

    Args:
        parser: gets the options.
        kind: the dataclass.
        result: add the options that decide the result (True), or those that decide where and how
            work runs (False).
    """
    # No option has a default: None means that it was not given, so that the configuration file or
    # the default of the dataclass applies.
    for name, hint in field_types(kind).items():
        option = option_of(hint)
        if option is None or not option.command_line or option.result is not result:
            continue
        flag, bare = f"--{name.replace('_', '-')}", bare_type(hint)
        if bare is bool:
            parser.add_argument(flag, action="store_true", default=None, help=option.help)
        elif typing.get_origin(bare) is Literal:
            parser.add_argument(flag, choices=typing.get_args(bare), help=option.help)
        elif _is_list(bare):
            parser.add_argument(flag, nargs="+", metavar=option.metavar, help=option.help)
        else:
            # Other types, such as a share `i/N`, are texts that the command parses itself.
            kind_of = place if option.address else _CONVERTERS.get(bare, str)
            parser.add_argument(flag, type=kind_of, metavar=option.metavar, help=option.help)


def given_options(arguments: argparse.Namespace, kind: type) -> dict[str, Any]:
    """Return the values of the options that were given, by field name.

    Args:
        arguments: what the parser of `add_field_options` returned.
        kind: the dataclass.

    Returns:
        Field name -> value; lists as tuples.
    """
    values: dict[str, Any] = {}
    for name, hint in field_types(kind).items():
        option = option_of(hint)
        value = getattr(arguments, name, None)
        if option is not None and option.command_line and value is not None:
            values[name] = tuple(value) if _is_list(bare_type(hint)) else value
    return values


def result_fields(kind: type) -> tuple[str, ...]:
    """Return the names of the fields that decide the result, in their order."""
    types: Mapping[str, Any] = field_types(kind)
    options = {name: option_of(hint) for name, hint in types.items()}
    return tuple(name for name, option in options.items() if option is None or option.result)


def _is_list(bare: Any) -> bool:
    """Return whether a type is a tuple of any length."""
    # `tuple[int, int]` is one value of two numbers; `tuple[str, ...]` is a list of values.
    arguments = typing.get_args(bare)
    return typing.get_origin(bare) is tuple and len(arguments) == 2 and arguments[1] is Ellipsis
