"""The benchmarks at scale: steps that are kept, bars, equal samples."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks import full_scale, reading_scale
from benchmarks.full_scale import BARS, report, value_of
from benchmarks.reading_scale import DifferentSamples, Rank, check_same, training_table
from benchmarks.scale_steps import STEPS, Outcome, Workplace, stage_seconds

COST = {"wall": 10.0, "cpu": 18.0, "tree": 700.0, "largest": 400.0, "anonymous": 600.0}
ONE = Outcome("one", 0.5, 2, 400, 30, stages={"reading": 6.0}, commit="abc", day="d", **COST)


def outcomes() -> dict[str, Outcome]:
    return {
        "one": ONE,
        "twice": replace(ONE, step="twice", wall=20.9),
        "three": replace(ONE, step="three", wall=33.0, tree=1990.0),
        "tenfold": replace(ONE, step="tenfold", wall=105.1, tree=1400.0),
    }


def test_bars_are_ratios_to_paco_alone() -> None:
    values = {bar.what: value_of(bar, outcomes()) for bar in BARS}
    assert list(values.values()) == [3.3, 1990.0, pytest.approx(2.09), 10.51, 2.0]
    text = report(outcomes(), 1)
    assert "| three sources, time of PACO alone | 3.30 x | 3.2 | **exceeded** |" in text
    assert "| three sources, memory in MB | 1,990 | 2,000 | kept |" in text
    assert "| ten times the images, time | 10.51 x | 10.5 | **exceeded** |" in text
    assert "| ten times the images, memory | 2.00 x | 2 | kept |" in text


def test_a_step_that_has_not_run_is_named() -> None:
    text = report({"three": outcomes()["three"]}, 0.5)
    assert "0.5 of full size" in text
    assert "| three sources, time of PACO alone | not run | 3.2 | |" in text


def test_outcomes_are_kept_for_their_scale_and_workers(tmp_path: Path) -> None:
    work = Workplace(tmp_path, 0.5, 2)
    (tmp_path / "one-0.5.json").write_text(json.dumps(asdict(ONE)))
    assert work.load("one") == ONE
    assert work.load("twice") is None
    assert Workplace(tmp_path, 1, 2).load("one") is None
    assert Workplace(tmp_path, 0.5, 1).load("one") is None


def test_steps_have_the_numbers_of_the_bars() -> None:
    assert {name: (step.samples, step.images) for name, step in STEPS.items()} == {
        "one": (800_000, 1),
        "twice": (1_600_000, 1),
        "three": (2_400_000, 1),
        "tenfold": (800_000, 10),
    }
    assert Workplace(Path(), 0.01, 2).samples(STEPS["three"]) == 24_000


def test_stages_come_from_the_log(tmp_path: Path) -> None:
    times = [("begin", "10:00:00"), ("reading", "10:00:05"), ("reading", "10:00:09")]
    times += [("paired", "10:00:12"), ("writing", "10:00:12"), ("writing", "10:01:00")]
    log = tmp_path / "log.jsonl"
    log.write_text(
        "\n".join(
            json.dumps({"event": event, "time": f"2026-11-28T{time}+0000"}) for event, time in times
        )
    )
    assert stage_seconds(log) == {"reading": 9.0, "paired": 3.0, "writing": 48.0}


def test_a_small_run_builds_measures_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--work", str(tmp_path / "work"), "--scale", "0.002", "--workers", "1"]
    document = tmp_path / "scale.md"
    assert full_scale.main([*words, "--only", "one", "three", "--write", str(document)]) == 0
    text = document.read_text()
    assert text.count("kept") + text.count("exceeded") == 2
    assert text.count("not run") == 3
    work = Workplace(tmp_path / "work", 0.002, 1)
    found = work.load("three")
    assert found is not None
    assert found.images == 92 + 5 + 19 + 41 + 2 + 5 + 17 + 2
    assert found.tree > found.anonymous > 30
    assert {"reading", "writing"} >= found.stages.keys() - {"begin", "paired", "warning", "end"}
    # The build that reading is measured on stays, and no step runs twice.
    assert work.out("three").is_dir()
    assert not work.out("one").exists()
    before = found
    assert full_scale.main([*words, "--only", "three"]) == 0
    assert work.load("three") == before
    capsys.readouterr()


RANK = Rank(9, 40.0, 20.0, 3000.0, "i", "c", "o", 6000.0, 5900.0, 5800.0)


def test_memory_is_compared_with_the_earlier_commit() -> None:
    mine = replace(RANK, pss=1000.0, uss=80.0, anonymous=70.0, start=2.0)
    lines = training_table({"commit x": [RANK, RANK], "this code": [mine, replace(mine, start=4)]})
    assert lines[-2].startswith("| commit x | 40.0 | 20.0 | 6,000 | 5,900 | 5,800 | 1.0 x |")
    assert lines[-1].startswith("| this code | 4.0 | 20.0 | 1,000 | 80 | 70 | 6.0 x |")


def test_other_samples_are_noticed() -> None:
    check_same({"a": [RANK, RANK], "b": [replace(RANK, order="p")] * 2})
    with pytest.raises(DifferentSamples, match="content differ"):
        check_same({"a": [RANK], "b": [replace(RANK, content="d")]})


def test_memory_of_a_process_is_read() -> None:
    found = reading_scale.memory_of(os.getpid())
    assert found["Pss"] > 10
    assert found["Private_Dirty"] + found["Private_Clean"] <= found["Pss"] + 1
