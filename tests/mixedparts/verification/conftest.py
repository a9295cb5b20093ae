"""A build in which every rule holds, and copies of it to spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mixedparts.pipeline.build import build as make_build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.verification.verify import verify


@pytest.fixture(scope="package")
def whole(native_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small build in which every rule holds; do not write here."""
    out = tmp_path_factory.mktemp("whole") / "build"
    make_build(
        BuildConfig(sources=("ade20k", "paco"), root=native_root, out=out, samples=160), Silent()
    )
    assert verify(out, "deep").listed == []
    return out


@pytest.fixture
def build(whole: Path, tmp_path: Path) -> Path:
    """A copy of a build that a test may spoil."""
    return Path(shutil.copytree(whole, tmp_path / "build"))
