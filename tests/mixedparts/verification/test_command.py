"""The command and its document, and that the number of processes changes nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from mixedparts.verification.verify import verify
from tests.factories.forger import change_area, rewrite

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_processes_find_what_one_finds(build: Path) -> None:
    rewrite(build, lambda rows: rows[0]["objects"][0].update(area=1))
    alone, together = verify(build, "deep"), verify(build, "deep", workers=2)
    assert alone.total == 1
    assert alone.listed == together.listed


def test_the_command_names_rows_and_ends_with_1(build: Path, run_mixedparts: Run) -> None:
    done = run_mixedparts("verify", build, "--level", "deep", "--quiet")
    assert (done.returncode, done.stdout) == (0, f"{build}: 0 problems at level deep\n")
    named: list[str] = []
    rewrite(build, lambda rows: named.append(change_area(rows)))
    done = run_mixedparts("verify", build, "--level", "deep", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert (told["number"], told["rules"]) == (1, {"area": 1})
    assert told["problems"][0].startswith(f"pairs/train-00000-of-00001.parquet {named[0]}: ")
