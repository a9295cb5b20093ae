"""Help of every verb, printed without loading a heavy library."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_help_of_every_verb_has_an_example(run_mixedparts: Run) -> None:
    assert "examples:" in run_mixedparts("--help").stdout
    verbs = ("sample", "build", "status", "finalize", "verify", "stats", "view", "push", "sources")
    for verb in verbs:
        done = run_mixedparts(verb, "--help")
        assert done.returncode == 0
        assert f"mixedparts {verb}" in done.stdout
        assert "examples:" in done.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "try:\n    from mixedparts.cli import main; main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'numpy', 'pyarrow', 'pandas', 'datasets', 'torch', 'cv2', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
