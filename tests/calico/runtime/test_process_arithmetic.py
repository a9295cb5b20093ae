"""The arithmetic that commands set for their process holds in all of its threads."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.checkout import ROOT

# torch's setting reaches the calling thread and those that start later. A module that computes
# something large while it is imported would start torch's threads before.
PROGRAM = """
import numpy as np
import torch
import calico.cli.{command}
from calico.runtime.device import prepare_process

tiny = torch.from_numpy(np.full(1 << 20, 1e-40, np.float32))
prepare_process(2)
print((tiny * 2 == 0).float().mean().item())
"""


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "pretrain", "demo"])
def test_denormal_numbers_become_zero_in_every_thread(command: str) -> None:
    program = PROGRAM.format(command=command)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1.0\n"
