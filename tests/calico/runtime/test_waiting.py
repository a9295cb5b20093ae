"""Processes that wait for one that works long, and for one that is gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from accelerate import Accelerator

from calico.runtime import waiting
from tests.checkout import ROOT

# Messages may take 2 seconds and a process may be silent for 3. The first process works for 5.
SCRIPT = """
import sys, time
from datetime import timedelta
from pathlib import Path
from calico.runtime import distributed, waiting
from mixedparts.errors import EnvironmentFault
distributed.TIMEOUT = timedelta(seconds=2)
waiting.BEAT, waiting.PATIENCE = 0.2, 3.0
accelerator = distributed.build_accelerator("cpu")
rank, place = accelerator.process_index, Path(sys.argv[1])
began = time.monotonic()
with waiting.first_process_first(accelerator):
    if rank == 0:
        time.sleep(5)
    (place / f"first {rank}").write_text(str(time.monotonic() - began))
found = distributed.collected(accelerator, {rank: "own"})
(place / f"collected {rank}").write_text(repr(found))
try:
    if rank == 0:
        waiting.wait_for_everyone(accelerator)
    else:
        time.sleep(600)  # it is killed
except EnvironmentFault as error:
    (place / "gone").write_text(f"{time.monotonic() - began} {error.message}")
"""


def test_a_process_that_works_is_waited_for_and_one_that_is_gone_is_not(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    shared |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    shared |= {"LOCAL_WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "script.py"), str(tmp_path)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    first, second = processes
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "collected 1").exists() and time.monotonic() < deadline:
            assert first.poll() is None, first.communicate()[1][-2000:]
            time.sleep(0.1)
        second.send_signal(signal.SIGKILL)
        second.wait()
        killed = time.monotonic()
        first.wait(60)
        assert time.monotonic() - killed < 30
    finally:
        for process in processes:
            process.kill()
            process.wait()
    # It waited longer than a message may take, and than a process may be silent.
    waited = [float((tmp_path / f"first {rank}").read_text()) for rank in (0, 1)]
    assert 5 <= waited[0] < waited[1]
    assert (tmp_path / "collected 0").read_text() == "[{0: 'own'}, {1: 'own'}]"
    assert (tmp_path / "collected 1").read_text() == "None"
    assert "process 1 has not reported for 3 seconds" in (tmp_path / "gone").read_text()


def test_a_process_alone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    accelerator = Accelerator(cpu=True)
    waiting.join(accelerator)
    waiting.wait_for_everyone(accelerator)
    with waiting.first_process_first(accelerator):
        pass
    waiting.leave()
