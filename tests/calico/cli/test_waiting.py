"""Threads that wait do not spin, unless the user wants them to."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_MODULES = ("train", "pretrain", "evaluate", "predict", "merge", "cost")


@pytest.mark.parametrize("module", _MODULES)
@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_commands_ask_openmp_to_sleep(module: str, given: str | None, expected: str) -> None:
    code = (
        "import os, sys\n"
        f"import calico.cli.{module}\n"
        # OpenMP reads it when torch is loaded: the variable must be there first.
        "print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if given is not None:
        environment["OMP_WAIT_POLICY"] = given
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", expected]
