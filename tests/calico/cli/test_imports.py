"""Commands start without loading a heavy library."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_importing_calico_loads_nothing_heavy() -> None:
    program = "import sys, calico; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("module", ["train", "pretrain", "predict", "evaluate"])
def test_help_needs_no_heavy_library(module: str) -> None:
    program = (
        f"import sys\nfrom calico.cli import {module}\ntry: {module}.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'transformers', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.returncode == 0
    assert "examples:" in shown.stdout
