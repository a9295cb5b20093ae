"""A checkout that holds a build gets a pointer to it."""

from __future__ import annotations

from pathlib import Path

from mixedparts.cards.checkout import POINTER, point_checkout_at
from tests.oracles.build_tables import read_manifest


def test_only_a_checkout_gets_a_pointer(built: Path, tmp_path: Path) -> None:
    manifest = read_manifest(built)
    assert manifest is not None
    out = tmp_path / "data" / "mixedparts"
    out.mkdir(parents=True)
    point_checkout_at(out, manifest)
    assert not (tmp_path / "mixedparts").exists()
    (tmp_path / "mixedparts").mkdir()
    (tmp_path / "mixedparts" / "__init__.py").touch()
    point_checkout_at(tmp_path / "elsewhere", manifest)
    assert not (tmp_path / "mixedparts" / POINTER).exists()
    point_checkout_at(out, manifest)
    assert manifest["build_id"] in (tmp_path / "mixedparts" / POINTER).read_text()
