"""A small build of one source, local, to compare builds at addresses with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from tests.oracles.digests import digests


@pytest.fixture(scope="session")
def config(native_root: Path, tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    """Of a build with many small shards, in a local folder."""
    out = tmp_path_factory.mktemp("local") / "out"
    return BuildConfig(
        sources=("paco",),
        root=native_root,
        out=out,
        samples=120,
        read_shard_images=8,
        pair_shard_rows=40,
        image_shard_rows=12,
    )


@pytest.fixture(scope="session")
def local(config: BuildConfig) -> dict[str, str]:
    """Digests of the files of the local build, but for its log."""
    build(config, Silent())
    return digests(config.out, "log.jsonl")


def at(config: BuildConfig, folder: str) -> BuildConfig:
    """Return the configuration of the same build in the bucket."""
    return replace(config, out=Path(f"s3:/bucket/{folder}"))
