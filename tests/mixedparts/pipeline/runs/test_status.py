"""`mixedparts status` says what is done and by whom, and changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mixedparts.errors import InputError
from mixedparts.pipeline.build import build
from mixedparts.pipeline.runs.build_place import OnDiskPlace
from mixedparts.pipeline.runs.status import BuildStatus, build_status, damaged_tasks
from mixedparts.progress import Silent
from mixedparts.storage.writer_lock import sharing
from tests.mixedparts.pipeline.runs.conftest import configuration
from tests.oracles.digests import digests

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def status_of(out: Path) -> BuildStatus:
    """Return the status, after checking that asking for it has changed nothing."""
    before = {path: path.stat().st_mtime_ns for path in out.parent.rglob("*")}
    status = build_status(OnDiskPlace(out))
    assert {path: path.stat().st_mtime_ns for path in out.parent.rglob("*")} == before
    return status


def stage(status: BuildStatus, name: str) -> dict[str, Any]:
    return next(item for item in status.values()["stages"] if item["stage"] == name)


@pytest.fixture(scope="module")
def halves(native_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A build of which share 0/2 has read, and the same after 1/2 has read and written."""
    first = tmp_path_factory.mktemp("first") / "out"
    build(configuration(native_root, first, shard_range=(0, 2)), Silent())
    second = shutil.copytree(first, tmp_path_factory.mktemp("second") / "out")
    build(configuration(native_root, second, shard_range=(1, 2)), Silent())
    return first, second


def test_half_of_reading(halves: tuple[Path, Path]) -> None:
    status = status_of(halves[0])
    plan = json.loads((halves[0] / "_build/plan.json").read_text())
    tasks = len(plan["read"])
    assert (status.state, status.build_id) == ("unfinished", plan["build_id"])
    reading = stage(status, "reading")
    done = (tasks + 1) // 2
    assert (reading["tasks"], reading["done"], reading["left"]) == (tasks, done, tasks - done)
    assert [(w["host"], w["process"], w["share"], w["tasks"]) for w in reading["by"]] == [
        (socket.gethostname(), os.getpid(), "0/2", done)
    ]
    assert reading["last"] == reading["by"][0]["last"]
    assert stage(status, "pairing")["left"] == 1
    assert (stage(status, "writing")["tasks"], stage(status, "writing")["left"]) == (None, None)
    assert status.next == f"mixedparts finalize {halves[0]}"
    assert status.failed == status.stopped == status.writing == ()


def test_half_of_writing_by_the_other_share(halves: tuple[Path, Path]) -> None:
    status = status_of(halves[1])
    reading, writing = stage(status, "reading"), stage(status, "writing")
    assert reading["left"] == stage(status, "pairing")["left"] == 0
    assert [worker["share"] for worker in reading["by"]] == ["0/2", "1/2"]
    assert sum(worker["tasks"] for worker in reading["by"]) == reading["tasks"]
    assert writing["done"] == writing["tasks"] // 2
    assert [worker["share"] for worker in writing["by"]] == ["1/2"]


def test_a_finished_build_counts_its_shards(built: Path) -> None:
    status = status_of(built)
    manifest = json.loads((built / "manifest.json").read_text())
    assert status.state == "finished"
    shards = [shard for shard in manifest["shards"] if "/" in shard["path"]]
    writing = stage(status, "writing")
    assert (writing["tasks"], writing["done"], writing["left"]) == (len(shards), len(shards), 0)
    assert status.next == f"mixedparts verify {built} --level full"


def test_who_is_writing_now_is_named(halves: tuple[Path, Path], tmp_path: Path) -> None:
    out = shutil.copytree(halves[0], tmp_path / "out")
    with sharing(out, "1-2"):
        status = status_of(out)
    assert [(w["share"], w["process"]) for w in status.writing] == [("1-2", os.getpid())]
    assert status.next.startswith("wait for who is writing")


def test_a_task_that_failed_is_named_until_it_is_done(native_root: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "sources", tmp_path / "out"
    shutil.copytree(native_root, root)
    file = root / "paco/annotations/paco_lvis_v1_val.json"
    content = file.read_bytes()
    config = configuration(root, out, shard_range=(0, 1))
    file.write_bytes(content[:-20])
    with pytest.raises(InputError) as raised:
        build(config, Silent())
    stopped = status_of(out)
    assert stopped.state == "unfinished"
    assert [fault["error"] for fault in stopped.stopped] == [str(raised.value)]
    assert stopped.stopped[0]["share"] == "0/1"
    file.write_bytes(content)
    build(config, Silent(), overwrite=True)
    assert status_of(out).stopped == ()


def test_a_failed_task_is_recorded_with_its_error(
    native_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    config = configuration(native_root, out)

    def fail(task: Any) -> None:
        if task.table == "images" and task.split == "test":
            raise InputError(f"the disk of {task.name} is on fire", "Put it out.")
        raise AssertionError("not reached")

    writes = "mixedparts.pipeline.build.run_write"
    with monkeypatch.context() as patch:
        from mixedparts.pipeline.write import run_write

        patch.setattr(writes, lambda t: fail(t) if t.table == "images" and t.split == "test"
                      else run_write(t))  # fmt: skip
        with pytest.raises(InputError, match="on fire"):
            build(config, Silent())
    status = status_of(out)
    assert [(f["stage"], f["task"]) for f in status.failed] == [("writing", "images-test-00000")]
    assert status.failed[0]["error"] == "the disk of images-test-00000 is on fire\nPut it out."
    assert stage(status, "writing")["failed"] == 1
    build(config, Silent())
    assert status_of(out).failed == ()


@pytest.mark.parametrize("content", [None, "notes"])
def test_a_folder_without_a_build(content: str | None, tmp_path: Path, run_mixedparts: Run) -> None:
    out = tmp_path / "out"
    if content:
        out.mkdir()
        (out / "file").write_text(content)
    done = run_mixedparts("status", "out")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "out: no build"
    assert "mixedparts build" in done.stdout
    assert json.loads(run_mixedparts("status", "out", "--json").stdout)["state"] == "no build"


def test_the_command_prints_all_of_it(
    halves: tuple[Path, Path], run_mixedparts: Run, tmp_path: Path
) -> None:
    out = halves[1]
    before = digests(out)
    done = run_mixedparts("status", out)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{out}: unfinished (build ")
    assert any(line.startswith("| writing |") for line in lines)
    assert f"share 1/2, {socket.gethostname()}, process {os.getpid()}" in done.stdout
    assert lines[-1] == f"next: mixedparts finalize {out}"
    values = json.loads(run_mixedparts("status", out, "--json").stdout)
    assert values["damaged"] is None
    assert [item["stage"] for item in values["stages"]] == ["reading", "pairing", "writing"]
    assert digests(out) == before


def test_only_a_check_reads_the_files(halves: tuple[Path, Path], tmp_path: Path) -> None:
    out = shutil.copytree(halves[1], tmp_path / "out")
    assert damaged_tasks(out) == ()
    shard = sorted((out / "_build/ready").rglob("*.parquet"))[0]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF
    shard.write_bytes(data)
    task = f"{shard.parent.name}-{shard.name[: -len('-of-00001.parquet')]}"
    assert damaged_tasks(out) == (task,)
    assert status_of(out).damaged is None


@pytest.mark.parametrize("name", ["plan.json", "log.jsonl", "commits/pair.json"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"build_id": 1}',
        b"\xff\x00{",
        b"null\n3\n",
        b'{"event": "reading", "task": "x", "share": [], "process": "p"}\n{"event": "stopped"}\n',
    ],
)
def test_odd_files_are_no_obstacle(
    name: str, content: bytes, halves: tuple[Path, Path], tmp_path: Path
) -> None:
    out = shutil.copytree(halves[1], tmp_path / "out")
    (out / "_build" / name).write_bytes(content)
    assert status_of(out).state in ("unfinished", "no build")
