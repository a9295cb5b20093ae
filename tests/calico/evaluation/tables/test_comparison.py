"""Paired differences: against scipy, against plain loops, and that their intervals cover."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import bootstrap

from calico.evaluation.average_precision import Detections
from calico.evaluation.report import write_json
from calico.evaluation.scoring import ScoreTable, Sum, score
from calico.evaluation.summary import METRICS, RATIOS, differences, summarise
from calico.evaluation.tables.collect import ScoreRecorder
from calico.evaluation.tables.comparison import Run, as_text, compare_runs, document, read_runs
from calico.evaluation.tables.folder import default_folder, write_scores
from mixedparts.errors import InputError, UsageError
from tests.factories.evaluation import LetterModel
from tests.factories.scored_runs import random_answers, random_samples

MODEL = LetterModel()
DATASET = {"build_id": "b" * 64, "split": "test", "samples": 48, "left_out": 0}
TEXTS = {"ss": "letters", "recall": "letters"}


def write_run(path: Path, quality: float, number: int = 48, **changes: object) -> Path:
    """Write JSON and tables of a made-up evaluation."""
    samples = random_samples(number, seed=7)
    answers = random_answers(samples, seed=int(100 * quality), quality=quality)
    recorder = ScoreRecorder("test")
    table = score(samples, answers, MODEL, MODEL, recorder.record)
    metadata = {"dataset": DATASET, "text_models": TEXTS, "predictions": {"name": path.stem}}
    rows = recorder.finish(table, samples, answers)
    digests = write_scores(default_folder(path), rows, {**metadata, **changes})
    kept = {"folder": default_folder(path).name, **digests}
    write_json(path, {"format": "calico-eval/1", "scores": kept})
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    return read_runs([write_run(folder / f"{name}.json", q) for name, q in
                      (("poor", 0.3), ("good", 0.7), ("middle", 0.5))])  # fmt: skip


def test_differences_are_those_of_the_values(runs: list[Run]) -> None:
    base, other = summarise(runs[0].table, 0, 50), summarise(runs[1].table, 0, 50)
    change = differences(runs[0].table, runs[1].table, 0, 50)
    for metric in METRICS:
        for task, group in change.tasks.items():
            own = other.tasks[task].metrics[metric].value - base.tasks[task].metrics[metric].value
            assert group.metrics[metric].value == pytest.approx(own)
        for name in change.class_pairs:
            assert change.class_pairs[name].metrics[metric].low is None
        own = other.overall.metrics[metric].value - base.overall.metrics[metric].value
        assert change.overall.metrics[metric].value == pytest.approx(own)


def test_intervals_are_those_of_paired_draws_one_by_one(runs: list[Run]) -> None:
    """The same stream of numbers, but each draw scored on its own from repeated samples."""
    first, second = runs[0].table, runs[1].table
    task, replicates, seed = "common_parts", 60, 11
    members = np.flatnonzero(np.array(first.tasks) == task)
    key = hashlib.sha256(f"{seed}/{task}".encode()).digest()[:16]
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    drawn = generator.integers(len(members), size=(replicates, len(members)))
    change = differences(first, second, seed, replicates).tasks[task]
    for metric, (above, below) in RATIOS.items():
        values = [
            np.subtract(*(t.sums[members[d], above].sum() / t.sums[members[d], below].sum()
                          for t in (second, first)))
            for d in drawn
        ]  # fmt: skip
        low, high = np.percentile(values, (2.5, 97.5))
        assert change.metrics[metric].low == pytest.approx(low, abs=1e-12)
        assert change.metrics[metric].high == pytest.approx(high, abs=1e-12)


def test_intervals_agree_with_scipys_paired_bootstrap(runs: list[Run]) -> None:
    first, second = runs[0].table, runs[1].table
    chosen = np.array(first.tasks) == "common_object"
    change = differences(first, second, 0, 4000).tasks["common_object"].metrics
    for metric in ("miou_strict", "recall_fixed", "label_f1"):
        columns = [t.sums[chosen][:, c] for t in (second, first) for c in RATIOS[metric]]

        def statistic(a, b, c, d, axis=-1):  # type: ignore[no-untyped-def]
            return a.sum(axis) / b.sum(axis) - c.sum(axis) / d.sum(axis)

        result = bootstrap(columns, statistic, paired=True, vectorized=True, n_resamples=4000,
                           method="percentile", rng=np.random.default_rng(5))  # fmt: skip
        interval = result.confidence_interval
        # Two draws of 4,000 from the same samples: percentiles differ by their sampling error.
        assert change[metric].low == pytest.approx(interval.low, abs=0.012)
        assert change[metric].high == pytest.approx(interval.high, abs=0.012)


def test_pairing_leaves_out_what_both_find_hard(runs: list[Run]) -> None:
    base, other = (summarise(run.table, 0, 500).overall.metrics["miou_strict"] for run in runs[:2])
    change = differences(runs[0].table, runs[1].table, 0, 500).overall.metrics["miou_strict"]
    assert change.low is not None
    assert change.high is not None
    apart = np.hypot(base.high - base.low, other.high - other.low)  # type: ignore[operator]
    assert change.high - change.low < apart
    same = differences(runs[0].table, runs[0].table, 0, 100).overall.metrics
    assert {(e.value, e.low, e.high) for e in same.values()} == {(0, 0, 0)}


def simulated(values: np.ndarray) -> ScoreTable:
    """Return a table whose strict mIoU is the mean of some values."""
    number = len(values)
    sums = np.zeros((number, len(Sum)))
    sums[:, Sum.UNITS], sums[:, Sum.TARGETS], sums[:, Sum.IOU_STRICT] = 1, 1, values
    nothing = Detections(np.zeros(0, np.int64), np.zeros(0, bool))
    columns = [("task",) * number, ("source",) * number, ("pair",) * number]
    ids = tuple(f"{place:04d}" for place in range(number))
    return ScoreTable(ids, *columns, sums, nothing, nothing, 0, 0, 0)


def test_intervals_cover_the_true_difference_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered, trials, truth = 0, 150, 0.05
    for trial in range(trials):
        hardness = rng.beta(2, 2, 80)
        first = np.clip(hardness + rng.normal(0, 0.1, 80), -1, 2)
        second = first + truth + rng.normal(0, 0.15, 80)
        change = differences(simulated(first), simulated(second), trial, 200)
        metric = change.overall.metrics["miou_strict"]
        assert metric.low is not None
        assert metric.high is not None
        covered += metric.low <= truth <= metric.high
    assert 0.88 <= covered / trials <= 0.99  # 95 %, less what 80 samples and 200 draws cost


def test_samples_that_changed_most_come_first_and_last(runs: list[Run]) -> None:
    comparison = compare_runs(runs, replicates=0, metric="label_f1")
    changed = comparison.others[0].changed
    before = runs[0].frames.samples.set_index("id")["label_f1"]
    after = runs[1].frames.samples.set_index("id")["label_f1"]
    change = after - before
    assert changed["change"].iloc[0] == change.max()
    assert changed["change"].iloc[-1] == change.min()
    assert changed.set_index("id")["change"].to_dict() == pytest.approx(change.to_dict())
    content = document(comparison)
    assert [entry["name"] for entry in content["compared"]] == ["good", "middle"]
    listed = content["compared"][0]["changed"]["samples"]
    assert {row["id"] for row in listed} == set(change[change != 0].index)
    assert changed["id"].iloc[0] in as_text(comparison)


def test_the_text_marks_what_is_clear(runs: list[Run]) -> None:
    comparison = compare_runs(runs[:2], replicates=300)
    text = as_text(comparison)
    value = comparison.others[0].difference.overall.metrics["miou"]
    assert value.low is not None
    assert value.low > 0
    own = comparison.others[0].summary.overall.metrics["miou"].value
    assert f"{100 * own:.1f} {100 * value.value:+.1f} ({100 * value.low:+.1f} to" in text
    assert ")*" in text
    assert "all tasks" in text
    assert "source paco" in text
    assert "common_parts, paco" not in text
    assert "common_parts, paco" in as_text(comparison, full=True)


def test_runs_of_one_name_have_the_names_of_their_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_run(tmp_path / f"{name}.json", 0.5, 6, predictions={"name": "checkpoint-000100"})
    paths = [tmp_path / "one.json", tmp_path / "two.json"]
    assert [run.name for run in read_runs(paths)] == ["one", "two"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dataset": {**DATASET, "build_id": "c" * 64}}, "of build bbbb"),
        ({"dataset": {**DATASET, "split": "validation"}}, "of split test, the other of split val"),
        ({"text_models": {**TEXTS, "recall": "bert"}}, "text models"),
    ],
)
def test_runs_of_other_data_are_refused(
    tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    paths = [
        write_run(tmp_path / "a.json", 0.5, 6),
        write_run(tmp_path / "b.json", 0.5, 6, **changes),
    ]
    with pytest.raises(UsageError, match=says) as caught:
        read_runs(paths)
    assert "calico-eval" in str(caught.value.hint)


def test_runs_of_other_samples_are_refused(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / "a.json", 0.5, 6), write_run(tmp_path / "b.json", 0.5, 8)]
    with pytest.raises(UsageError, match=r"2 samples are in one of them only, such as .*00[67]"):
        read_runs(paths)
    with pytest.raises(UsageError, match="two or more"):
        read_runs(paths[:1])
    (tmp_path / "b.scores" / "samples.parquet").unlink()
    with pytest.raises(InputError, match=r"b.scores/samples.parquet cannot be read") as caught:
        read_runs(paths)
    assert "--json FILE" in str(caught.value.hint)


def test_tables_of_other_samples_have_no_difference(runs: list[Run]) -> None:
    other = replace(runs[0].table, ids=runs[0].table.ids[::-1])
    with pytest.raises(ValueError, match="ids"):
        differences(runs[0].table, other)
