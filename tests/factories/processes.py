"""Processes of a test in a session of their own, and who of them is still alive."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.checkout import ROOT


def start(words: Sequence[object], cwd: Path, **variables: str) -> subprocess.Popen[str]:
    """Start a command whose processes all belong to a new session."""
    return subprocess.Popen(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def start_quietly(
    words: Sequence[object], cwd: Path, messages: Path, **variables: str
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own; its stderr goes to a file, which cannot fill up."""
    with messages.open("wb") as file:
        return subprocess.Popen(
            [str(word) for word in words],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
            stdout=subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,
            # A shell that puts the tests into the background has them ignore it, and all they start
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def alive(session: int) -> list[int]:
    """Return the processes of a session that still run, without those that wait to be reaped."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            text = Path(entry.path, "stat").read_text()
        except OSError:
            continue
        # pid (name) state parent group session …; the name may contain anything.
        state, _, _, owner = text.rpartition(")")[2].split()[:4]
        if int(owner) == session and state not in "ZX":
            found.append(int(entry.name))
    return found


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Wait for a condition; return whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
