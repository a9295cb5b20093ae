"""Check and convert values of dataclass fields by their annotated types.

A field's type states its range, so that parsing, validation and the command line follow from it:

    samples: Annotated[Count | None, Option("rows over all splits", "N")] = None
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from mixedparts.errors import near_names
from mixedparts.settings.local_paths import as_path, is_address, is_utf8, shown

T = TypeVar("T")

Count = Annotated[int, Meta(ge=1)]
CountOrZero = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
AboveZero = Annotated[float, Meta(gt=0)]
ZeroOrMore = Annotated[float, Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class Option:
    """Command-line option of a field, given in the field's annotation.

    Attributes:
        help: the help text, with the default in parentheses.
        metavar: name of the value in the help.
        result: True if the field decides the result; False if it decides where and how work runs.
        command_line: whether there is an option of the field's name.
        address: whether a path may also be an address such as `s3://bucket/folder`.
    """

    help: str = ""
    metavar: str | None = None
    result: bool = True
    command_line: bool = True
    address: bool = False


@cache
def field_types(kind: Any) -> dict[str, Any]:
    """Return the annotated type of every field of a dataclass, by name."""
    return typing.get_type_hints(kind, include_extras=True)


def option_of(hint: Any) -> Option | None:
    """Return the `Option` in a field's annotation, None where there is none."""
    if typing.get_origin(hint) is not Annotated:
        return None
    return next((item for item in hint.__metadata__ if isinstance(item, Option)), None)


def bare_type(hint: Any) -> Any:
    """Return a type without annotations and without None, such as int for `Count | None`."""
    if typing.get_origin(hint) is Annotated:
        return bare_type(typing.get_args(hint)[0])
    members = [item for item in typing.get_args(hint) if item is not type(None)]
    if type(None) in typing.get_args(hint) and len(members) == 1:
        return bare_type(members[0])
    return hint


class ValueFault(ValueError):
    """A value that is not of its type, out of its range, or not finite.

    Args:
        message: what is wrong.
        place: where in the value, such as `.paco` for that key of a mapping.
    """

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(message)
        self.place = place


def convert(value: Any, hint: Any) -> Any:
    """Return a value as the annotated type.

    Args:
        value: plain value, as YAML has it, or one that is of the type already.
        hint: the type, with its `msgspec.Meta` ranges.

    Returns:
        The value; lists become tuples, texts become paths and floats where the type requires it.

    Raises:
        ValueFault: it is not of the type, out of its range, or a number that is not finite.
    """
    # msgspec does not list the choices in its message.
    bare = bare_type(hint)
    if typing.get_origin(bare) is Literal and value not in typing.get_args(bare):
        choices = list(map(str, typing.get_args(bare)))
        near = near_names(str(value), choices)
        raise ValueFault(f"{value!r}, choose from {', '.join(choices)}.{near}".removesuffix("."))
    if typing.get_origin(bare) is Mapping:
        return _convert_mapping(value, typing.get_args(bare)[1])
    value = _float_of_text(value, bare)
    try:
        converted = msgspec.convert(value, hint, dec_hook=_path_of_text)
    except msgspec.ValidationError as error:
        raise ValueFault(f"{_in_words(str(error))}, got {value!r}") from None
    option = option_of(hint)
    takes_address = option is not None and option.address
    if isinstance(converted, Path) and is_address(converted) and not takes_address:
        raise ValueFault(f"expected a local file or folder, got the address {shown(converted)!r}")
    if isinstance(converted, Path) and not is_utf8(converted):
        raise ValueFault(f"expected a path in UTF-8, got {str(value)!a}")
    # YAML has .inf and .nan, and a range such as `gt=0` accepts infinity.
    for number in converted if isinstance(converted, tuple) else (converted,):
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueFault(f"expected a finite number, got {number}")
    return converted


def _convert_mapping(value: Any, hint: Any) -> dict[str, Any]:
    """Return a mapping with converted values."""
    # Item by item, so that the message names the key.
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueFault(f"expected a mapping of names to values, got {value!r}")
    items: dict[str, Any] = {}
    for name, item in value.items():
        try:
            items[name] = convert(item, hint)
        except ValueFault as error:
            raise ValueFault(str(error), f".{name}{error.place}") from None
    return items


def _float_of_text(value: Any, bare: Any) -> Any:
    """Return text as a float where the type is float and the text is a number."""
    # YAML 1.1 reads 1e-3, without a point, as text.
    if bare is float and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _path_of_text(kind: type, value: Any) -> Any:
    """Convert text to a path; msgspec calls this for types that it does not know."""
    if kind is Path and isinstance(value, str | Path):
        return as_path(str(value))
    raise ValueError(f"expected {kind.__name__}")


def _in_words(message: str) -> str:
    """Return a message of msgspec in the words of YAML."""
    # Cut off: the place and the value, which the caller adds itself.
    text = message.split(" - at ")[0].split(", got ")[0].replace("`", "")
    for theirs, ours in (("array", "list"), ("object", "mapping"), ("str", "text")):
        text = text.replace(theirs, ours)
    return text[:1].lower() + text[1:]


@cache
def _without_ranges(hint: Any) -> Any:
    """Return a type without its ranges, which `value_faults` checks."""
    if typing.get_origin(hint) is Annotated:
        bare = _without_ranges(typing.get_args(hint)[0])
        option = option_of(hint)
        return bare if option is None or not option.address else Annotated[bare, option]
    arguments = typing.get_args(hint)
    if not arguments or typing.get_origin(hint) is Literal:
        return hint
    bare = tuple(item if item is Ellipsis else _without_ranges(item) for item in arguments)
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        # `X | Y` cannot be written for members that are in a tuple.
        return typing.Union[bare]  # noqa: UP007
    return typing.get_origin(hint)[bare]


def value_faults(settings: Any, prefix: str = "") -> Iterator[str]:
    """Check every field of a dataclass, and of the dataclasses in it, against its type.

    Args:
        settings: the dataclass instance.
        prefix: dotted path that leads to it.

    Yields:
        One sentence for each fault, with the dotted name of the value.
    """
    kind: type = type(settings)
    for name, hint in field_types(kind).items():
        value = getattr(settings, name)
        if is_dataclass(value):
            yield from value_faults(value, f"{prefix}{name}.")
            continue
        try:
            convert(value, hint)
        except ValueFault as error:
            yield f"{prefix}{name}{error.place}: {error}"


def converted(
    kind: type, data: Mapping[Any, Any], faults: list[str], base: Any = None, prefix: str = ""
) -> dict[str, Any]:
    """Convert plain values for some fields of a dataclass, and collect the faults of all of them.

    Args:
        kind: the dataclass.
        data: field name -> plain value; a mapping for a field that is a dataclass.
        faults: gets a sentence for every unknown name and every value that is not of its type.
            Ranges are left to `value_faults`, so that they are reported with other faults.
        base: instance whose nested dataclasses give the values that `data` does not name.
        prefix: dotted path that leads to the dataclass.

    Returns:
        Field name -> value of its type, without those that have a fault.
    """
    hints = field_types(kind)
    names = [item.name for item in fields(kind)]
    values: dict[str, Any] = {}
    for key, value in data.items():
        path = f"{prefix}{key}"
        if key not in names:
            faults.append(f"{path}: unknown.{near_names(str(key), names)}")
        elif is_dataclass(section := getattr(base, key, None)):
            if isinstance(value, Mapping):
                inner = converted(type(section), value, faults, section, f"{path}.")
                values[key] = replace(section, **inner)  # type: ignore[type-var]
            else:
                faults.append(f"{path}: expected a mapping, got {value!r}")
        else:
            try:
                values[key] = convert(value, _without_ranges(hints[key]))
            except ValueFault as error:
                faults.append(f"{path}{error.place}: {error}")
    return values
