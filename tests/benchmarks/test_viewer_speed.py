"""The viewer benchmark asks what it says it asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import viewer_speed
from benchmarks.viewer_speed import measure, report
from tests.oracles.build_tables import iter_rows


def test_every_question_is_answered(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, starts, memory = measure(built, 1)
    totals = {one.name: one.total for one in asked}
    rows = [row for s in ("train", "validation", "test") for row in iter_rows(built, "pairs", s)]
    assert totals["no filter"] == totals["no filter, the last page"] == len(rows)
    assert totals["a task"] == sum(row["task"] == "common_parts" for row in rows)
    assert totals["a word that is nowhere"] == 0
    assert all(one.bytes > 50 and len(one.seconds) == len(one.cpu) == 1 for one in asked)
    assert starts[0] > 0
    assert 20 < memory[0] < 2_000
    monkeypatch.setattr(viewer_speed, "measure", lambda *_: (asked, starts, memory))
    monkeypatch.setattr(viewer_speed, "CHROMIUM", tmp_path / "nothing")
    text = report(tmp_path, built, built, 1, 4)
    assert f"| a task | {totals['a task']:,} | " in text
    assert "A page of 4 pairs: 0." in text
