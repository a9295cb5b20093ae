"""Reference pages of the configurations, written from their dataclasses.

Fields of a build state their help in their annotation or in the docstring of the class. Fields of
the model and its training have a comment above them or beside them: the same text that a reader of
the code sees.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

FOLDER = "reference/configuration"
_MODEL_INTRODUCTION = """\
# Configuration of model and training

`calico-train --preset NAME` starts from a named set of values, and `--config FILE` changes some of
them. The file is YAML with the sections of this page:

```yaml
training: {steps: 2000, batch_size: 32}
execution: {precision: bf16}
```

`calico-train --preset 7b --dry-run` prints all values of a preset as such a file. A run saves all
of its values in `config.yaml`. An unknown key and a value out of range end the command with exit
code 2; the message lists all faults together.

The column "default" has the values of the classes, "presets" those that a preset changes. A preset
that is not named has the default. `7b` is the paper's model
([where each value comes from](../../fidelity.md)), `2b` fits one GPU of 16 GB, and `tiny` trains on
a CPU. `7b-dinov2-large` and `7b-dinov2-giant` have the values of `7b`, except for the semantic
encoder.

| key | type | default | meaning |
|---|---|---|---|
| `name` | text | `custom` | Name of the configuration, printed and saved with a run. |
| `format_version` | integer | `1` | Version of this format; a program reads no other. |
"""
_BUILD_INTRODUCTION = """\
# Configuration of a build

`mixedparts build --config FILE` reads these keys from YAML. Options of the command line take
precedence. `manifest.json` records the values that decide the result.

```yaml
sources: [paco, partimagenet, ade20k]
samples: 100000
min_part_area: 0.002
```

A key in the part *Result* changes the content of the build and its id. A key in the part *Work*
only decides where and how it is computed.
"""


def configuration_pages() -> Iterator[tuple[str, str]]:
    """Yield the path of every page below the documentation, and its Markdown."""
    yield f"{FOLDER}/build.md", _build_page()
    yield f"{FOLDER}/model.md", _model_page()


def _build_page() -> str:
    from mixedparts.pipeline.config import BuildConfig
    from mixedparts.settings.fields import field_types, option_of

    hints, texts = field_types(BuildConfig), attributes(BuildConfig)
    tables: dict[bool, list[str]] = {True: [], False: []}
    for item in fields(BuildConfig):
        option = option_of(hints[item.name])
        decides = option is None or option.result
        row = [f"`{item.name}`", kind_of(hints[item.name]), default_of(item), texts[item.name]]
        tables[decides].append(_row(row))
    head = "| key | type | default | meaning |\n|---|---|---|---|\n"
    parts = [f"## {title}\n\n{head}" + "\n".join(tables[decides])
             for title, decides in (("Result", True), ("Work", False))]  # fmt: skip
    return "\n\n".join([_BUILD_INTRODUCTION, *parts]) + "\n"


def _model_page() -> str:
    from calico.config.calico import CalicoConfig
    from calico.config.presets import PRESETS

    presets = {name: build() for name, build in PRESETS.items()}
    parts = [_MODEL_INTRODUCTION]
    for section, default in _sections(CalicoConfig()):
        values = {name: attrgetter(section)(config) for name, config in presets.items()}
        parts.append(f"## {section}\n\n{_introduction(type(default))}")
        parts.append(_section_table(default, values))
    return "\n\n".join(parts) + "\n"


def _sections(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted name and default of every dataclass in a configuration."""
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            yield f"{prefix}{item.name}", value
            yield from _sections(value, f"{prefix}{item.name}.")


def _section_table(default: Any, presets: Mapping[str, Any]) -> str:
    from mixedparts.settings.fields import field_types

    kind = type(default)
    hints, texts = field_types(kind), comments(kind)
    rows = ["| key | type | default | presets | meaning |", "|---|---|---|---|---|"]
    for item in fields(kind):
        value = getattr(default, item.name)
        if is_dataclass(value):
            continue
        changed: dict[str, list[str]] = {}
        for name, section in presets.items():
            base = "7b" if name.startswith("7b-") else None
            expected = getattr(presets[base], item.name) if base else value
            if (other := getattr(section, item.name)) != expected:
                changed.setdefault(shown(other), []).append(f"`{name}`")
        others = "<br>".join(f"{', '.join(names)}: {text}" for text, names in changed.items())
        cells = [f"`{item.name}`", kind_of(hints[item.name]), shown(value), others]
        rows.append(_row([*cells, texts.get(item.name, "")]))
    return "\n".join(rows)


def shown(value: Any) -> str:
    """Return a value as YAML has it."""
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, Mapping):
        return f"`{{{', '.join(f'{key}: {item}' for key, item in value.items())}}}`"
    if isinstance(value, float):
        return f"`{value:g}`" if float(f"{value:g}") == value else f"`{value}`"
    text = str(value).replace("\n", "\\n")
    # Spaces at an end would be lost, and an empty text would be no code.
    return f'`"{text}"`' if text != text.strip() or not text else f"`{text}`"


def default_of(item: Field[Any]) -> str:
    """Return the default of a field as YAML has it."""
    if item.default is not MISSING:
        value = item.default
        return shown(value.as_posix() if isinstance(value, Path) else value)
    return shown(item.default_factory()) if item.default_factory is not MISSING else "required"


def kind_of(hint: Any) -> str:
    """Return the type of a field in words, with its range."""
    if typing.get_origin(hint) is Annotated:
        bare, *notes = typing.get_args(hint)
        ranges = [_range(note) for note in notes if isinstance(note, Meta)]
        return " ".join([kind_of(bare), *filter(None, ranges)])
    arguments = typing.get_args(hint)
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return " or ".join(map(kind_of, arguments))
    if typing.get_origin(hint) is Literal:
        return " or ".join(f"`{choice}`" for choice in arguments)
    if typing.get_origin(hint) is tuple:
        if arguments[-1] is Ellipsis:
            return f"list of {_plural(kind_of(arguments[0]))}"
        return f"list of {len(arguments)}: {', '.join(map(kind_of, arguments))}"
    if typing.get_origin(hint) is Mapping:
        return f"mapping of names to {_plural(kind_of(arguments[1]))}"
    words = {int: "integer", float: "number", str: "text", bool: "`true` or `false`"}
    return {**words, Path: "path", type(None): "`null`"}[hint]


def _plural(text: str) -> str:
    for one, many in (
        ("number", "numbers"),
        ("integer", "integers"),
        ("text", "texts"),
        ("path", "paths"),
    ):
        text = re.sub(rf"\b{one}\b", many, text)
    return text


def _range(note: Meta) -> str:
    low = f"≥ {note.ge}" if note.ge is not None else f"> {note.gt}" if note.gt is not None else ""
    high = f"≤ {note.le}" if note.le is not None else f"< {note.lt}" if note.lt is not None else ""
    return ", ".join(filter(None, [low, high])).replace(" ", "\N{NO-BREAK SPACE}", 1)


def attributes(kind: type) -> dict[str, str]:
    """Return the texts of the section `Attributes` of a class's docstring by name."""
    text = inspect.cleandoc(kind.__doc__ or "").split("Attributes:\n")[1].split("\n\n")[0]
    found: dict[str, str] = {}
    for entry in re.split(r"\n    (?! )", "\n" + text)[1:]:
        names, _, meaning = entry.partition(":")
        for name in names.split(","):
            found[name.strip()] = sentence(meaning)
    return found


def comments(kind: type) -> dict[str, str]:
    """Return the comment above each field of a class together with the one beside it.

    A comment above the first of several fields without a comment of their own belongs to it alone.
    """
    source = textwrap.dedent(inspect.getsource(kind))
    lines = source.splitlines()
    at = {
        token.start[0]: token
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (tree,) = ast.parse(source).body
    found = {}
    for node in tree.body:  # type: ignore[attr-defined]
        if not isinstance(node, ast.AnnAssign):
            continue
        above: list[str] = []
        line = node.lineno - 1
        while line in at and lines[line - 1].lstrip().startswith("#"):
            above.insert(0, at[line].string[1:].strip())
            line -= 1
        beside = [
            at[line].string[1:].strip()
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
            if line in at
        ]
        found[ast.unparse(node.target)] = " ".join(filter(None, map(sentence, [
            " ".join(above), " ".join(beside)])))  # fmt: skip
    return found


def sentence(text: str) -> str:
    """Return a comment as sentences."""
    # YAML has null for None. Tags such as <p> are no HTML.
    text = re.sub(r"\bNone\b", "`null`", " ".join(text.split())).replace("**", "^")
    text = text.replace("<", "&lt;")
    if not text:
        return ""
    text = text[:1].upper() + text[1:] if text[:1].islower() else text
    return text if text.endswith((".", ":")) else f"{text}."


def _introduction(kind: type) -> str:
    """Return the docstring of a class without its sections."""
    text = inspect.cleandoc(kind.__doc__ or "")
    return re.split(r"\n\n(?:Attributes|Raises|Args):", text)[0]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
