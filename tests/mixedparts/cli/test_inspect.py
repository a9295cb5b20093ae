"""`stats`, `view`, `sources` and `--dry-run` through the installed command."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SOURCES
from tests.oracles.build_tables import iter_rows

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_stats_count_what_is_there(built: Path, run_mixedparts: Run) -> None:
    done = run_mixedparts("stats", built, "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    rows = [r for s in ("train", "validation", "test") for r in iter_rows(built, "pairs", s)]
    assert sum(values["samples"].values()) == len(rows)
    assert sum(values["classes"].values()) == 2 * len(rows)
    assert sum(values["parts"].values()) == sum(len(row["parts"]) for row in rows)
    assert run_mixedparts("stats", built).stdout.startswith("build ")


def test_synthetic_data_is_called_so_everywhere(
    synthetic_build: Path, tmp_path: Path, run_mixedparts: Run
) -> None:
    out = synthetic_build
    page = tmp_path / "view.html"
    assert run_mixedparts("view", out, "--out", page).returncode == 0
    assert "Synthetic" in page.read_text()
    assert "synthetic" in run_mixedparts("stats", out).stdout
    assert json.loads((out / "manifest.json").read_text())["synthetic"] is True
    card = (out / "README.md").read_text()
    assert "MixedParts (synthetic)" in card
    assert "- synthetic" in card


@pytest.mark.parametrize("source", SOURCES)
def test_sources_show_says_where_a_source_comes_from(run_mixedparts: Run, source: str) -> None:
    told = run_mixedparts("sources", "show", source).stdout
    for word in ("download:", "licence of images:", "layout:", "comparable groups:"):
        assert word in told
    assert source in run_mixedparts("sources").stdout


def test_a_dry_run_tells_what_a_build_then_holds(
    native_root: Path, tmp_path: Path, run_mixedparts: Run
) -> None:
    words = ["build", "--sources", *SOURCES, "--root", native_root, "--out", tmp_path / "o"]
    words += ["--samples", 300, "--quiet", "--json"]
    dry = run_mixedparts(*words, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert not (tmp_path / "o").exists()
    told = json.loads(dry.stdout)
    made = json.loads(run_mixedparts(*words).stdout)
    assert told["build_id"] == made["build_id"]
    for split, counts in told["splits"].items():
        assert counts["pairs"] == made["rows"]["pairs"].get(split, 0)
        assert counts["images"] == made["rows"]["images"].get(split, 0)
    for source, splits in made["counts"].items():
        for split, counts in splits.items():
            read = told["sources"][source][split]
            tasks = ("common_object", "common_parts", "unique_parts")
            assert read["pairs"] == sum(counts[task] for task in tasks)
            assert read["images"] >= counts["images"] > 0
            assert read["parts"] > read["objects"] > 0
    manifest = json.loads((tmp_path / "o" / "manifest.json").read_text())
    for table, guess in told["bytes"].items():
        files = [s for s in manifest["shards"] if s["path"].startswith(f"{table}/")]
        assert told["shards"][table] == len(files)
        assert told["rows"][table] == sum(shard["rows"] for shard in files)
        assert 0.3 < guess / sum(shard["bytes"] for shard in files) < 3
