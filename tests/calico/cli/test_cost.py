"""`calico-cost`, and the dry run of a model without weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from calico.cli import cost as command
from calico.cli import train as train_command


class TestCommands:
    def test_the_tables_are_written(self, tmp_path: Path) -> None:
        config = tmp_path / "small.yaml"
        config.write_text("preset: tiny\nlanguage: {layers: 4}\n")
        path = tmp_path / "cost.md"
        assert command.main(["--config", str(config), "--write", str(path)]) == 0
        text = path.read_text()
        for title in ("## Parameters", "## Operations", "## Memory", "## Time"):
            assert title in text
        assert "32.6 %" in text

    def test_a_place_that_cannot_be_written_is_one_message(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command.main(["--preset", "tiny", "--write", str(tmp_path)]) == 3
        assert "cannot be written" in capsys.readouterr().err

    def test_the_dry_run_of_the_7b_model_needs_neither_weights_nor_data(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.delenv("MIXEDPARTS_HOME", raising=False)
        assert train_command.main(["--preset", "7b", "--dry-run"]) == 0
        said = capsys.readouterr().out
        assert "name: 7b" in said
        assert "moments of the optimiser" in said
        assert "H100" in said
        assert "(training.features: encode): computed when a step asks for them" in said
        assert not list(tmp_path.rglob("checkpoint-*"))

    def test_help_is_light(self) -> None:
        code = (
            "import sys\nfrom calico.cli import cost\n"
            "try:\n    cost.main(['--help'])\nexcept SystemExit:\n    pass\n"
            "assert 'torch' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
