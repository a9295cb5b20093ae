"""Commands, code and links of README and docs: options, names, targets and files exist."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.checkout import DOCS, ROOT

PAGES = sorted([ROOT / "README.md", *DOCS.glob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMANDS = {
    "mixedparts": "mixedparts.cli.program",
    "calico-pretrain": "calico.cli.pretrain",
    "calico-train": "calico.cli.train",
    "calico-eval": "calico.cli.evaluate",
    "calico-cost": "calico.cli.cost",
    "calico-merge": "calico.cli.merge",
    "calico-predict": "calico.cli.predict",
    "calico-demo": "calico.cli.demo",
}
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """Yield the code blocks of a page that are marked with one of the languages."""
    for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            yield text


def command_lines(page: Path) -> Iterator[list[str]]:
    """Yield the words of the commands in a page's shell blocks, without comments and variables."""
    for text in blocks(page, "", "bash", "text"):
        for line in text.replace("\\\n", " ").splitlines():
            if re.match(r"(\$ )?(\w+=\S+ )*(mixedparts|calico-|torchrun|make|python|pip) ?", line):
                words = shlex.split(line.removeprefix("$ "), comments=True)
                while "=" in words[0]:
                    del words[0]
                yield words


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub and MkDocs make them of its headings."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", title.lower())) for title in titles}


def test_commands_are_found_on_the_pages() -> None:
    assert len(list(command_lines(ROOT / "README.md"))) >= 15
    assert sum(1 for page in PAGES for _ in command_lines(page)) >= 60


@pages
def test_every_command_of_a_page_is_understood(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in command_lines(page):
        if words[0] == "torchrun":
            words = ["calico-train", *words[words.index("calico.cli.train") + 1 :]]
        if words[0] in COMMANDS:
            parser = import_module(COMMANDS[words[0]])._parser()
            try:
                parser.parse_args(words[1:])
            except SystemExit:
                pytest.fail(f"{page.name}: {shlex.join(words)}\n{capsys.readouterr().err}")


@pages
def test_every_target_module_and_extra_of_a_page_exists(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"`make ([\w-]+)`", text)) <= targets
    for words in command_lines(page):
        if words[0] == "make":
            assert words[1] in targets
        if words[:2] == ["python", "-m"]:
            assert find_spec(words[2]), words
    named = re.findall(r"(?:mixedparts|'\.)\[([\w,]+)\]", text)
    for extra in ",".join(named).split(",") if named else []:
        assert extra in extras["optional-dependencies"]


@pages
def test_every_name_that_python_code_of_a_page_imports_exists(page: Path) -> None:
    for text in blocks(page, "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module and ours(node.module):
                module = import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
            elif isinstance(node, ast.Import):
                assert all(find_spec(alias.name) for alias in node.names if ours(alias.name))


def ours(module: str) -> bool:
    return module.partition(".")[0] in {"mixedparts", "builders", "calico"}


@pages
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


def test_readme_is_short_and_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)\)", text))
    assert {page.name for page in DOCS.glob("*.md")} - linked == set()
