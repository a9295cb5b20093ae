"""A process that a command starts beside itself ends with it, and never leaves it waiting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from calico.runtime.launch import was_launched
from mixedparts.errors import UsageError
from tests.checkout import ROOT
from tests.factories.processes import within

PROGRAM = """
import os, sys, time
from pathlib import Path
from calico.runtime.launch import is_worker, worker_processes
from mixedparts.pipeline.engines.follow_parent import follow_parent
place, ending = Path(sys.argv[1]), sys.argv[2]
if is_worker():
    follow_parent()
    (place / "companion").write_text(" ".join([str(os.getpid()), os.environ["RANK"]]))
    if ending in ("fail", "lose", "refuse"):
        sys.exit(2 if ending == "refuse" else 5)
    time.sleep(120)
with worker_processes(2, "program", sys.argv[1:]):
    assert os.environ["RANK"] == "0" and os.environ["WORLD_SIZE"] == "2"
    while not (place / "companion").is_file():
        time.sleep(0.02)
    if ending == "lose":
        raise RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer")
    time.sleep(120 if ending != "finish" else 0.2)
assert "RANK" not in os.environ
"""


def started(place: Path, ending: str) -> subprocess.Popen[str]:
    (place / "program.py").write_text(PROGRAM)
    here = str(ROOT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), here])}
    command = [sys.executable, "-m", "program", str(place), ending]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def companion_ends(place: Path) -> bool:
    """Wait for the companion to start and to be gone."""
    file = place / "companion"
    assert within(60, lambda: file.is_file() and len(file.read_text().split()) == 2)
    number, rank = file.read_text().split()
    assert rank == "1"

    def gone() -> bool:
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            return True
        return False

    return within(30, gone)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system knows no SIGKILL")
def test_it_ends_with_a_killed_parent(tmp_path: Path) -> None:
    parent = started(tmp_path, "wait")
    assert within(60, (tmp_path / "companion").is_file)
    parent.kill()
    parent.wait()
    assert companion_ends(tmp_path)


def test_it_ends_with_the_work(tmp_path: Path) -> None:
    parent = started(tmp_path, "finish")
    assert parent.wait(60) == 0, parent.communicate()
    assert companion_ends(tmp_path)


def test_its_failure_ends_the_command_with_one_message(tmp_path: Path) -> None:
    parent = started(tmp_path, "fail")
    _, said = parent.communicate(timeout=60)
    assert parent.returncode == 3
    assert "a worker process ended with code 5" in said
    assert "--resume auto" in said


def test_a_usage_error_of_a_companion_is_one_of_the_command(tmp_path: Path) -> None:
    parent = started(tmp_path, "refuse")
    _, said = parent.communicate(timeout=60)
    assert parent.returncode == 2
    assert "a worker process ended with code 2; its message is above" in said


def test_a_connection_lost_to_a_failed_worker_is_its_failure(tmp_path: Path) -> None:
    parent = started(tmp_path, "lose")
    _, said = parent.communicate(timeout=60)
    assert "EnvironmentFault: a worker process ended with code 5; its message is above" in said


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"])
@pytest.mark.parametrize("value", ["abc", "-1", ""])
def test_a_variable_of_torchrun_that_is_no_number(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"{name}='{value}' in the environment is no number"):
        was_launched()


def test_the_mark_of_workers_can_be_anything() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import calico.cli"],
        env={**os.environ, "CALICO_WORKER": "x"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
