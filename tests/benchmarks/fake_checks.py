"""Checks that end in every way in which a check can end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time

from benchmarks.gpu_check.outcome import Check, Report, Setting, Skipped


def fine(setting: Setting, report: Report) -> None:
    report.figure("speed", 3, "m/s", 2)
    report.figure("device", setting.device)


def at_fault(setting: Setting, report: Report) -> None:
    report.figure("before", 1)
    report.require(1 > 2, "one is | not above two")
    report.figure("after", 2)


def raising(setting: Setting, report: Report) -> None:
    print("on the way")
    report.figure("before", 1)
    raise ValueError("no such kernel\nand more")


def leaving(setting: Setting, report: Report) -> None:
    sys.exit(0)


def dying(setting: Setting, report: Report) -> None:
    report.figure("before", 1)
    os.kill(os.getpid(), signal.SIGSEGV)


def ending(setting: Setting, report: Report) -> None:
    os._exit(7)


def skipping(setting: Setting, report: Report) -> None:
    raise Skipped("bitsandbytes is not installed")


def hanging(setting: Setting, report: Report) -> None:
    child = subprocess.Popen(["sleep", "600"])
    report.figure("child", child.pid)
    time.sleep(600)


def forked_badly(setting: Setting, report: Report) -> None:
    """As torch fails in a process that was forked after CUDA was initialised."""
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid != os.getppid():
        raise RuntimeError("Cannot re-initialize CUDA in forked subprocess. To use CUDA …")
    report.figure("begun", "anew")


def check(run: object, seconds: float = 60, least: float = 0, needs: tuple[str, ...] = ()) -> Check:
    name = run.__name__  # type: ignore[attr-defined]
    return Check(name, f"the check {name}", run, seconds, least, needs)  # type: ignore[arg-type]
