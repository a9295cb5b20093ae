"""Runs of shard ranges: exit codes, waiting for each other, and one that finishes the build."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mixedparts.errors import EnvironmentFault, UsageError
from mixedparts.pipeline.build import build
from mixedparts.pipeline.runs.shares import recorded_names, sized_record
from mixedparts.progress import Silent
from tests.mixedparts.pipeline.runs.conftest import Share, configuration
from tests.oracles.digests import digests

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_three_shares_at_once_wait_for_each_other_and_make_up_the_whole(
    share: Share, whole: dict[str, str], tmp_path: Path
) -> None:
    runs = [share(f"{n}/3", "--wait", 120) for n in range(3)]
    told = [run.communicate(timeout=240) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], told
    assert digests(tmp_path / "out", "log.jsonl") == whole
    # Whoever has finished it: all have reported the same build, and no working file is left.
    assert len({output.splitlines()[-1] for output, _ in told}) == 1
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.startswith(".")]
    lines = (tmp_path / "out/_build/log.jsonl").read_text().splitlines()
    tasks = [event["task"] for line in lines if "task" in (event := json.loads(line))]
    # Every task once: pairing and writing were not repeated by each of them.
    assert len(tasks) == len(set(tasks))


def test_a_share_whose_others_are_lost_says_which_and_ends_with_4(
    share: Share, tmp_path: Path
) -> None:
    first = share("0/3")
    output, messages = first.communicate(timeout=120)
    assert (first.returncode, output) == (4, "waiting: reading\n")
    waiting = share("1/3", "--wait", 1.5, "--json")
    output, messages = waiting.communicate(timeout=120)
    assert waiting.returncode == 4
    told = json.loads(output)
    assert (told["waiting"], told["shard_range"]) == ("reading", [1, 3])
    assert len(told["left"]) == 1
    assert told["left"][0].startswith("share 2/3: ")
    assert told["left"][0].endswith("left; no sign of it in the log")
    assert told["left"][0] in messages
    assert "reading: waiting for other shares: 0 of" in messages
    assert "mixedparts finalize" in messages


def test_waiting_starts_again_with_every_task_that_another_share_ends(
    native_root: Path, tmp_path: Path
) -> None:
    config = configuration(native_root, tmp_path / "out", shard_range=(0, 2), wait=2.0)
    ended: list[dict[str, object]] = []
    run = threading.Thread(target=lambda: ended.append(build(config, Silent())))
    run.start()
    records = tmp_path / "out/_build/commits"
    deadline = time.monotonic() + 60
    while len(recorded_names(tmp_path / "out")) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    plan = json.loads((tmp_path / "out/_build/plan.json").read_text())
    others = [task["task"] for task in plan["read"][1::2]]
    began = time.monotonic()
    for task in others[:3]:
        time.sleep(1.2)
        (records / f"{task}.json").write_text("{}")  # no record, but a sign of life
    run.join(timeout=60)
    assert time.monotonic() - began > 3 * 1.2 + 1.9
    assert ended[0]["waiting"] == "reading"


def test_a_share_that_has_nothing_left_to_wait_for_does_not_wait(
    native_root: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for at in range(3):
        build(configuration(native_root, out, shard_range=(at, 3)), Silent())
    for at in range(3):
        result = build(configuration(native_root, out, shard_range=(at, 3)), Silent())
    assert "build_id" in result
    assert digests(out, "log.jsonl") == whole


def test_a_late_share_finds_the_finished_build_and_changes_nothing(
    native_root: Path, tmp_path: Path, share: Share
) -> None:
    out = tmp_path / "out"
    build(configuration(native_root, out), Silent())
    before = digests(out)
    late = share("1/3")
    _, messages = late.communicate(timeout=120)
    assert late.returncode == 0
    assert "is complete; nothing to do." in messages
    assert digests(out) == before


def test_a_share_replaces_another_build_once(
    native_root: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    build(configuration(native_root, out, seed=7), Silent())
    with pytest.raises(UsageError, match=r"seed: 7 -> 0"):
        build(configuration(native_root, out, shard_range=(0, 2)), Silent())
    # Each of them is called with --overwrite, as an array job calls them.
    for _ in range(2):
        for at in range(2):
            build(configuration(native_root, out, shard_range=(at, 2)), Silent(), overwrite=True)
    assert digests(out, "log.jsonl") == whole


def test_files_that_another_share_has_left_damaged_are_made_again(
    native_root: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    build(configuration(native_root, out, shard_range=(0, 2)), Silent())
    file = sorted((out / "_build/work/entities").iterdir())[0]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)  # the size stays
    with pytest.raises(EnvironmentFault, match=f"the first of {file.stem}"):
        build(configuration(native_root, out, shard_range=(1, 2)), Silent())
    assert sized_record(out, file.stem) is None
    for at in (0, 1, 0):
        build(configuration(native_root, out, shard_range=(at, 2)), Silent())
    assert digests(out, "log.jsonl") == whole


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--wait", "5"), "add --shard-range i/N"),
        (("--shard-range", "0/2", "--wait", "-1"), "wait"),
        (("--shard-range", "0/2", "--wait", "nan"), "wait"),
        (("--shard-range", "2/2"), "0 <= i < N"),
    ],
)
def test_wrong_usage(options: tuple[str, ...], told: str, run_mixedparts: Run) -> None:
    done = run_mixedparts("build", "--sources", "paco", *options)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
