"""The description that a package index shows: README.md without what works in a checkout only."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from email import message_from_string

import pytest

from tests.checkout import ROOT

RELATIVE = re.compile(r"!?\[[^]]*\]\((?!https://|http://|mailto:|#)[^)]*\)")
# The build backend of pyproject.toml, called as pip calls it.
METADATA = "import sys, setuptools.build_meta as m; m.prepare_metadata_for_build_wheel(sys.argv[1])"
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The description in the metadata of the built package."""
    folder = tmp_path_factory.mktemp("metadata")
    # In a copy: setuptools writes beside its input.
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "mixedparts", "builders",
                 "manifests", "calico"):  # fmt: skip
        (copy / name).symlink_to(ROOT / name)
    subprocess.run(
        [sys.executable, "-c", METADATA, folder], cwd=copy, check=True, capture_output=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    (file,) = folder.glob("*/METADATA")
    message = message_from_string(file.read_text(encoding="utf-8"))
    assert message["Description-Content-Type"] == "text/markdown"
    assert message["Name"] == "mixedparts"
    return str(message.get_payload())


def test_it_has_no_relative_image_or_link(shown: str) -> None:
    assert RELATIVE.search(README)
    assert RELATIVE.findall(shown) == []
    assert "![" not in shown


def test_it_keeps_the_text_and_the_code(shown: str) -> None:
    for heading in re.findall(r"^## .+$", README, re.MULTILINE):
        assert heading in shown
    fences = re.findall(r"^```.*?^```$", README, re.MULTILINE | re.DOTALL)
    assert len(fences) >= 5
    assert all(fence in shown for fence in fences)
    assert "](https://arxiv.org/abs/2412.19331)" in shown
    # The captions of the images go with them.
    assert "A pair of the synthetic test split" not in shown


def test_a_package_index_renders_it(shown: str) -> None:
    markdown = pytest.importorskip("readme_renderer.markdown")
    page = markdown.render(shown)
    assert page is not None
    assert "<table>" in page
    assert "<img" not in page


def test_with_an_address_of_the_repository_images_and_links_are_absolute() -> None:
    description = runpy.run_path(str(ROOT / "setup.py"))["description"]
    text = description(README, "https://example.org/me/mixedparts/")
    assert RELATIVE.findall(text) == []
    assert "](https://example.org/me/mixedparts/raw/HEAD/docs/demo.png)" in text
    assert "](https://example.org/me/mixedparts/blob/HEAD/docs/weights.md)" in text
