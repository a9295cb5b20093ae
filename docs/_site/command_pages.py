"""Reference pages of the commands, written from their argument parsers.

By the rule of the help texts, a parenthesis at the end of one is the default of its option. It goes
into a column of its own here. Nothing depends on the terminal or on the machine.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

PARSERS = {
    "mixedparts": "mixedparts.cli.program",
    "calico-pretrain": "calico.cli.pretrain",
    "calico-train": "calico.cli.train",
    "calico-eval": "calico.cli.evaluate",
    "calico-predict": "calico.cli.predict",
    "calico-merge": "calico.cli.merge",
    "calico-cost": "calico.cli.cost",
    "calico-demo": "calico.cli.demo",
}
FOLDER = "reference/commands"
# Options of every command; one page has them.
_COMMON = {"--help", "--version", "--quiet", "--verbose", "--print-completion"}
_AT_END = re.compile(r"\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)$")
_INTRODUCTION = """\
# Commands

These pages are written from the argument parsers when the site is built. `COMMAND --help` prints
the same text. `python -m mixedparts` is `mixedparts`, and `python -m calico train` is
`calico-train`.
"""
_EXIT_CODES = """
## Exit codes

| code | meaning |
|---|---|
| 0 | done |
| 1 | problems were found, for example by `mixedparts verify`, or too many records were rejected |
| 2 | wrong usage: an unknown option or name, or values that do not fit |
| 3 | an input is missing or unreadable, or the environment lacks something |
| 4 | this share of a build has done all it can, others have not ([clusters](../../clusters.md)) |
| 130 | interrupted with Ctrl+C |

## Environment variables

| variable | effect |
|---|---|
| `MIXEDPARTS_ROOT` | folder or address of the sources, in place of `./sources` |
| `MIXEDPARTS_HOME` | build folder that the name `mixedparts` means |
| `RAY_ADDRESS` | Ray cluster of `--engine ray` |
"""


def command_pages() -> Iterator[tuple[str, str]]:
    """Yield the path of every page below the documentation, and its Markdown."""
    rows, first = [], None
    for parser, summary in commands():
        name = parser.prog.replace(" ", "-")
        first = first or parser
        rows.append(f"| [`{parser.prog}`]({name}.md) | {_sentence(summary)} |")
        yield f"{FOLDER}/{name}.md", _page(parser)
    table = "\n".join(["| command | |", "|---|---|", *rows])
    common = _table(action for action in _all_common())
    yield (
        f"{FOLDER}/index.md",
        f"{_INTRODUCTION}\n{table}\n\n## Options of every command\n\n{common}\n{_EXIT_CODES}",
    )


def commands() -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """Yield the parser of every command and subcommand with its summary."""
    for program, module in PARSERS.items():
        parser: argparse.ArgumentParser = import_module(module)._parser()
        subcommands = _subcommands(parser)
        if subcommands is None:
            yield parser, parser.description or ""
            continue
        texts = {item.dest: item.help or "" for item in subcommands._choices_actions}
        for name, child in subcommands.choices.items():
            # Options that are made from a configuration wait until a subcommand is chosen.
            if getattr(child, "add_options", None) is not None:
                waiting, child.add_options = child.add_options, None
                waiting(child)
            yield child, texts[name]
        assert program == parser.prog


def options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments and options of a command, without those that every command has."""
    for action in parser._actions:
        if not _COMMON & set(action.option_strings):
            yield action


def default_and_meaning(action: argparse.Action) -> tuple[str, str]:
    """Return the default of an option, empty without one, and the rest of its help."""
    text = " ".join((action.help or "").split()) % {"prog": "mixedparts"}
    found = _AT_END.search(text)
    if action.nargs != 0 and action.option_strings and found:
        return found.group(1), text[: found.start()]
    return "", text


def _page(parser: argparse.ArgumentParser) -> str:
    parts = [f"# {parser.prog}", _sentence(parser.description or "")]
    epilog = (parser.epilog or "").split("\n\nexit codes")[0]
    examples = epilog.partition("examples:\n")[2]
    if examples:
        lines = "\n".join(line[2:] for line in examples.rstrip().splitlines())
        parts += ["## Examples", f"```bash\n{lines}\n```"]
    positional = [action for action in options(parser) if not action.option_strings]
    optional = [action for action in options(parser) if action.option_strings]
    if positional:
        parts += ["## Arguments", _table(positional)]
    if optional:
        parts += ["## Options", _table(optional)]
    parts.append("Options that every command has: [Commands](index.md#options-of-every-command).")
    return "\n\n".join(parts) + "\n"


def _table(actions: Any) -> str:
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for action in actions:
        default, meaning = default_and_meaning(action)
        if action.required and action.option_strings:
            default = "required"
        if action.choices and not isinstance(action, argparse._SubParsersAction):
            named = [f"`{choice}`" for choice in action.choices]
            if not all(str(choice) in meaning for choice in action.choices):
                meaning = f"{meaning}; one of {', '.join(named)}".removeprefix("; ")
        meaning = _code_of_options(_sentence(meaning))
        rows.append(f"| {_name(action)} | {_cell(_code(default))} | {_cell(meaning)} |")
    return "\n".join(rows)


def _name(action: argparse.Action) -> str:
    """Return the option with its value, as code that does not break within a word."""
    words = _metavar(action)
    if not action.option_strings:
        return f"`{words}`"
    flags = ", ".join(f"`{flag}`" for flag in action.option_strings)
    return _cell(f"{flags} `{words}`" if words else flags)


def _metavar(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    name = action.metavar or (action.dest.upper() if action.option_strings else action.dest)
    if action.choices and not action.metavar:
        name = "NAME" if len(list(action.choices)) > 4 else "|".join(map(str, action.choices))
    form = {"+": "{0} …", "*": "[{0} …]", "?": "[{0}]"}.get(str(action.nargs), "{0}")
    return form.format(name)


def _all_common() -> Iterator[argparse.Action]:
    """Yield the options that every command has, each once."""
    seen: set[str] = set()
    for module in ("mixedparts.cli.program", "calico.cli.merge"):
        for action in import_module(module)._parser()._actions:
            if _COMMON & set(action.option_strings) and action.dest not in seen:
                seen.add(action.dest)
                yield action


def _subcommands(parser: argparse.ArgumentParser) -> argparse._SubParsersAction[Any] | None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action
    return None


def _sentence(text: str) -> str:
    """Return a text that begins with a capital letter and ends with a period."""
    text = " ".join(text.split())
    # Names of options, functions and formats stay as they are.
    first = text.partition(" ")[0].rstrip(",:;")
    text = text[:1].upper() + text[1:] if first.isalpha() and first.islower() else text
    return text if not text or text.endswith((".", ":")) else f"{text}."


def _code(text: str) -> str:
    """Return a default as code if it is one word."""
    return f"`{text}`" if text and " " not in text and text != "required" else text


def _code_of_options(text: str) -> str:
    return re.sub(r"(?<![`\w-])(--[a-z][\w-]*)(?![`\w])", r"`\1`", text)


def _cell(text: str) -> str:
    """Escape what ends a cell of a table."""
    return text.replace("|", "\\|")
