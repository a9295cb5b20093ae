"""`mixedparts sample --annotations-only`: its options, and a build from what it writes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mixedparts.storage.build_folder import BuildFolder

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_build_from_scale_sources_rejects_nothing(tmp_path: Path, run_mixedparts: Run) -> None:
    root, out = tmp_path / "scale", tmp_path / "built"
    words = ["sample", "--out", root, "--annotations-only", "--profile", "small"]
    done = run_mixedparts(*words, "--fraction", "0.3", "--workers", 1, "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        f"next: mixedparts build --sources paco partimagenet ade20k --root {root}"
    )
    words = ["build", "--sources", "paco", "partimagenet", "--root", root, "--out", out]
    done = run_mixedparts(*words, "--images", "reference", "--samples", 60, "--quiet")
    assert done.returncode == 0, done.stderr
    assert "dataset (synthetic)" in done.stdout
    assert BuildFolder.open(out).path == out
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert manifest["rejects"] == {}


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--profile", "full"], "--profile: only with --annotations-only"),
        (["--fraction", "2", "--sources", "paco"], "--fraction, --sources: only with"),
        (["--annotations-only", "--images", "9"], "--images does not go with"),
        (["--annotations-only", "--fraction", "0"], "--fraction must be above 0 and at most 17"),
        (["--annotations-only", "--fraction", "nan"], "--fraction must be above 0 and at most 17"),
        (["--annotations-only", "--sources", "coco"], "coco"),
        (["--annotations-only", "--seed", "-1"], "--seed must be at least 0, not -1"),
        (["--images", "0"], "--images must be at least 1, not 0"),
    ],
)
def test_options_that_do_not_fit_end_with_2(
    tmp_path: Path, run_mixedparts: Run, words: list[str], shown: str
) -> None:
    done = run_mixedparts("sample", "--out", tmp_path / "out", *words)
    assert done.returncode == 2
    assert shown in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
