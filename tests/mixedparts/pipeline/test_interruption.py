"""The same bytes at any number of workers and after any interruption; nothing half-made loads."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from mixedparts.errors import InputError
from mixedparts.loading import load_dataset
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from tests.conftest import SOURCES, command
from tests.oracles.digests import digests

SMALL = "read_shard_images: 4\npair_shard_rows: 60\nimage_shard_rows: 7\n"  # many shards
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def arguments(root: Path, out: Path, workers: int) -> list[str]:
    config = out.parent / "build.yaml"
    config.write_text(SMALL)
    words = ["build", "--sources", *SOURCES, "--root", root, "--out", out, "--samples", 600]
    words += ["--workers", workers, "--config", config, "--quiet"]
    return [str(word) for word in words]


@pytest.fixture(scope="module")
def undisturbed(native_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed build with one worker; do not write here."""
    out = tmp_path_factory.mktemp("whole") / "out"
    subprocess.run([command("mixedparts"), *arguments(native_root, out, 1)], check=True)
    return out


@pytest.fixture(scope="module")
def whole(undisturbed: Path) -> dict[str, str]:
    """Fingerprint of the undisturbed build."""
    return digests(undisturbed, "log.jsonl")


def assert_loads_nothing(out: Path) -> None:
    """Neither plain `datasets` nor our loader takes the folder for a dataset."""
    with pytest.raises(InputError):
        load_dataset(out)
    with pytest.raises(Exception, match=r"."):
        datasets.load_dataset(str(out))


@pytest.mark.parametrize("workers", [2, 4])
def test_more_workers_write_the_same_bytes(
    workers: int, native_root: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    subprocess.run([command("mixedparts"), *arguments(native_root, out, workers)], check=True)
    assert digests(out, "log.jsonl") == whole


@pytest.mark.parametrize("kill_at", range(5))
def test_a_killed_build_goes_on_to_the_same_bytes(
    native_root: Path, whole: dict[str, str], tmp_path: Path, kill_at: int
) -> None:
    out = tmp_path / "out"
    words = [command("mixedparts"), *arguments(native_root, out, 2)]
    files = random.Random(kill_at).randint(1, len(whole) - 2)
    for wanted in (files, min(files + 9, len(whole) - 2)):
        process = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL)
        while process.poll() is None and count_files(out) < wanted:
            time.sleep(0.002)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if not (out / "manifest.json").exists() and out.exists():
        assert_loads_nothing(out)
    subprocess.run(words, check=True)
    assert digests(out, "log.jsonl") == whole


def count_files(out: Path) -> int:
    """How many files there are under a folder that others write to."""
    return sum(len(files) for _, _, files in os.walk(out))


def test_a_second_run_changes_nothing(
    native_root: Path, undisturbed: Path, tmp_path: Path, run_mixedparts: Run
) -> None:
    out = shutil.copytree(undisturbed, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    words = [word for word in arguments(native_root, out, 1) if word != "--quiet"]
    again = run_mixedparts(*words)
    assert again.returncode == 0
    assert "nothing to do" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_damaged_shard_is_made_again(
    native_root: Path,
    undisturbed: Path,
    whole: dict[str, str],
    tmp_path: Path,
    run_mixedparts: Run,
) -> None:
    out = shutil.copytree(undisturbed, tmp_path / "out")
    shard = sorted((out / "pairs").glob("train-*"))[1]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF
    shard.write_bytes(data)
    (sorted((out / "images").glob("*"))[0]).unlink()
    run_mixedparts(*arguments(native_root, out, 2))
    assert digests(out, "log.jsonl") == whole


def test_shares_of_the_shards_make_up_the_whole(
    native_root: Path, whole: dict[str, str], tmp_path: Path, run_mixedparts: Run
) -> None:
    out = tmp_path / "out"
    codes = []
    for _stage in range(2):
        for share in ("0/3", "1/3", "2/3"):
            done = run_mixedparts(*arguments(native_root, out, 1), "--shard-range", share)
            codes.append(done.returncode)
    # The third run finds all of reading done and writes its share; the fifth finishes the build.
    assert codes == [4, 4, 4, 4, 0, 0]
    assert digests(out, "log.jsonl") == whole


def test_ray_writes_the_same_bytes(
    native_root: Path, whole: dict[str, str], tmp_path: Path, run_mixedparts: Run
) -> None:
    out = tmp_path / "out"
    done = run_mixedparts(*arguments(native_root, out, 2), "--engine", "ray")
    assert done.returncode == 0, done.stderr
    assert digests(out, "log.jsonl") == whole


def test_an_input_that_changed_stops_the_build_and_is_named(
    native_root: Path, tmp_path: Path, run_mixedparts: Run
) -> None:
    root, out = tmp_path / "src", tmp_path / "out"
    shutil.copytree(native_root, root)
    assert run_mixedparts(*arguments(root, out, 1)).returncode == 0
    file = root / "paco" / "annotations" / "paco_lvis_v1_val.json"
    data = json.loads(file.read_text())
    data["annotations"].pop()
    file.write_text(json.dumps(data))
    again = run_mixedparts(*arguments(root, out, 1))
    assert again.returncode == 2
    assert "paco_lvis_v1_val.json" in again.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="a full disk needs the right to mount one")
def test_a_full_disk_is_told_and_the_build_goes_on_later(
    native_root: Path, whole: dict[str, str], tmp_path: Path, run_mixedparts: Run
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        out = small / "out"
        done = run_mixedparts(*arguments_elsewhere(native_root, out, tmp_path))
        assert done.returncode == 3
        assert "no space left" in done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) <= 3
        assert_loads_nothing(out)
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        assert run_mixedparts(*arguments_elsewhere(native_root, out, tmp_path)).returncode == 0
        assert digests(out, "log.jsonl") == whole
    finally:
        subprocess.run(["umount", str(small)], check=True)


def arguments_elsewhere(root: Path, out: Path, folder: Path) -> list[str]:
    """The same arguments, their configuration file outside the build's disk."""
    words = arguments(root, folder / "x", 2)
    words[words.index("--out") + 1] = str(out)
    return words


def test_an_interrupt_ends_with_130(native_root: Path, tmp_path: Path) -> None:
    code, told = interrupted_build(native_root, tmp_path)
    assert code == 130
    assert "interrupted" in told
    assert "Traceback" not in told


def interrupted_build(root: Path, folder: Path) -> tuple[int, str]:
    """Interrupt a build of 600 shards once it has a plan; return its exit code and messages."""
    out = folder / "out"
    words = [command("mixedparts"), *arguments(root, out, 2)]
    (folder / "build.yaml").write_text(SMALL.replace("rows: 60", "rows: 1"))
    process = subprocess.Popen(
        words,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that puts the tests into the background has them ignore it, and all they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and not (out / "_build" / "plan.json").exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    return process.returncode, told


def test_no_clock_or_path_of_the_machine_gets_into_a_build(
    native_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    build(BuildConfig(sources=("paco",), root=native_root, out=out, samples=40), Silent())
    for path in out.rglob("*"):
        if path.is_file() and path.name != "log.jsonl":
            assert str(tmp_path).encode() not in path.read_bytes()
            assert str(native_root).encode() not in path.read_bytes()
