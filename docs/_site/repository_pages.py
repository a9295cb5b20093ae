"""Files of the repository that pages link to, as pages of the site.

README.md is the first page. CONTRIBUTING.md, scripts of examples/ and other linked files become
pages below `repository/`. So every link works on a code host, where it leads to the file, and on
the site, which needs no public address of the repository.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FOLDER = "repository"
INDEX = "index.md"
_LANGUAGES = {
    ".py": "python",
    ".sh": "bash",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".toml": "toml",
    ".cff": "yaml",
}
_FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()(?!https?://|mailto:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
# A link whose text is the name of its page.
_NAMED = re.compile(r"\[([\w/.-]+\.md)\]\((?!https?://)([^)\s#]+\.md)(#[^)\s]*)?\)")
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


def pages() -> dict[str, Path]:
    """Return the path on the site of every file outside docs/ that pages lead to.

    The links of such a file count too.
    """
    found = {INDEX: ROOT / "README.md"}
    waiting = [*sorted(DOCS.glob("*.md")), ROOT / "README.md"]
    while waiting:
        for target in _outside(waiting.pop()):
            if target not in found.values():
                found[_place(target)] = target
                waiting.append(target)
    return found


def markdown(path: Path) -> str:
    """Return a file or folder as a page."""
    if path.is_dir():
        return _folder(path)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    title = f"# {path.relative_to(ROOT).as_posix()}\n\n"
    if path.suffix == ".ipynb":
        return title + "\n\n".join(_cells(text))
    return f"{title}````{_LANGUAGES.get(path.suffix, 'text')}\n{text.rstrip()}\n````\n"


def with_links_of_the_site(text: str, place: str, file: Path, known: dict[str, Path]) -> str:
    """Return a page whose links to files outside docs/ lead to the pages of these files.

    A link whose text is the name of a file gets the title of its page as text.

    Args:
        text: the page in Markdown.
        place: path of the page on the site.
        file: the file that it is made of.
        known: what `pages` returned.
    """
    places = {target: name for name, target in known.items()}

    def changed(match: re.Match[str]) -> str:
        target = _target(file, match.group(1))
        anchor = match.group(2) or ""
        if target.is_relative_to(DOCS) and target not in places:
            name = target.relative_to(DOCS).as_posix()
        elif target in places:
            name = places[target]
        else:
            return match.group(0)  # the strict build reports it
        return posixpath.relpath(name, posixpath.dirname(place) or ".") + anchor

    def titled(match: re.Match[str]) -> str:
        target = _target(file, match.group(2))
        found = _TITLE.search(target.read_text(encoding="utf-8")) if target.is_file() else None
        return (
            match.group(0).replace(match.group(1), found.group(1), 1) if found else match.group(0)
        )

    parts, at = [], 0
    for fence in _FENCE.finditer(text):
        parts += [_LINK.sub(changed, _NAMED.sub(titled, text[at : fence.start()])), fence.group(0)]
        at = fence.end()
    return "".join([*parts, _LINK.sub(changed, _NAMED.sub(titled, text[at:]))])


def _outside(file: Path) -> Iterator[Path]:
    """Yield the files and folders that are no pages of docs/ and that a file links to."""
    text = markdown(file) if file.is_dir() or file.suffix == ".ipynb" else ""
    if not text and file.suffix == ".md":
        text = file.read_text(encoding="utf-8")
    for match in _LINK.finditer(_FENCE.sub("", text)):
        target = _target(file, match.group(1))
        page = target.is_relative_to(DOCS) and target.suffix in (".md", ".png")
        if not page and target.exists() and target.is_relative_to(ROOT):
            yield target


def _target(file: Path, link: str) -> Path:
    # A folder's page has links relative to the folder itself.
    folder = file if file.is_dir() else file.parent
    target = Path(posixpath.normpath((folder / link).as_posix()))
    # The page of a folder is its README.
    return target.parent if target.name == "README.md" and target.parent != ROOT else target


def _place(target: Path) -> str:
    name = target.relative_to(ROOT).as_posix()
    if target.is_dir():
        return f"{FOLDER}/{name}/contents.md"
    return f"{FOLDER}/{name}" if target.suffix == ".md" else f"{FOLDER}/{name}.md"


def _folder(folder: Path) -> str:
    """Return the README of a folder, or else a list of its files."""
    readme = folder / "README.md"
    if readme.exists():
        return readme.read_text(encoding="utf-8")
    files = [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path)
    ]
    lines = "\n".join(f"- [{name}]({name})" for name in files)
    return f"# {folder.relative_to(ROOT).as_posix()}/\n\n{lines}\n"


def _cells(notebook: str) -> Iterator[str]:
    for cell in json.loads(notebook)["cells"]:
        text = "".join(cell["source"])
        # The title of the page stays the only one.
        yield (
            f"```python\n{text}\n```"
            if cell["cell_type"] == "code"
            else f"#{text}".replace("#", "##", 1)
            if text.startswith("#")
            else text
        )
