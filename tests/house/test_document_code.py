"""Python and YAML of README and docs run as they stand there, on tiny data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import DOCS, ROOT
from tests.factories.scenes import write_picture

BLOCK = re.compile(r"^```(python|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def code(page: Path, language: str, holds: str = "") -> list[str]:
    """The blocks of a page in a language that contain a text."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    blocks = [text for name, text in found if name == language and holds in text]
    assert blocks, f"{page.name} has no {language} with {holds!r}"
    return blocks


def execute(blocks: list[str]) -> dict[str, Any]:
    """Run blocks one after the other, as cells of a notebook; return the names that they leave."""
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "<page>", "exec"), names)
    return names


@pytest.fixture
def beside_a_build(synthetic_build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder where `data/mixedparts` is a build."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mixedparts").symlink_to(synthetic_build)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "loading.md"], ids=lambda p: p.name)
def test_the_code_that_loads(page: Path, beside_a_build: Path) -> None:
    names = execute(code(page, "python"))
    row = names["row"]
    assert row["images"][0]["pixels"].size == (
        row["images"][0]["width"],
        row["images"][0]["height"],
    )
    if "mask" in names:
        decoded = names["mask"].decode(row["objects"][0]["mask"])
        assert decoded.shape == (row["images"][0]["height"], row["images"][0]["width"])
        assert decoded.sum() == row["objects"][0]["area"]


def test_the_code_that_shows(beside_a_build: Path) -> None:
    names = execute(code(DOCS / "viewing.md", "python"))
    assert len(names["rows"]) >= 5
    assert (beside_a_build / "view.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (beside_a_build / "row.png").stat().st_size > 1_000


def test_the_code_for_supervision(beside_a_build: Path) -> None:
    pytest.importorskip("supervision")
    names = execute(code(DOCS / "interchange.md", "python", "to_supervision"))
    row = names["rows"][0]
    assert names["first"].mask.shape[1:] == (row["images"][0]["height"], row["images"][0]["width"])
    assert len(names["parts"]) == sum(part["image"] == 0 for part in row["parts"])


def test_the_code_that_predicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from calico.checkpoints.save_load import save_checkpoint
    from tests.factories.micro_model import micro_model, micro_tokenizer

    monkeypatch.chdir(tmp_path)
    model, config = micro_model(seed=4)
    save_checkpoint(tmp_path / "runs/tiny", model, config, micro_tokenizer(), 0)
    for seed, name in enumerate(("a.jpg", "b.jpg")):
        write_picture(tmp_path / name, 64, 48, seed)
    names = execute(code(DOCS / "prediction.md", "python", "calico.load"))
    assert isinstance(names["answer"].text, str)
    assert (tmp_path / "overlay.png").stat().st_size > 1_000


@pytest.mark.parametrize("page", ["training-data.md", "feeding.md", "fidelity.md"])
def test_configurations_are_valid(page: str) -> None:
    from calico.config.presets import seven_b
    from calico.config.yaml_io import override, plain_config

    for text in code(DOCS / page, "yaml"):
        given = yaml.safe_load(text)
        assert contains(plain_config(override(seven_b(), given, page)), given)


def contains(values: dict[str, Any], given: dict[str, Any]) -> bool:
    """Whether all given values are among the values."""
    return all(
        contains(values[name], value) if isinstance(value, dict) else values[name] == value
        for name, value in given.items()
    )
