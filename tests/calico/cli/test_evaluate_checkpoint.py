"""`calico-eval --checkpoint` in this process, with a predictor that knows the answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pyarrow.parquet import read_metadata

from calico.cli.evaluate import main
from calico.evaluation.ground_truth import read_ground_truth
from calico.predictions.types import Prediction
from mixedparts.storage.build_folder import BuildFolder
from tests.factories.evaluation import LetterModel, answered, small_rows, write_build


@dataclass
class Outcomes:
    answers: int = 0

    def count(self, prediction: Prediction) -> None:
        self.answers += 1


ROWS = [r for start in range(4) for r in small_rows(start=start)]


@pytest.fixture
def build(tmp_path: Path) -> Path:
    return write_build(tmp_path / "build", {"test": ROWS})


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "step-7" / "processor").mkdir(parents=True)
    (tmp_path / "step-7" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "step-7" / "processor" / "config.json").write_text("{}")
    return tmp_path / "step-7"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, build: Path) -> list[tuple[Any, int]]:
    """Stand in for model, pictures and text model; return what the predictor is asked."""
    seen: list[tuple[Any, int]] = []
    answers = {
        sample.id: answered(sample)
        for sample in read_ground_truth(BuildFolder.open(build), "test").samples
    }

    class Predictor:
        def __init__(self) -> None:
            self.outcomes = Outcomes()

        @classmethod
        def from_pretrained(cls, folder: Path, device: str) -> Predictor:
            assert device in ("auto", "cpu")
            assert (Path(folder) / "model.safetensors").is_file()
            return cls()

        def prepared(self, make: Any, positions: Iterable[int]) -> Iterator[Any]:
            (table,) = make.args  # its rows stand in for queries
            return (table[position] for position in positions)

        def predict(self, rows: Iterable[Any], *, batch_size: int) -> Iterator[Prediction]:
            for row in rows:
                self.outcomes.answers += 1
                seen.append((row["id"], batch_size))
                if row["task"] == "stop":
                    raise KeyboardInterrupt
                yield replace(answers[row["id"]], synthetic=True)

    module = ModuleType("calico.inference.predictor")
    module.Predictor = Predictor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "calico.inference.predictor", module)
    monkeypatch.setattr("mixedparts.loading.load_dataset", lambda *_, **__: ROWS)
    monkeypatch.setattr("calico.evaluation.text.load_text_model", lambda _: LetterModel())
    return seen


def run(build: Path, checkpoint: Path, *further: object) -> int:
    fixed = ["--dataset", build, "--checkpoint", checkpoint, "--split", "test", "--bootstrap", 0]
    return main([str(argument) for argument in [*fixed, *further]])


def test_the_chosen_rows_are_predicted_and_scored(
    build: Path, checkpoint: Path, asked: list[tuple[Any, int]], tmp_path: Path, capfd: Any
) -> None:
    out, kept = tmp_path / "r.json", tmp_path / "kept.jsonl"
    code = run(
        build, checkpoint, "--limit", 5, "--batch-size", 3, "--json", out,
        "--save-predictions", kept,
    )  # fmt: skip
    assert code == 0
    assert asked == [
        (sample.id, 3) for sample in read_ground_truth(BuildFolder.open(build), "test", 5).samples
    ]
    printed = capfd.readouterr()
    assert "no row for most-frequent" in printed.err  # there is no train split
    assert len(kept.read_text().splitlines()) == 5
    (result,) = json.loads(out.read_text())["results"]
    assert (result["name"], result["kind"], result["missing"]) == ("step-7", "checkpoint", 0)
    assert result["outcomes"] == {"answers": 5}
    assert result["metrics"]["overall"]["ap50"] == {"value": 1.0}
    # What the model was trained on stands wherever its answers and scores are written.
    assert result["trained_on_synthetic_images"] is True
    assert all('"trained_on_synthetic_images":true' in line for line in kept.read_text().split())
    stored = read_metadata(tmp_path / "r.scores" / "samples.parquet").metadata[b"calico_scores"]
    assert json.loads(stored)["predictions"]["trained_on_synthetic_images"] is True

    (checkpoint / "processor" / "config.json").write_text("{ }")
    assert run(build, checkpoint, "--json", out) == 0
    (other,) = json.loads(out.read_text())["results"]
    assert len(result["digest"]) == 64
    assert other["digest"] != result["digest"]


def test_an_interruption_ends_with_130(
    build: Path,
    checkpoint: Path,
    asked: list[tuple[Any, int]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    stopping = [*ROWS[:2], {**ROWS[2], "task": "stop"}, *ROWS[3:]]
    monkeypatch.setattr("mixedparts.loading.load_dataset", lambda *_, **__: stopping)
    out = tmp_path / "r.json"
    assert run(build, checkpoint, "--json", out) == 130
    assert len(asked) == 3
    assert not out.exists()


def stopped_at(number: int) -> list[dict[str, Any]]:
    """Return the rows with one that ends the run when it is predicted."""
    return [{**row, "task": "stop"} if n == number else row for n, row in enumerate(ROWS)]


@pytest.fixture
def interrupted(
    build: Path,
    checkpoint: Path,
    asked: list[tuple[Any, int]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Path:
    """Stop an evaluation at its eighth sample; return its predictions file, which is not there."""
    kept = tmp_path / "kept.jsonl"
    monkeypatch.setattr("mixedparts.loading.load_dataset", lambda *_, **__: stopped_at(7))
    assert run(build, checkpoint, "--batch-size", 3, "--save-predictions", kept) == 130
    assert not kept.exists()
    monkeypatch.setattr("mixedparts.loading.load_dataset", lambda *_, **__: ROWS)
    asked.clear()
    return kept


def test_it_goes_on_where_it_stopped(
    build: Path,
    checkpoint: Path,
    asked: list[tuple[Any, int]],
    interrupted: Path,
    tmp_path: Path,
    capfd: Any,
) -> None:
    part = interrupted.with_name(f".{interrupted.name}.part")
    assert len(part.read_bytes().splitlines()) == 1 + 7
    out = tmp_path / "r.json"
    again = ["--batch-size", 3, "--save-predictions", interrupted, "--json", out]
    assert run(build, checkpoint, *again) == 0
    assert "continuing after 6 of 12 samples" in capfd.readouterr().err
    assert [name for name, _ in asked] == [row["id"] for row in ROWS[6:]]  # whole batches of 3
    (result,) = json.loads(out.read_text())["results"]
    assert (result["outcomes"], result["missing"]) == ({"answers": 12}, 0)
    assert not part.exists()
    whole = interrupted.read_bytes()
    assert run(build, checkpoint, *again) == 0
    assert len(asked) == 6 + 12
    assert interrupted.read_bytes() == whole


def test_a_line_cut_short_is_answered_again(
    build: Path, checkpoint: Path, asked: list[tuple[Any, int]], interrupted: Path
) -> None:
    part = interrupted.with_name(f".{interrupted.name}.part")
    lines = part.read_bytes().splitlines(keepends=True)
    part.write_bytes(b"".join(lines[:5]) + lines[5][:40])
    again = ["--batch-size", 3, "--save-predictions", interrupted]
    assert run(build, checkpoint, *again) == 0
    assert [name for name, _ in asked] == [row["id"] for row in ROWS[3:]]
    assert len(interrupted.read_bytes().splitlines()) == 12


@pytest.mark.parametrize(
    ("further", "differ"),
    [
        (("--batch-size", 2), "batch_size differ"),
        (("--batch-size", 3, "--limit", 5), "limit differ"),
    ],
)
def test_answers_of_another_evaluation_are_not_mixed(
    build: Path,
    checkpoint: Path,
    asked: list[tuple[Any, int]],
    interrupted: Path,
    further: tuple[object, ...],
    differ: str,
    capfd: Any,
) -> None:
    assert run(build, checkpoint, "--save-predictions", interrupted, *further) == 2
    printed = capfd.readouterr().err
    assert differ in printed
    assert f"rm {interrupted.parent}/.{interrupted.name}.part" in printed
    assert not asked


@pytest.mark.parametrize(("device", "code"), [("cuda:99", 3), ("tpu", 2)])
def test_a_device_that_is_not_there_ends_it_before_anything_is_asked(
    build: Path,
    checkpoint: Path,
    asked: list[tuple[Any, int]],
    device: str,
    code: int,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(build, checkpoint, "--device", device) == code
    assert device in capfd.readouterr().err
    assert not asked
    assert run(build, checkpoint, "--device", "cpu") == 0
