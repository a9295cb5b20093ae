"""Run the checks one after the other within a bound of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from benchmarks.gpu_check.isolation import isolated, processes
from benchmarks.gpu_check.outcome import FAILED, NOT_RUN, PASSED, Check, Outcome, Setting

# What torch and CUDA's driver say where a process was forked from one that had touched CUDA.
_BAD_FORK = ("forked subprocess", "initialization error", "not initialized")


def run_checks(
    checks: Sequence[Check],
    setting: Setting,
    seconds: float,
    began: Callable[[Check], None] = lambda check: None,
) -> Iterator[Outcome]:
    """Run checks, and yield how each ended; a failed one does not keep the others from running.

    Args:
        checks: in order.
        setting: of all.
        seconds: for all of them together.
        began: called before each check that runs.

    Yields:
        One outcome a check.
    """
    end = time.monotonic() + seconds
    # The limits are those of a GPU. A CPU may be slow, and something else may run on it.
    patience = 1 if setting.cuda else 5
    status: dict[str, str] = {}
    start = "forkserver"
    for check in checks:
        left, limit = end - time.monotonic(), check.seconds * patience
        lacking = [name for name in check.needs if status.get(name, PASSED) != PASSED]
        if lacking:
            reason = f"needs '{lacking[0]}', which {_told(status[lacking[0]])}"
        elif left < check.least:
            reason = f"{max(0, left):.0f} s of {seconds:.0f} were left, it needs {check.least:.0f}"
        else:
            reason = ""
        if reason:
            outcome = Outcome(check.name, check.titled(setting), NOT_RUN, messages=[reason])
        else:
            began(check)
            outcome = isolated(check, setting, min(limit, left), processes(start))
            if start == "forkserver" and _forked_badly(outcome):
                # An import has touched CUDA in the fork server: from now on, every process begins
                # with its own imports.
                start = "spawn"
                left = end - time.monotonic()
                outcome = isolated(check, setting, min(limit, left), processes(start))
        status[check.name] = outcome.status
        yield outcome


def _told(status: str) -> str:
    return {NOT_RUN: "was not run", FAILED: "failed"}.get(status, f"was {status}")


def _forked_badly(outcome: Outcome) -> bool:
    words = " ".join(outcome.messages).lower()
    return outcome.status == FAILED and any(part in words for part in _BAD_FORK)
