"""The site contains every page, every option of every command and every value of configurations."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.checkout import DOCS, ROOT
from tests.docs.conftest import build_site

Load = Callable[[str], ModuleType]


def text_of(page: Path) -> str:
    """The text of a page without its tags."""
    content = page.read_text(encoding="utf-8").split("<article", 1)[1].split("</article>")[0]
    return html.unescape(re.sub(r"<[^>]+>", "", content))


def test_every_page_of_docs_is_in_the_navigation(site: Path) -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    named = set(re.findall(r"([\w/.-]+\.md)$", navigation, re.MULTILINE))
    assert {page.name for page in DOCS.glob("*.md")} <= named
    made = {path.relative_to(site).as_posix() for path in (site / "reference").rglob("*.html")}
    assert {name.removesuffix(".html") + ".md" for name in made} <= named
    parts = re.findall(r"^  - (.+):", navigation, re.MULTILINE)
    assert parts == ["Home", "Get started", "How-to guides", "Reference", "Background"]


def test_the_first_page_shows_the_product_twice(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    shown = re.findall(r'<img alt="[^"]{20,}" src="([^"]+)"', page)
    assert {"viewing-list.png", "viewing-sample.png"} <= set(shown)
    assert all((site / name).is_file() for name in shown)


def test_every_option_of_every_command_has_a_row_with_a_text(site: Path, module: Load) -> None:
    pages = module("command_pages")
    found = 0
    for parser, _ in pages.commands():
        page = text_of(site / f"reference/commands/{parser.prog.replace(' ', '-')}.html")
        for action in pages.options(parser):
            names = action.option_strings or [pages._metavar(action)]
            default, meaning = pages.default_and_meaning(action)
            assert len(meaning) > 3, f"{parser.prog} {names} has no help"
            assert all(re.search(rf"(?<![\w-]){re.escape(name)}", page) for name in names), names
            last = meaning.split()[-1].strip("`.").lower()
            assert last in page.lower(), f"{parser.prog} {names}: {meaning}"
            assert default in page
            found += 1
        example = (parser.epilog or "").split("examples:\n")[1].splitlines()[0].strip()
        assert re.sub(r"\s+", " ", example) in re.sub(r"\s+", " ", page)
    assert found > 130


def test_the_options_of_every_command_are_on_one_page(site: Path) -> None:
    page = text_of(site / "reference/commands/index.html")
    for option in ("--help", "--quiet", "--verbose", "--version", "--print-completion"):
        assert option in page


def test_a_default_in_a_help_text_is_that_of_the_parser(module: Load) -> None:
    pages = module("command_pages")
    compared = 0
    for parser, _ in pages.commands():
        for action in pages.options(parser):
            value, (stated, _) = action.default, pages.default_and_meaning(action)
            if value in (None, "", (), [], False) or action.nargs == 0:
                continue
            # The number of cores, and lists, are stated in words.
            if action.dest in ("workers", "threads", "formats"):
                continue
            shown = stated.split(":")[0].replace(",", "")
            assert shown, f"{parser.prog} {action.option_strings} does not state {value!r}"
            words = value if isinstance(value, tuple) else (value,)
            same = [str(word) for word in words] == [shown]
            number = isinstance(value, int | float) and float(shown) == value
            assert same or number, f"{parser.prog} {action.option_strings}: {shown} is {value!r}"
            compared += 1
    assert compared > 25


def test_every_value_of_the_configurations_has_a_row_with_default_and_text(
    site: Path, module: Load
) -> None:
    from calico.config.calico import CalicoConfig
    from mixedparts.pipeline.config import BuildConfig

    pages = dict(module("configuration_pages").configuration_pages())
    build = rows(pages["reference/configuration/build.md"])
    assert {item.name for item in fields(BuildConfig)} == build.keys()
    model = pages["reference/configuration/model.md"]
    found = 0
    for title, section in sections(CalicoConfig()):
        table = (
            rows(model.split(f"\n## {title}\n")[1].split("\n## ")[0])
            if title
            else rows(model.split("\n## ")[0])
        )
        own = [item for item in fields(section) if not is_dataclass(getattr(section, item.name))]
        assert [item.name for item in own] == list(table)
        for name, cells in table.items():
            assert len(cells[-1]) > 5, f"{title}.{name} has no text"
            assert cells[2], f"{title}.{name} has no default"
            found += 1
    assert found > 120
    shown = text_of(site / "reference/configuration/model.html")
    assert all(f"{name}" in shown for name in ("muon_factor", "encode_batch", "global_crop"))


def test_presets_are_those_of_the_code(module: Load) -> None:
    pages = dict(module("configuration_pages").configuration_pages())
    model = pages["reference/configuration/model.md"]
    training = rows(model.split("\n## training\n")[1].split("\n## ")[0])
    assert training["steps"][2:4] == ["`5000`", "`tiny`: `3100`"]
    assert training["multi_turn"][2:4] == ["`0`", "`2b`, `7b`: `1`"]
    semantic = rows(model.split("\n## semantic\n")[1].split("\n## ")[0])
    assert "`7b-dinov2-giant`: `true`" in semantic["swiglu"][3]


def rows(text: str) -> dict[str, list[str]]:
    """Rows of tables whose first cell is a name in code."""
    found = {}
    for line in re.findall(r"^\| (`\w+` .*) \|$", text, re.MULTILINE):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)]
        found[cells[0].strip("`")] = cells
    return found


def sections(config: Any, prefix: str = "") -> list[tuple[str, Any]]:
    found = [(prefix, config)]
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            found += sections(value, f"{prefix}.{item.name}".lstrip("."))
    return found


def test_reference_pages_do_not_depend_on_terminal_and_machine(
    module: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pages() -> list[tuple[str, str]]:
        every = module("command_pages").command_pages()
        return [*every, *module("configuration_pages").configuration_pages()]

    monkeypatch.setenv("COLUMNS", "200")
    wide = pages()
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("MIXEDPARTS_ROOT", "/elsewhere")
    monkeypatch.setattr("os.cpu_count", lambda: 96)
    assert pages() == wide


def test_python_functions_of_the_documents_have_entries(site: Path) -> None:
    names = (site / "objects.inv").stat().st_size
    assert names > 1_000
    load = text_of(site / "reference/python/mixedparts.html")
    assert "Load a built dataset" in load
    assert "name_or_path" in load
    answer = text_of(site / "reference/python/calico.html")
    assert "Load a trained model that answers questions about images" in answer


def test_links_to_files_of_the_repository_lead_to_pages(site: Path) -> None:
    page = (site / "clusters.html").read_text(encoding="utf-8")
    assert 'href="repository/examples/clusters/slurm-submit.sh.html"' in page
    script = text_of(site / "repository/examples/clusters/slurm-submit.sh.html")
    first = (ROOT / "examples/clusters/slurm-submit.sh").read_text().splitlines()[0]
    assert first in script
    assert "Add a part filter" in text_of(site / "repository/CONTRIBUTING.html")


def test_every_link_and_anchor_of_the_site_leads_somewhere(site: Path) -> None:
    ids: dict[Path, set[str]] = {}
    checked = 0
    for page in site.rglob("*.html"):
        content = page.read_text(encoding="utf-8")
        for link in re.findall(r'(?:href|src)="([^"]+)"', content):
            if link.startswith(("http", "mailto:", "data:", "/")) or page.name == "404.html":
                continue
            path, _, anchor = html.unescape(link).partition("#")
            target = (page.parent / path.partition("?")[0]).resolve() if path else page
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{page.relative_to(site)}: {link}"
            if anchor and target.suffix == ".html":
                if target not in ids:
                    text = target.read_text(encoding="utf-8")
                    ids[target] = set(re.findall(r'\b(?:id|name)="?([^"\s>]+)', text))
                assert anchor in ids[target], f"{page.relative_to(site)}: {link}"
            checked += 1
    assert checked > 5_000


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("[x](nowhere.md)", "nowhere.md"),
        ("[x](building.md#nowhere)", "nowhere"),
        ("[x](../nowhere.py)", "nowhere.py"),
        ("![x](nowhere.png)", "nowhere.png"),
        ("```mermaid\nflowchart TB\n  a --> b\n```", "does not show the diagram"),
    ],
)
def test_a_broken_link_or_an_undrawn_diagram_fails_the_build(
    link: str, message: str, tmp_path: Path
) -> None:
    # Without the reference pages, which take the time.
    copy = tmp_path / "checkout"
    shutil.copytree(DOCS / "_site", copy / "docs/_site")
    for name in ("command_pages", "configuration_pages", "python_pages"):
        (copy / f"docs/_site/{name}.py").write_text(f"def {name}():\n    return []\n")
    (copy / "README.md").write_text("# Home\n")
    (copy / "docs/building.md").write_text("# Build\n")
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[0]
    (copy / "mkdocs.yml").write_text(settings)
    code, printed = build_site(tmp_path / "site", copy / "mkdocs.yml")
    assert code == 0, printed
    (copy / "docs/page.md").write_text(f"# Page\n\n{link}\n")
    code, printed = build_site(tmp_path / "site", copy / "mkdocs.yml")
    assert code == 1
    assert message in printed
