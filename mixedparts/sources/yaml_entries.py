"""Read typed values from a YAML file that people edit; every error names file and line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from mixedparts.errors import InputError
from mixedparts.files.text import check_surrogates
from mixedparts.settings.yaml_file import YAML_FAULTS

# libyaml, where PyYAML was built with it, is several times faster.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """A safe loader that refuses a key written twice; PyYAML would use the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node; raise ConstructorError for a repeated key."""
        # A repeated key makes the mapping shorter than its node; only then the keys are compared.
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        if len(mapping) != len(node.value):
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"'{key.value}' is written twice", key.start_mark
                    )
                seen.add(key.value)
        return mapping


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of a YAML file, with the path to it.

    The methods that read a value raise InputError, with file and line, if it is missing or has
    another type.

    Attributes:
        file: name of the file, for messages.
        text: the whole file.
        path: keys and positions from the top of the file.
        value: the value as PyYAML returns it.
    """

    file: str
    text: str
    path: tuple[str | int, ...]
    value: Any

    def fault(self, message: str) -> NoReturn:
        """Raise an InputError with the line of this entry."""
        # PyYAML's values have no lines. The file is parsed again for the line, in an error only.
        raise InputError(
            f"{self.file}:{_line(self.text, self.path)}: {message}",
            "Correct that line of the manifest.",
        )

    def has(self, key: str) -> bool:
        """Return whether the mapping has `key`."""
        return key in self._mapping()

    def at(self, key: str | int) -> Entry:
        """Return the entry under a required key."""
        mapping = self._mapping()
        if key not in mapping:
            self.fault(f"'{key}' is missing")
        return Entry(self.file, self.text, (*self.path, key), mapping[key])

    def only(self, *keys: str) -> None:
        """Raise InputError if the mapping has any other key; it would be ignored."""
        for key in self._mapping():
            if key not in keys:
                self.at(key).fault(f"unknown key '{key}'; known here: {', '.join(keys)}")

    def string(self, key: str, default: str | None = None) -> str:
        """Return the non-empty text under `key`, or `default` if the key is missing."""
        if default is not None and not self.has(key):
            return default
        entry = self.at(key)
        if not isinstance(entry.value, str) or not entry.value.strip():
            entry.fault(f"'{key}' must be text, not {entry.value!r}")
        return str(entry.value)

    def integer(self, key: str, default: int | None = None) -> int:
        """Return the number, 0 or more, under `key`, or `default` if the key is missing."""
        if default is not None and not self.has(key):
            return default
        entry = self.at(key)
        # YAML reads `yes` as True, which is an int for `isinstance`.
        if type(entry.value) is not int or entry.value < 0:
            entry.fault(f"'{key}' must be a whole number, not {entry.value!r}")
        return int(entry.value)

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Yield the keys of the mapping, which must be text, with their entries."""
        for key, value in self._mapping().items():
            entry = Entry(self.file, self.text, (*self.path, key), value)
            # YAML reads an unquoted `no`, `1` or a date as another type.
            if not isinstance(key, str):
                entry.fault(f"{key!r} is read as {type(key).__name__}; put it in quotes")
            yield key, entry

    def elements(self) -> Iterator[Entry]:
        """Yield the entries of a list."""
        if not isinstance(self.value, list):
            self.fault(f"a list is expected here, not {_kind(self.value)}")
        for index, value in enumerate(self.value):
            yield Entry(self.file, self.text, (*self.path, index), value)

    def strings(self) -> tuple[str, ...]:
        """Return the texts of a list."""
        for entry in self.elements():
            if not isinstance(entry.value, str):
                entry.fault(f"{entry.value!r} must be text; put it in quotes")
        return tuple(self.value)

    def integers(self) -> tuple[int, ...]:
        """Return the numbers, 0 or more, of a list."""
        for entry in self.elements():
            if type(entry.value) is not int or entry.value < 0:
                entry.fault(f"{entry.value!r} must be a whole number")
        return tuple(self.value)

    def _mapping(self) -> dict[Any, Any]:
        if not isinstance(self.value, dict):
            self.fault(f"keys and values are expected here, not {_kind(self.value)}")
        return self.value


def load_yaml(text: str, file: str) -> Entry:
    """Return the top entry of a YAML text; `file` is its name in messages.

    Raises:
        InputError: the text is not YAML, or a key is written twice, with file and line.
    """
    try:
        value = yaml.load(text, _Loader)
        check_surrogates(text, value)
        return Entry(file, text, (), value)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        message = f"{file}:{line}: {error.problem or 'not readable as YAML'}"
    except YAML_FAULTS as error:
        message = f"{file}: not readable as YAML: {error}"
    raise InputError(message, "Correct that line of the manifest.")


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r:.40}"


def _line(text: str, path: tuple[str | int, ...]) -> int:
    """Return the line, from 1, of the entry at `path`, or of its last ancestor that exists."""
    node = yaml.compose(text, _Loader)
    line = 1
    for step in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line + 1
        elif isinstance(node, yaml.MappingNode):
            # Keys of nodes are still text: `1` for the key 1.
            matches = [(k, v) for k, v in node.value if k.value == str(step)]
            if not matches:
                break
            line = matches[0][0].start_mark.line + 1
            node = matches[0][1]
    return line
