"""A finished dataset is replaced only by a finished dataset."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mixedparts.errors import EnvironmentFault, ProblemsFound
from mixedparts.interchange.export.request import ExportRequest, Format
from mixedparts.interchange.export.run import export
from mixedparts.pipeline import build as stages
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.storage import replace_folder as swapping
from mixedparts.storage.replace_folder import recover, replace_folder, staging_folder
from mixedparts.storage.writer_lock import writing
from mixedparts.verification.verify import verify
from tests.conftest import SOURCES
from tests.factories.processes import start, within
from tests.oracles.build_tables import read_manifest
from tests.oracles.digests import digests


@pytest.fixture
def config(native_root: Path, built: Path, tmp_path: Path) -> BuildConfig:
    """Of another build than the finished one that is in its folder."""
    out = tmp_path / "data" / "out"
    shutil.copytree(built, out)
    return BuildConfig(sources=SOURCES, root=native_root, out=out, samples=60, seed=5)


def test_the_old_one_stays_until_the_new_one_is_finished(
    config: BuildConfig, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        assert digests(config.out) == digests(built)
        raise ProblemsFound("no disk")

    with monkeypatch.context() as patched:
        patched.setattr(stages, "write_and_finalize", fail)
        with pytest.raises(ProblemsFound):
            build(config, Silent(), overwrite=True)
    assert digests(config.out) == digests(built)
    (config.out / "notes.txt").write_text("mine")
    manifest = build(config, Silent(), overwrite=True)
    assert read_manifest(config.out)["build_id"] == manifest["build_id"]
    assert manifest["build_id"] != read_manifest(built)["build_id"]
    assert verify(config.out, "deep").listed == []
    assert (config.out / "notes.txt").read_text() == "mine"
    assert os.listdir(config.out.parent) == ["out"]
    alone = config.out.parent.parent / "alone"
    build(replace(config, out=alone), Silent())
    (config.out / "notes.txt").unlink()
    assert digests(config.out, "log.jsonl") == digests(alone, "log.jsonl")


def test_what_a_killed_replacement_left_is_used_or_removed(
    config: BuildConfig, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = staging_folder(config.out)
    with monkeypatch.context() as patched:
        patched.setattr("mixedparts.pipeline.replacement._publish", lambda *_: None)
        build(config, Silent(), overwrite=True)
    assert (staging / "manifest.json").is_file()
    decoy = config.out.parent / ".out.other"
    decoy.mkdir()
    # A run of the build that is there has no use for it.
    first = BuildConfig(sources=SOURCES, root=config.root, out=config.out, samples=900)
    assert build(first, Silent())["build_id"] == read_manifest(built)["build_id"]
    assert not staging.exists()
    assert decoy.is_dir()
    assert digests(config.out) == digests(built)


def test_files_of_a_user_survive_a_kill_after_the_exchange(
    config: BuildConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (config.out / "notes.txt").write_text("mine")
    with monkeypatch.context() as patched:
        patched.setattr("mixedparts.pipeline.replacement._discard", stop)
        with pytest.raises(ProblemsFound):
            build(config, Silent(), overwrite=True)
    assert (staging_folder(config.out) / "notes.txt").exists()
    # Left in the staged folder by another kill.
    (staging_folder(config.out) / ".README.md.1.tmp").touch()
    build(config, Silent())
    assert (config.out / "notes.txt").read_text() == "mine"
    assert not (config.out / ".README.md.1.tmp").exists()
    assert os.listdir(config.out.parent) == ["out"]


def test_a_kill_at_the_very_end_leaves_nothing_that_stays(
    config: BuildConfig, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = replace(config, samples=900, seed=0)
    with monkeypatch.context() as patched:
        patched.setattr("mixedparts.pipeline.finalize.tidy_up", stop)
        shutil.rmtree(config.out)
        with pytest.raises(ProblemsFound):
            build(first, Silent())
    assert (config.out / "_build" / "work").is_dir()
    (config.out / "_build" / ".plan.json.1.tmp").touch()
    (config.out / "_build" / ".mine.tmp").touch()
    build(first, Silent())
    (config.out / "_build" / ".mine.tmp").unlink()
    assert digests(config.out, "log.jsonl") == digests(built, "log.jsonl")
    assert sorted(os.listdir(config.out / "_build")) == sorted(os.listdir(built / "_build"))


def test_a_kill_at_the_very_start_is_no_obstacle(config: BuildConfig, tmp_path: Path) -> None:
    out = tmp_path / "new"
    out.mkdir()
    (out / ".README.md.1.tmp").write_text("---")
    build(replace(config, out=out), Silent())
    assert not list(out.rglob(".*"))
    assert verify(out, "deep").listed == []


def stop(*_: object) -> None:
    raise ProblemsFound("stands for a kill")


@pytest.mark.parametrize("exchange", [True, False])
def test_folders_change_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(swapping, "_exchanged", lambda *_: False)
    out, fresh = tmp_path / "out", staging_folder(tmp_path / "out")
    for folder, text in ((out, "old"), (fresh, "new")):
        folder.mkdir()
        (folder / "file").write_text(text)
    old = replace_folder(fresh, out)
    assert (out / "file").read_text() == "new"
    assert old is not None
    assert (old / "file").read_text() == "old"
    shutil.rmtree(old)
    assert os.listdir(tmp_path) == ["out"]


def test_a_kill_between_two_renames_is_completed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / ".out.old").mkdir()
    (tmp_path / ".out.old" / "file").write_text("old")
    recover(out)
    assert (out / "file").read_text() == "old"
    shutil.copytree(out, tmp_path / ".out.old")
    recover(out)
    assert os.listdir(tmp_path) == ["out"]


WRITE = """
import sys
from pathlib import Path
from mixedparts.interchange.export import run
from mixedparts.interchange.export.request import ExportRequest, Format
from mixedparts.progress import Silent

def stuck(job):
    (job.out / "half").touch()
    print("writing", flush=True)
    import time
    time.sleep(60)

run._writer = lambda name: stuck
run.export(ExportRequest(Path(sys.argv[1]), Format("coco"), Path(sys.argv[2])), Silent())
"""


def test_a_killed_export_leaves_nothing_that_stays(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "coco"
    export(ExportRequest(built, Format("coco"), out), Silent())
    before = digests(out)
    process = start([sys.executable, "-c", WRITE, built, out], tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    assert digests(out) == before
    with pytest.raises(EnvironmentFault, match="another process is writing"):
        export(ExportRequest(built, Format("coco"), out), Silent())
    os.kill(process.pid, signal.SIGKILL)
    assert within(2, lambda: process.poll() is not None)
    process.communicate()
    assert (staging_folder(out) / "half").exists()
    mine = tmp_path / ".coco.mine.tmp"
    mine.mkdir()
    export(ExportRequest(built, Format("coco"), out), Silent())
    assert digests(out) == before
    assert sorted(os.listdir(tmp_path)) == [".coco.mine.tmp", "coco"]


def test_two_builds_of_one_folder_are_never_both_at_work(config: BuildConfig) -> None:
    before = digests(config.out)
    with writing(config.out), pytest.raises(EnvironmentFault, match="another process is writing"):
        build(config, Silent(), overwrite=True)
    assert digests(config.out) == before
