"""The index of a split is that of the build that is in the folder now."""

from __future__ import annotations

import shutil
from pathlib import Path

from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.verification.verify import verify


def test_two_builds_at_one_path_verify_one_after_the_other(
    native_root: Path, tmp_path: Path
) -> None:
    for source in ("paco", "partimagenet"):
        config = BuildConfig(sources=(source,), root=native_root, out=tmp_path / "out", samples=20)
        build(config, Silent())
        assert verify(config.out, "deep").listed == []
        shutil.rmtree(config.out)
