"""The example notebook runs from its first cell to its last and shows what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.checkout import ROOT

NOTEBOOK = ROOT / "examples" / "explore.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """The folder that the notebook ran in, and its cells with their outputs."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return folder, [cell for cell in notebook.cells if cell.cell_type == "code"]


def result(cell: Any, kind: str = "text/plain") -> str:
    """The value that a cell shows, in one of its forms."""
    (shown,) = [out for out in cell.outputs if out.output_type == "execute_result"]
    text: str = shown.data[kind]
    return text


def test_its_cells_show_what_they_say(executed: tuple[Path, list[Any]]) -> None:
    folder, cells = executed
    _, build, load, show, mask, pairs, counts, view = cells
    assert result(build) == "0"
    every, common = map(int, result(load).strip("()").split(","))
    assert 0 < common < every
    assert "data:image/png;base64," in result(show, "text/html")
    name, height, width, pixels, area = result(mask).replace("(", "").replace(")", "").split(", ")
    assert name.startswith("'")
    assert int(height) > 1 < int(width)
    assert int(pixels) == int(area) > 0
    assert "<table" in result(pairs, "text/html")
    assert "common_parts" in result(counts, "text/html")
    assert result(view) == "PosixPath('view.html')"
    assert (folder / "view.html").stat().st_size > 10_000


def test_it_is_stored_without_outputs() -> None:
    import json

    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        assert not cell.get("outputs")
