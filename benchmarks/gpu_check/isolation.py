"""Run a check in a process of its own, with a limit of time; whatever happens there is recorded."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import time
import traceback
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path

from benchmarks.gpu_check.outcome import FAILED, SKIPPED, Check, Figure, Outcome, Setting, Skipped

_GRACE = 20.0  # seconds for a process to end after its last word
_LOG_LINES = 12  # of a failed check's output that are kept
_PRELOADED = ["benchmarks.gpu_check.checks"]


def processes(start: str = "forkserver") -> BaseContext:
    """Return how processes are started.

    A fork server imports torch, transformers and this project once, which takes some ten seconds,
    and its children begin with them. It never touches CUDA, which does not survive a fork.

    Args:
        start: "forkserver", or "spawn", where every process imports anew.
    """
    # With NVML, `torch.cuda.is_available` does not initialise the driver, should an import ask.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    context = multiprocessing.get_context(start)
    if start == "forkserver":
        context.set_forkserver_preload(_PRELOADED)
    return context


class PipeReport:
    """Sends what a check finds to the process that waits for it."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def figure(
        self, name: str, value: float | str, unit: str = "", expected: float | None = None
    ) -> None:
        """Send a measured value."""
        plain = value if isinstance(value, str) else float(value)
        self.pipe.send(("figure", Figure(name, plain, unit, expected)))

    def require(self, holds: bool, fault: str) -> None:
        """Send a fault unless something holds."""
        if not holds:
            self.pipe.send(("fault", fault))


def isolated(check: Check, setting: Setting, limit: float, context: BaseContext) -> Outcome:
    """Run a check and return how it ended.

    Args:
        check: what is run.
        setting: where.
        limit: seconds after which the process and all that it started are killed.
        context: starts the process.

    Returns:
        The outcome, with what the check reported before it ended.
    """
    outcome = Outcome(check.name, check.titled(setting))
    log = setting.work / f"{check.name}.log"
    began = time.monotonic()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(check, setting, sender, log))  # type: ignore[attr-defined]
    process.start()
    sender.close()
    ended = False
    while not ended and (left := began + limit - time.monotonic()) > 0:
        ended = not _receive(receiver, outcome, min(left, 1.0))
    if ended:
        process.join(_GRACE)
    else:
        outcome.messages.append(f"did not end within {limit:.0f} s")
        outcome.status = FAILED
    if process.is_alive():
        _kill_group(process.pid)
        process.join()
    elif process.exitcode:
        outcome.messages.append(_ending(process.exitcode))
        outcome.status = FAILED
    outcome.seconds = time.monotonic() - began
    if outcome.status == FAILED and log.is_file():
        outcome.log = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    return outcome


def _receive(pipe: Connection, outcome: Outcome, wait: float) -> bool:
    """Take one message, if one comes; return whether more can come."""
    if not pipe.poll(wait):
        return True
    try:
        kind, value = pipe.recv()
    except EOFError:
        return False
    if kind == "figure":
        outcome.figures.append(value)
        return True
    if kind == "cpu":
        outcome.cpu = value
        return True
    outcome.status = SKIPPED if kind == "skipped" else FAILED
    outcome.messages.append(value)
    return True


def _run(check: Check, setting: Setting, pipe: Connection, log: Path) -> None:
    """Run a check in this process, which ends with it."""
    # A group of its own: what the check starts is killed with it.
    os.setpgrp()
    with log.open("w") as file:
        # Also what libraries in C print.
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            try:
                check.run(setting, PipeReport(pipe))
            except Skipped as reason:
                pipe.send(("skipped", str(reason)))
            except BaseException as error:  # also SystemExit: nothing may pass as success
                traceback.print_exc()
                text = str(error).strip().splitlines()
                first = f": {text[0]}" if text else ""
                pipe.send(("fault", f"{type(error).__name__}{first}"))
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    pipe.send(("cpu", sum(one.ru_utime + one.ru_stime for one in used)))
    pipe.close()


def _kill_group(pid: int | None) -> None:
    """Kill a process and all that it started."""
    # In its first moment it has no group of its own yet; then it has started nothing.
    assert pid is not None
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


def _ending(code: int) -> str:
    """Return words for the exit code of a process that ended without a word."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with code {code}"
