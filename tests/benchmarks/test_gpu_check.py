"""The GPU check: isolation, bounds of time, tables, a whole run on the CPU, and a stand-in GPU."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu_check import large_model, machine
from benchmarks.gpu_check.__main__ import main
from benchmarks.gpu_check.checks import CHECKS
from benchmarks.gpu_check.outcome import (
    FAILED,
    NOT_RUN,
    PASSED,
    SKIPPED,
    Figure,
    Outcome,
    Setting,
)
from benchmarks.gpu_check.report import as_json, as_markdown
from benchmarks.gpu_check.runner import run_checks
from tests.benchmarks import fake_checks as fake
from tests.factories.elsewhere import Elsewhere


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Processes of checks have one thread, as micro models need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


def run(tmp_path: Path, *checks: Any, seconds: float = 300) -> dict[str, Outcome]:
    setting = Setting("cuda:0", True, tmp_path)
    return {one.name: one for one in run_checks(checks, setting, seconds)}


class TestIsolation:
    def test_every_way_to_end_is_recorded_and_the_rest_goes_on(self, tmp_path: Path) -> None:
        ways = (fake.raising, fake.dying, fake.ending, fake.leaving, fake.at_fault, fake.skipping)
        found = run(tmp_path, *map(fake.check, (*ways, fake.fine)))
        assert list(found) == [one.__name__ for one in (*ways, fake.fine)]
        assert found["fine"].status == PASSED
        assert found["fine"].figures == [Figure("speed", 3, "m/s", 2), Figure("device", "cuda:0")]
        assert found["raising"].status == FAILED
        assert found["raising"].messages == ["ValueError: no such kernel"]
        assert found["raising"].figures == [Figure("before", 1)]
        assert "on the way" in found["raising"].log
        assert any("raise ValueError" in line for line in found["raising"].log)
        assert found["dying"].messages == ["its process was ended by SIGSEGV"]
        assert found["dying"].figures == [Figure("before", 1)]
        assert found["ending"].messages == ["its process ended with code 7"]
        assert found["leaving"].status == FAILED, "an exit is not a success"
        assert found["at_fault"].messages == ["one is | not above two"]
        assert [one.name for one in found["at_fault"].figures] == ["before", "after"]
        assert (found["skipping"].status, found["skipping"].messages) == (
            SKIPPED,
            ["bitsandbytes is not installed"],
        )

    def test_what_hangs_is_killed_with_all_that_it_started(self, tmp_path: Path) -> None:
        began = time.monotonic()
        found = run(tmp_path, fake.check(fake.hanging, seconds=3), fake.check(fake.fine))
        assert found["fine"].status == PASSED
        assert found["hanging"].status == FAILED
        assert found["hanging"].messages == ["did not end within 3 s"]
        (child,) = found["hanging"].figures
        assert not _is_running(int(child.value))
        assert time.monotonic() - began < 60

    def test_a_fork_that_cuda_refuses_is_done_again_from_the_start(self, tmp_path: Path) -> None:
        found = run(tmp_path, fake.check(fake.forked_badly), fake.check(fake.fine))
        assert found["forked_badly"].status == PASSED
        assert found["forked_badly"].figures == [Figure("begun", "anew")]
        assert found["fine"].status == PASSED


def _is_running(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class TestTime:
    def test_a_check_that_does_not_fit_is_not_run(self, tmp_path: Path) -> None:
        late = fake.check(fake.fine, least=100)
        found = run(tmp_path, fake.check(fake.skipping), late, seconds=50)
        assert found["fine"].status == NOT_RUN
        assert "it needs 100" in found["fine"].messages[0]

    def test_a_check_ends_with_the_time_of_all(self, tmp_path: Path) -> None:
        began = time.monotonic()
        found = run(tmp_path, fake.check(fake.hanging, seconds=500), seconds=4)
        assert found["hanging"].status == FAILED
        assert time.monotonic() - began < 60

    def test_what_another_check_makes_is_waited_for(self, tmp_path: Path) -> None:
        after = fake.check(fake.fine, needs=("raising",))
        last = fake.check(fake.skipping, needs=("fine",))
        found = run(tmp_path, fake.check(fake.raising), after, last)
        assert found["fine"].messages == ["needs 'raising', which failed"]
        assert found["skipping"].messages == ["needs 'fine', which was not run"]

    def test_all_checks_can_begin_within_eight_minutes(self) -> None:
        assert sum(one.least for one in CHECKS) <= 8 * 60
        names = [one.name for one in CHECKS]
        for number, one in enumerate(CHECKS):
            assert set(one.needs) <= set(names[:number]), "what it needs runs before it"
            assert one.least <= one.seconds


class TestTables:
    def test_no_status_is_shown_as_another(self, tmp_path: Path) -> None:
        outcomes = [
            Outcome(
                "a", "one", PASSED, 2, [Figure("device", "NVIDIA H100"), Figure("n", 27_003_108)]
            ),
            Outcome("b", "two", FAILED, 3, [Figure("memory", 20.5, "GB", 18.0)], ["off | by 3"]),
            Outcome("c", "three", SKIPPED, 0, [], ["not installed"]),
            Outcome("d", "four", NOT_RUN, 0, [], ["2 s of 480 were left"]),
        ]
        facts = {"machine": "16 cores", "system": "Linux", "torch": "2.14.1"}
        found = as_json(outcomes, Setting("cuda:0", False, tmp_path), facts, 77)
        text = as_markdown(found, outcomes)
        assert "## On NVIDIA H100\n" in text
        assert "micro" not in text
        assert "1 passed, 1 failed, 1 skipped, 1 not run in 77 s" in text
        assert "torch 2.14.1" in text
        assert "| one | passed | device: NVIDIA H100; n: 27,003,108 | 2 |" in text
        assert "| two | **failed** | off \\| by 3; memory: 20.5 GB | 3 |" in text
        assert "| three | **skipped** | not installed | 0 |" in text
        assert "| four | **not run** | 2 s of 480 were left | 0 |" in text
        assert "| two | memory | 20.5 GB | 18 GB | 1.14 |" in text
        assert found["failed"] == ["b"]
        assert found["checks"][1]["figures"][0]["ratio"] == pytest.approx(20.5 / 18)

    def test_the_machine_is_named_without_its_gpu(self) -> None:
        facts = machine.machine_facts()
        assert facts["torch"] == torch.__version__.split("+")[0]
        assert {"machine", "system", "python", "transformers", "peft", "bitsandbytes"} <= set(facts)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON and table of a whole run at small size."""
    folder = tmp_path_factory.mktemp("check")
    table = folder / "gpu-check.md"
    # Hours, because a busy machine must not decide what runs.
    words = ["--device", "cpu", "--size", "small", "--minutes", "60"]
    code = main([*words, "--work", str(folder), "--write", str(table)])
    (record,) = folder.glob("*/gpu-check.json")
    return code, json.loads(record.read_text()), table.read_text()


class TestOnTheCpu:
    def test_every_check_passes(self, whole: tuple[int, dict[str, Any], str]) -> None:
        code, found, _ = whole
        faults = {one["name"]: (one["messages"], one["log"]) for one in found["checks"]}
        statuses = {one["name"]: one["status"] for one in found["checks"]}
        assert list(statuses) == [one.name for one in CHECKS]
        skipped = {"nf4"} if found["machine"]["bitsandbytes"] == "not installed" else set()
        for name, status in statuses.items():
            assert status == (SKIPPED if name in skipped else PASSED), (name, faults[name])
        assert code == 0

    def test_figures_are_those_of_the_checks(self, whole: tuple[int, dict[str, Any], str]) -> None:
        figures = {
            (check["name"], one["name"]): one
            for check in whole[1]["checks"]
            for one in check["figures"]
        }
        assert figures["fp32", "losses and norm of step 1 against the CPU"]["value"] == 0
        assert figures["resume", "weights that differ in a bit"]["value"] == 0
        assert figures["answers", "equal answers, greedy"]["value"] == 1
        assert 0 < figures["bf16", "loss of step 1 against fp32"]["value"] < 0.03
        assert figures["fsdp", "weights of the checkpoint"]["value"] > 100
        for name in ("training step, features at hand", "model FLOPs utilisation"):
            one = figures["large", name]
            assert one["value"] > 0
            assert one["expected"] > 0
            assert one["ratio"] == pytest.approx(one["value"] / one["expected"])

    def test_the_table_says_what_it_is_of(self, whole: tuple[int, dict[str, Any], str]) -> None:
        _, found, text = whole
        assert "On the CPU, at small size" in text
        assert "say nothing about a GPU" in text
        assert found["date"][:10] in text
        assert found["machine"]["torch"] in text
        assert text.count("| passed |") == sum(one["status"] == PASSED for one in found["checks"])

    def test_one_failure_is_exit_code_1(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        checks = (fake.check(fake.at_fault), fake.check(fake.skipping))
        monkeypatch.setattr("benchmarks.gpu_check.__main__.CHECKS", checks)
        assert main(["--device", "cpu", "--work", str(tmp_path)]) == 1
        assert "one is | not above two" in capsys.readouterr().out
        assert main(["--device", "cpu", "--work", str(tmp_path / "b"), "--only", "skipping"]) == 0

    def test_a_device_that_is_not_there_is_one_message(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["--device", "cuda:99"]) == 3
        assert "cuda:99" in capsys.readouterr().err


@dataclass
class Kept:
    """A report that keeps what it is given."""

    figures: dict[str, Any] = field(default_factory=dict)
    expected: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def figure(
        self, name: str, value: float | str, unit: str = "", expected: float | None = None
    ) -> None:
        self.figures[name] = value
        if expected is not None:
            self.expected[name] = expected

    def require(self, holds: bool, fault: str) -> None:
        if not holds:
            self.faults.append(fault)


@pytest.fixture
def h100(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's functions for CUDA as they answer on an H100."""
    answers = {
        "is_available": True,
        "is_bf16_supported": True,
        "device_count": 1,
        "synchronize": None,
        "reset_peak_memory_stats": None,
        "max_memory_allocated": 21_000_000_000,
        "memory_allocated": 17_000_000_000,
        "mem_get_info": (84_000_000_000, 85_000_000_000),
        "get_device_name": "NVIDIA H100 80GB HBM3",
        "get_device_properties": _Properties("NVIDIA H100 80GB HBM3", 85_000_000_000, 9, 0),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    monkeypatch.setattr(machine, "matmul_rate", lambda _: 700e12)
    monkeypatch.setattr(large_model, "matmul_rate", lambda _: 700e12)
    # Autocast of CUDA leaves the tensors of the stand-in alone, which are the CPU's.
    small = {**large_model._SMALL, "execution": {"precision": "fp32"}}
    monkeypatch.setattr(large_model, "_SMALL", small)


@dataclass(frozen=True)
class _Properties:
    name: str
    total_memory: int
    major: int
    minor: int


@pytest.mark.usefixtures("h100")
class TestOnAStandInForAGpu:
    def test_the_device_is_named(self, tmp_path: Path) -> None:
        report = Kept()
        with Elsewhere():
            machine.device(Setting("cuda:0", False, tmp_path), report)
        assert report.faults == []
        assert report.figures["device"] == "NVIDIA H100 80GB HBM3"
        assert report.figures["its memory"] == 85
        assert report.figures["compute capability"] == "9.0"
        assert report.figures["matrix product"] == 700

    def test_the_model_is_built_there_and_measured(self, tmp_path: Path) -> None:
        report = Kept()
        with Elsewhere() as elsewhere:
            large_model.large(Setting("cuda:0", True, tmp_path), report)
        assert report.faults == []
        assert elsewhere.moved > 0
        assert report.figures["peak memory of a training step"] == 21
        assert report.figures["memory of the weights"] == 17
        assert report.expected["peak memory of a training step"] > 0
        assert report.expected["peak memory of answering"] > 0
        seconds = report.figures["training step, features at hand"]
        operations = report.expected["training step, features at hand"] * 989.4e12 * 0.4
        used = operations / seconds / 989.4e12
        assert report.figures["model FLOPs utilisation"] == pytest.approx(used)
