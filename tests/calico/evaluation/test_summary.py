"""Groups and intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calico.evaluation.ground_truth import SampleGroundTruth
from calico.evaluation.scoring import ScoreTable, score
from calico.evaluation.summary import METRICS, Summary, summarise
from calico.predictions.types import Prediction, Segment
from mixedparts.records import Task
from tests.factories.evaluation import LetterModel, box, predicted, truth

MODEL = LetterModel()


def samples_of(numbers: dict[tuple[str, str], int]) -> list[SampleGroundTruth]:
    """Return so many samples of each (task, source)."""
    segments = [Segment("dog", 0, box(0, 0, 8, 8)), Segment("dog", 1, box(0, 0, 8, 8))]
    return [
        truth(f"{task}-{source}-{k}", segments, task, source)
        for (task, source), number in numbers.items()
        for k in range(number)
    ]


def half_right(samples: list[SampleGroundTruth], seed: int = 0) -> dict[str, Prediction]:
    """Answer each image rightly with p = .5, else not at all."""
    rng = np.random.Generator(np.random.Philox(seed))
    return {s.id: predicted(s.id, [g for g in s.segments if rng.random() < 0.5]) for s in samples}


def table_of(numbers: dict[tuple[str, str], int], seed: int = 0) -> ScoreTable:
    samples = samples_of(numbers)
    return score(samples, half_right(samples, seed), MODEL, MODEL)


NUMBERS = {
    ("common_object", "paco"): 5,
    ("common_object", "ade20k"): 3,
    ("unique_parts", "paco"): 11,
    ("common_parts", "paco"): 2,
}


def test_overall_is_the_mean_over_tasks_and_a_source_the_mean_over_its_tasks() -> None:
    summary = summarise(table_of(NUMBERS), replicates=0)
    assert list(summary.tasks) == [task.value for task in Task]
    assert list(summary.sources) == ["ade20k", "paco"]
    assert {t: list(cells) for t, cells in summary.cells.items()} == {
        "common_object": ["ade20k", "paco"],
        "common_parts": ["paco"],
        "unique_parts": ["paco"],
    }
    for metric in METRICS:
        tasks = [group.metrics[metric].value for group in summary.tasks.values()]
        assert summary.overall.metrics[metric].value == pytest.approx(np.mean(tasks))
        paco = [cells["paco"].metrics[metric].value for cells in summary.cells.values()]
        assert summary.sources["paco"].metrics[metric].value == pytest.approx(np.mean(paco))
    assert summary.overall.samples == 21
    assert summary.sources["paco"].samples == 18
    assert summary.tasks["common_object"].samples == 8
    assert summary.cells["common_object"]["ade20k"].samples == 3


def test_a_class_pair_is_the_mean_over_its_tasks_whichever_image_is_first() -> None:
    segments = [Segment("dog", 0, box(0, 0, 8, 8)), Segment("dog", 1, box(0, 0, 8, 8))]

    def sample(name: str, task: str, *classes: str) -> SampleGroundTruth:
        return truth(name, segments, task, classes=(classes[0], classes[1]))

    samples = [
        sample("1", "common_parts", "bus", "truck"),
        sample("2", "common_parts", "truck", "bus"),
        sample("3", "unique_parts", "bus", "truck"),
        sample("4", "unique_parts", "bus", "bus"),
    ]
    right = {s.id: predicted(s.id, s.segments) for s in samples if s.id in ("1", "4")}
    found = summarise(score(samples, right, MODEL, MODEL), replicates=9).class_pairs
    assert {name: group.samples for name, group in found.items()} == {
        "bus / bus": 1,
        "bus / truck": 3,
    }
    assert found["bus / bus"].metrics["miou"].value == 1.0
    mixed = found["bus / truck"].metrics["miou"]
    assert (mixed.value, mixed.low) == (0.25, None)  # (1/2 + 0) / 2, without an interval


def test_without_draws_there_is_no_interval() -> None:
    estimate = summarise(table_of(NUMBERS), replicates=0).overall.metrics["ap50"]
    assert (estimate.low, estimate.high) == (None, None)


def intervals(summary: Summary) -> list[tuple[float | None, float | None]]:
    return [(e.low, e.high) for e in summary.overall.metrics.values()]


def test_intervals_follow_from_the_seed_alone() -> None:
    table = table_of(NUMBERS)
    one, same = summarise(table, seed=3, replicates=50), summarise(table, seed=3, replicates=50)
    assert one == same
    assert intervals(one) != intervals(summarise(table, seed=4, replicates=50))


def test_an_interval_does_not_depend_on_other_groups() -> None:
    alone = {("unique_parts", "paco"): 11}
    samples = samples_of(NUMBERS)
    predictions = half_right(samples)
    whole = summarise(score(samples, predictions, MODEL, MODEL), replicates=50)
    chosen = [s for s in samples if s.task == "unique_parts"]
    part = summarise(score(chosen, predictions, MODEL, MODEL), replicates=50)
    assert alone[("unique_parts", "paco")] == len(chosen)
    assert part.tasks["unique_parts"] == whole.tasks["unique_parts"]


def test_an_interval_is_that_of_a_proportion() -> None:
    table = table_of({("common_object", "paco"): 400})
    summary = summarise(table, replicates=1000)
    for metric in ("miou", "recall_fixed", "label_recall", "ap50"):
        estimate = summary.overall.metrics[metric]
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < estimate.value < estimate.high
        # 800 independent images, each right with p = .5: standard error .0177.
        assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * 0.0177, rel=0.15)


def test_certainty_has_no_width() -> None:
    samples = samples_of(NUMBERS)
    right = {s.id: predicted(s.id, s.segments) for s in samples}
    summary = summarise(score(samples, right, MODEL, MODEL), replicates=20)
    assert {(e.low, e.value, e.high) for e in summary.overall.metrics.values()} == {(1.0, 1.0, 1.0)}


def test_the_order_of_rows_changes_no_value_and_no_interval() -> None:
    samples = samples_of(NUMBERS)
    predictions = half_right(samples)
    turned = dict(reversed(predictions.items()))
    one = summarise(score(samples, predictions, MODEL, MODEL), replicates=30)
    other = summarise(score(samples[::-1], turned, MODEL, MODEL), replicates=30)
    assert one == other


def test_an_interval_holds_the_middle_of_what_resampling_gives() -> None:
    samples = samples_of({("common_object", "paco"): 15})
    predictions = half_right(samples)
    found = summarise(score(samples, predictions, MODEL, MODEL), replicates=4000)
    rng = np.random.default_rng(1)
    drawn: dict[str, list[float]] = {"miou": [], "label_f1": [], "ap50": []}
    for _ in range(200):
        chosen = [samples[i] for i in rng.integers(15, size=15)]
        # A sample drawn twice is two samples that follow one another.
        again = [replace(s, id=f"{s.id}/{n}") for n, s in enumerate(chosen)]
        answers = {
            a.id: replace(predictions[s.id], id=a.id) for a, s in zip(again, chosen, strict=True)
        }
        group = summarise(score(again, answers, MODEL, MODEL), replicates=0).overall
        for metric, values in drawn.items():
            values.append(group.metrics[metric].value)
    for metric, values in drawn.items():
        estimate = found.overall.metrics[metric]
        # 200 draws of 15 samples tell either end of the interval to about .02.
        assert (estimate.low, estimate.high) == pytest.approx(
            np.percentile(values, (2.5, 97.5)), abs=0.06
        )
