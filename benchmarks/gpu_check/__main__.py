"""`python -m benchmarks.gpu_check`: run every check on one GPU within eight minutes.

    python -m benchmarks.gpu_check [--write docs/gpu-check.md]      on the GPU, else on the CPU
    python -m benchmarks.gpu_check --device cpu --size small        end to end in a minute
    python -m benchmarks.gpu_check --only device large              some of them

Exit code 1 if a check failed; one that was skipped or not run is no failure and is shown as such.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu_check.checks import CHECKS
from benchmarks.gpu_check.machine import machine_facts
from benchmarks.gpu_check.outcome import FAILED, NOT_RUN, Check, Setting
from benchmarks.gpu_check.report import as_json, as_markdown
from benchmarks.gpu_check.runner import run_checks
from benchmarks.report import write_section
from calico.runtime.device import choose_device
from mixedparts.errors import MixedPartsError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the checks and return the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        device = choose_device(arguments.device)
    except MixedPartsError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    small = arguments.size == "small" or (arguments.size == "auto" and device.type == "cpu")
    # Two runs at once keep to folders of their own, and a run finds nothing of an earlier one.
    work = arguments.work / time.strftime("%Y%m%d-%H%M%S")
    work.mkdir(parents=True)
    setting = Setting(str(device), small, work.absolute())
    names = _with_needs(arguments.only) or {one.name for one in CHECKS}
    wanted = [one for one in CHECKS if one.name in names]
    began = time.monotonic()
    outcomes = []
    for outcome in run_checks(wanted, setting, 60 * arguments.minutes, _announce):
        outcomes.append(outcome)
        name = f"{outcome.name} … " if outcome.status == NOT_RUN else ""
        print(f"{name}{outcome.status} ({outcome.seconds:.0f} s)", flush=True)
        for text in outcome.messages + [f"| {line}" for line in outcome.log]:
            print(f"    {text}", flush=True)
    found = as_json(outcomes, setting, machine_facts(), time.monotonic() - began)
    record = work / "gpu-check.json"
    record.write_text(json.dumps(found, indent=2) + "\n")
    table = as_markdown(found, outcomes)
    print(f"\n{table}\nwritten: {record}", flush=True)
    if arguments.write is not None:
        # A machine with a GPU adds its section; it replaces none of the CPU.
        write_section(arguments.write, f"benchmarks.gpu_check.{device.type}", table.rstrip())
    return int(any(one.status == FAILED for one in outcomes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check",
        description="Check everything that runs on a GPU, within eight minutes.",
    )
    add = parser.add_argument
    names = [one.name for one in CHECKS]
    add("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda or cuda:N")
    add(
        "--size",
        choices=["auto", "full", "small"],
        default="auto",
        help="full: the tiny preset and the 7B model; small: micro models; auto: small on a CPU",
    )
    add("--minutes", type=float, default=8.0, help="for all checks together (8)")
    add(
        "--only",
        nargs="+",
        choices=names,
        metavar="NAME",
        default=[],
        help=f"only these and what they need: {', '.join(names)}",
    )
    add(
        "--work",
        type=Path,
        default=Path("runs/gpu-check"),
        metavar="DIR",
        help="folder for runs and gpu-check.json (runs/gpu-check)",
    )
    add("--write", type=Path, metavar="FILE", help="put the table into this document")
    return parser


def _with_needs(names: Sequence[str]) -> set[str]:
    """Return names of checks with those of all that they need."""
    by_name = {one.name: one for one in CHECKS}
    wanted: set[str] = set()
    open_names = list(names)
    while open_names:
        name = open_names.pop()
        wanted.add(name)
        open_names += by_name[name].needs
    return wanted


def _announce(check: Check) -> None:
    print(f"{check.name} … ", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
