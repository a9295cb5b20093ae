"""Hooks of MkDocs: generated reference pages, files of the repository, diagrams.

`mkdocs.yml` names this module. MkDocs puts its folder on the path while it is imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import repository_pages
from command_pages import command_pages
from configuration_pages import configuration_pages
from diagrams import with_drawings
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from python_pages import python_pages

_STYLE, _SCRIPT = "style.css", "keyboard.js"
_repository: dict[str, Path] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add style sheet and script; a served site is built again when the code behind it changes."""
    config.extra_css.append(_STYLE)
    config.extra_javascript.append(_SCRIPT)
    root = repository_pages.ROOT
    config.watch += [str(root / name) for name in ("README.md", "CONTRIBUTING.md", "docs/_site")]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of docs/."""
    _repository.clear()
    _repository.update(repository_pages.pages())
    made = [*command_pages(), *configuration_pages(), *python_pages()]
    made += [(place, repository_pages.markdown(file)) for place, file in _repository.items()]
    here = Path(__file__).parent
    made += [(name, (here / name).read_text(encoding="utf-8")) for name in (_STYLE, _SCRIPT)]
    for place, content in made:
        files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Draw the diagrams of a page, and lead its links to pages of the site."""
    place = page.file.src_uri
    if place.startswith("reference/"):
        return markdown
    if place == repository_pages.INDEX:
        page.meta["hide"] = ["navigation"]  # it would list this page alone
    file = _repository.get(place) or repository_pages.DOCS / place
    text = repository_pages.with_links_of_the_site(markdown, place, file, _repository)
    return with_drawings(text, file.stem)
