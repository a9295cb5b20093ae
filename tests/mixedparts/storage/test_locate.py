"""Builds are found by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mixedparts.errors import InputError
from mixedparts.storage.locate import remember_build, resolve_build


def test_a_build_is_found_by_name(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no built dataset found"):
        resolve_build()
    remember_build(built)
    assert resolve_build("mixedparts") == built
    (tmp_path / "data").mkdir()
    shutil.copytree(built, tmp_path / "data" / "mixedparts")
    assert resolve_build() == Path("data/mixedparts")
    monkeypatch.setenv("MIXEDPARTS_HOME", str(built))
    assert resolve_build() == built
    assert resolve_build("somebody/mixedparts") == "somebody/mixedparts"
