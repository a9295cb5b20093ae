"""A build that shares make: its command line, and an undisturbed build to compare with."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from tests.conftest import SOURCES, command
from tests.oracles.digests import digests

SHARDS = {"read_shard_images": 8, "pair_shard_rows": 100, "image_shard_rows": 20}
Share = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration file with small shards."""
    file = tmp_path_factory.mktemp("settings") / "build.yaml"
    file.write_text("".join(f"{name}: {rows}\n" for name, rows in SHARDS.items()))
    return file


def configuration(root: Path, out: Path, **values: object) -> BuildConfig:
    """The same build from Python."""
    choices: dict[str, object] = {"sources": SOURCES, "samples": 300, **SHARDS, **values}
    return BuildConfig(root=root, out=out, **choices)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def whole(native_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of an undisturbed build, without its log."""
    out = tmp_path_factory.mktemp("whole") / "out"
    build(configuration(native_root, out), Silent())
    return digests(out, "log.jsonl")


@pytest.fixture
def share(native_root: Path, settings: Path, tmp_path: Path) -> Share:
    """Start a share of the build in `tmp_path / "out"`."""

    def start(name: str, *options: object) -> subprocess.Popen[str]:
        words = ["build", "--sources", *SOURCES, "--samples", 300, "--config", settings]
        words += ["--root", native_root, "--out", tmp_path / "out", "--workers", 1]
        words += ["--shard-range", name, *options]
        return subprocess.Popen(
            [command("mixedparts"), *map(str, words)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
