"""`calico-train`: what the dry run and the help print."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from calico.cli.train import main
from tests.factories.micro_build import write_build


class TestDryRun:
    def run(self, folder: Path, text: str) -> int:
        build = write_build(folder / "build", 6)
        file = folder / "my.yaml"
        file.write_text(f"training:\n  {text}\n")
        return main(["--dataset", str(build), "--config", str(file), "--dry-run"])

    def test_it_tells_every_share(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = "task_weights: {common_object: 1, common_parts: 0, unique_parts: 3}"
        assert self.run(tmp_path, text) == 0
        said = capsys.readouterr().out
        assert "# 6 samples of the train split" in said
        assert "#   paco common_object: 25.0 % from 2 samples" in said
        assert "#   paco common_parts: 0.0 % from 2 samples" in said
        assert "common_object: 1.0" in said

    def test_a_name_that_is_not_there_is_a_usage_error(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(tmp_path, "source_weights: {pac: 1}") == 2
        assert "no source 'pac', but paco" in capsys.readouterr().err


def test_help_shows_several_processes() -> None:
    command = [sys.executable, "-m", "calico.cli.train", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "torchrun" in done.stdout
    assert "--processes" in done.stdout
