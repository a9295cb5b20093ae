"""Shares that run at the same time and are killed at random: the same bytes, nothing left over."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mixedparts.pipeline.runs.completion import CompletionRequest, finalize_build
from mixedparts.progress import Silent
from tests.mixedparts.pipeline.runs.conftest import Share
from tests.oracles.digests import digests

_SHARES = 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_killed_shares_go_on_beside_the_others(
    seed: int, share: Share, whole: dict[str, str], tmp_path: Path
) -> None:
    rng = random.Random(seed)
    names = [f"{number}/{_SHARES}" for number in range(_SHARES)]
    runs = {name: share(name, "--wait", 120) for name in names}
    for _ in range(4):
        time.sleep(rng.uniform(0.2, 2.5))
        name = rng.choice(names)
        runs[name].kill()
        runs[name].communicate()
        runs[name] = share(name, "--wait", 120)
    ended = {name: run.communicate(timeout=300) for name, run in runs.items()}
    assert [run.returncode for run in runs.values()] == [0] * _SHARES, ended
    assert digests(tmp_path / "out", "log.jsonl") == whole
    assert sorted(os.listdir(tmp_path)) == ["out"], "locks are gone"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_rounds_of_shares_that_do_not_wait(
    seed: int, share: Share, whole: dict[str, str], tmp_path: Path
) -> None:
    rng = random.Random(seed)
    for _ in range(2):
        runs: list[subprocess.Popen[str]] = []
        for number in rng.sample(range(_SHARES), _SHARES):
            time.sleep(rng.uniform(0.0, 0.8))
            runs.append(share(f"{number}/{_SHARES}"))
        lost = rng.choice(runs)
        time.sleep(rng.uniform(0.0, 3.0))
        os.kill(lost.pid, signal.SIGKILL)
        ended = [run.communicate(timeout=300) for run in runs]
        codes = {run.returncode for run in runs}
        assert codes <= {0, 4, -signal.SIGKILL}, ended
    finalize_build(CompletionRequest(tmp_path / "out"), Silent())
    assert digests(tmp_path / "out", "log.jsonl") == whole
    assert sorted(os.listdir(tmp_path)) == ["out"]
