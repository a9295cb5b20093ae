"""A folder in which runs lie beside the shared build and encoders."""

from __future__ import annotations

from pathlib import Path

import pytest

from calico.dataset.pairs import BuiltDataset


@pytest.fixture(scope="module")
def place(dataset: BuiltDataset, encoders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for runs, with the shared build and encoders."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "build").symlink_to(dataset.path)
    (folder / "encoders").symlink_to(encoders)
    return folder
