"""The log of a run, cut lines and repeated steps included."""

from __future__ import annotations

from pathlib import Path

from calico.runtime.run_log import RunLog
from calico.training.curves import read_log


class TestLog:
    def test_a_line_that_a_kill_cut_is_dropped(self, tmp_path: Path) -> None:
        path = tmp_path / "log.jsonl"
        path.write_text('{"stage": "train", "step": 1}\n{"stage": "tr')
        RunLog(path, 1).add("train", 2, {"total": 0.5})
        assert [line["step"] for line in read_log(path)] == [1, 2]

    def test_a_step_that_was_taken_again_counts_once(self, tmp_path: Path) -> None:
        path = tmp_path / "log.jsonl"
        log = RunLog(path, 1)
        for step, total in ((1, 3.0), (2, 2.0), (2, 1.0)):
            log.add("train", step, {"total": total})
        assert [line["total"] for line in read_log(path)] == [3.0, 1.0]
