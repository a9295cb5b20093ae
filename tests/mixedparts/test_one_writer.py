"""Whoever comes second to a folder is refused and changes nothing: each command that writes one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mixedparts.storage.writer_lock import writing
from tests.conftest import SOURCES
from tests.oracles.digests import digests

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def words(kind: str, native: Path, build: Path, bundle: Path) -> list[object]:
    """Return the command line without `--out`; each would replace what it finds if it could."""
    lines: dict[str, list[object]] = {
        "build": ["build", "--sources", *SOURCES, "--root", native, "--samples", 60],
        "share": ["build", "--sources", *SOURCES, "--root", native, "--shard-range", "0/2"],
        "import": ["import", "--format", "published", bundle, "--root", native, "--overwrite"],
        "export": ["export", "--format", "coco", build, "--overwrite"],
        "sample": ["sample", "--images", 1],
    }
    return [*lines[kind], *(["--overwrite"] if kind == "build" else []), "--quiet"]


@pytest.fixture(scope="module")
def bundle(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mixedparts.interchange.export.request import ExportRequest, Format
    from mixedparts.interchange.export.run import export
    from mixedparts.progress import Silent

    out = tmp_path_factory.mktemp("bundle") / "bundle"
    export(ExportRequest(built, Format.PUBLISHED, out), Silent())
    return out


@pytest.mark.parametrize("kind", ["build", "share", "import", "export", "sample"])
def test_the_second_writer_is_refused_and_changes_nothing(
    kind: str,
    native_root: Path,
    built: Path,
    bundle: Path,
    tmp_path: Path,
    run_mixedparts: Run,
) -> None:
    out = tmp_path / "data" / "out"
    out.mkdir(parents=True)
    (out / "half").write_text("written by the first")
    command = [*words(kind, native_root, built, bundle), "--out", out]
    with writing(out):
        held = digests(tmp_path)
        done = run_mixedparts(*command)
        assert digests(tmp_path) == held
    assert done.returncode == 3
    assert f"another process is writing {out}: " in done.stderr
    assert f"(process {os.getpid()} on " in done.stderr
    assert "Traceback" not in done.stderr
    assert digests(tmp_path) == {"data/out/half": digests(out)["half"]}


def test_the_lock_of_a_command_that_ended_is_no_obstacle(
    tmp_path: Path, run_mixedparts: Run
) -> None:
    out = tmp_path / "out"
    # As a killed one leaves them.
    (tmp_path / ".out.lock").touch()
    (tmp_path / ".out.writer").write_text(
        '{"host": "h", "process": 1, "command": "c", "since": ""}'
    )
    done = run_mixedparts("sample", "--images", 1, "--out", out, "--quiet")
    assert done.returncode == 0
    assert os.listdir(tmp_path) == ["out"]
