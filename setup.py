"""The description of the package: README.md without links and images that only work in a checkout.

Everything else is in pyproject.toml. Relative addresses lead nowhere on a package index. If
`[project.urls]` has a `Repository`, they become addresses below it. Otherwise images are left out
with their captions, and links become text.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent
_RELATIVE = r"(?!https?://|mailto:)([^)\s]+)"
_IMAGE = re.compile(rf"!\[([^]]*)\]\({_RELATIVE}\)")
# An image alone in its paragraph, and the paragraph in italics after it, which describes it.
_FIGURE = re.compile(
    rf"^!\[[^]]*\]\({_RELATIVE}\)\n\n(?:\*[^*].*?\*\n\n)?", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(rf"(?<!!)\[([^]]+)\]\({_RELATIVE}\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def description(text: str, repository: str | None) -> str:
    """Return a README as a package index shows it.

    Args:
        text: Markdown with links relative to the root of the repository.
        repository: address of the repository on a code host, None if it has none.
    """
    parts, at = [], 0
    for fence in _FENCE.finditer(text):
        parts += [_for_index(text[at : fence.start()], repository), fence.group(0)]
        at = fence.end()
    return "".join([*parts, _for_index(text[at:], repository)])


def _for_index(text: str, repository: str | None) -> str:
    if repository is None:
        return _LINK.sub(r"\1", _FIGURE.sub("", text))
    base = repository.rstrip("/")
    text = _IMAGE.sub(rf"![\1]({base}/raw/HEAD/\2)", text)
    return _LINK.sub(rf"[\1]({base}/blob/HEAD/\2)", text)


def main() -> None:
    """Build the package; setuptools runs this file."""
    from setuptools import setup

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    setup(
        long_description=description(readme, project.get("urls", {}).get("Repository")),
        long_description_content_type="text/markdown",
    )


if __name__ == "__main__":
    main()
