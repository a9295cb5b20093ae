"""Metrics of groups of samples, with bootstrap intervals.

A group over several tasks (everything, or one source) is the mean of its tasks' groups, as the
paper reports it, so a task with more samples does not weigh more. Its interval comes from means of
the tasks' draws: draw r of the mean uses draw r of every task.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calico.evaluation.average_precision import average_precision
from calico.evaluation.scoring import ScoreTable, Sum
from mixedparts.records import Task

RATIOS: Mapping[str, tuple[Sum, Sum]] = {
    "miou": (Sum.IOU_GREEDY, Sum.UNITS),
    "miou_strict": (Sum.IOU_STRICT, Sum.UNITS),
    "recall_glamm": (Sum.HITS_GLAMM, Sum.TARGETS),
    "recall_fixed": (Sum.HITS_FIXED, Sum.TARGETS),
    "ss_a": (Sum.SS_A, Sum.TARGETS),
    "ss_b": (Sum.SS_B, Sum.COMPARED_B),
    "ss_c": (Sum.SS_C, Sum.COMPARED_C),
    "s_iou_a": (Sum.WORDS_A, Sum.TARGETS),
    "s_iou_b": (Sum.WORDS_B, Sum.COMPARED_B),
    "s_iou_c": (Sum.WORDS_C, Sum.COMPARED_C),
    "label_precision": (Sum.LABELS_HIT, Sum.LABELS_PREDICTED),
    "label_recall": (Sum.LABELS_HIT, Sum.LABELS_ANNOTATED),
    "label_f1": (Sum.LABELS_HIT_TWICE, Sum.LABELS_EITHER),
}
METRICS = ("ap50", "ap50_scored", *RATIOS)
# The variants of the main table: GLaMM's forms, which published numbers most likely follow.
HEADLINE = {
    "AP50": "ap50",
    "mIoU": "miou",
    "Recall": "recall_glamm",
    "SS": "ss_b",
    "S-IoU": "s_iou_b",
}
_LEVELS = (2.5, 97.5)  # percentiles of the interval
_BLOCK = 1 << 20

_Draws = dict[str, NDArray[np.float64]]
"""Metric to (1 + R,) values: the estimate first, then one value a bootstrap draw."""
_Draw = Callable[[NDArray[np.int64], str, int], _Draws]
"""Draws some samples (their indices, name of the stream, number of draws)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric in [0, 1] (SS: [-1, 1]) with its 95 % percentile interval, if there are draws."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class MetricGroup:
    """The metrics of one row of the report."""

    samples: int
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Summary:
    """All groups of the report: tasks in the paper's order, the rest by name, empty ones absent.

    Attributes:
        overall: mean over the tasks.
        tasks: by task.
        sources: by source.
        cells: by task, then source.
        class_pairs: by pair of object classes; without intervals, because most have few samples.
    """

    overall: MetricGroup
    tasks: Mapping[str, MetricGroup]
    sources: Mapping[str, MetricGroup]
    cells: Mapping[str, Mapping[str, MetricGroup]]
    class_pairs: Mapping[str, MetricGroup]

    def groups(self, cells: bool = False) -> dict[str, MetricGroup]:
        """Return the groups of a table by their titles: all tasks, tasks, sources.

        Args:
            cells: with each task of each source.
        """
        groups = {"all tasks": self.overall, **self.tasks}
        groups |= {f"source {name}": group for name, group in self.sources.items()}
        if cells:
            for task, sources in self.cells.items():
                groups |= {f"{task}, {source}": group for source, group in sources.items()}
        return groups


def summarise(table: ScoreTable, seed: int = 0, replicates: int = 1000) -> Summary:
    """Compute all metrics of all groups.

    Args:
        table: sums and detections of all samples.
        seed: of the bootstrap.
        replicates: number of bootstrap draws; 0 for no intervals.

    Returns:
        All groups.
    """

    def draw(members: NDArray[np.int64], name: str, replicates: int) -> _Draws:
        return _draw(table, members, name, replicates)

    return _grouped(table, draw, seed, replicates)


def differences(
    base: ScoreTable, other: ScoreTable, seed: int = 0, replicates: int = 1000
) -> Summary:
    """Compute by how much each metric of each group differs between two sets of predictions.

    The bootstrap is paired: a draw takes the same samples from both, so what makes a sample hard
    for both does not widen the interval.

    Args:
        base: sums and detections of the one.
        other: of the other, on the same samples.
        seed: of the bootstrap.
        replicates: number of bootstrap draws; 0 for no intervals.

    Returns:
        `other` minus `base`, for all groups.

    Raises:
        ValueError: the samples are not the same.
    """
    for field in ("ids", "tasks", "sources", "class_pairs"):
        if getattr(base, field) != getattr(other, field):
            raise ValueError(f"the {field} of the samples differ")

    def draw(members: NDArray[np.int64], name: str, replicates: int) -> _Draws:
        # The stream of a group is keyed by its name, so both get the same draws.
        first = _draw(base, members, name, replicates)
        second = _draw(other, members, name, replicates)
        return {metric: second[metric] - first[metric] for metric in METRICS}

    return _grouped(base, draw, seed, replicates)


def _grouped(table: ScoreTable, draw: _Draw, seed: int, replicates: int) -> Summary:
    """Build all groups from a function that draws the metrics of some samples."""
    tasks = np.array(table.tasks)
    sources = np.array(table.sources)
    task_names = sorted(set(table.tasks), key=_rank)
    source_names = sorted(set(table.sources))

    def draws(members: NDArray[np.bool_], name: str) -> _Draws:
        return draw(np.flatnonzero(members), f"{seed}/{name}", replicates)

    by_task = {task: draws(tasks == task, task) for task in task_names}
    by_cell = {
        (task, source): draws((tasks == task) & (sources == source), f"{task}/{source}")
        for task in task_names
        for source in source_names
        if ((tasks == task) & (sources == source)).any()
    }

    return Summary(
        overall=_group(list(by_task.values()), np.ones(len(tasks), bool)),
        tasks={task: _group([part], tasks == task) for task, part in by_task.items()},
        sources={
            source: _group([v for (_, s), v in by_cell.items() if s == source], sources == source)
            for source in source_names
        },
        cells={
            task: {
                source: _group([by_cell[task, source]], (tasks == task) & (sources == source))
                for source in source_names
                if (task, source) in by_cell
            }
            for task in task_names
        },
        class_pairs={
            name: _class_pair(table, draw, name, name, 0) for name in sorted(set(table.class_pairs))
        },
    )


def class_pair_intervals(
    table: ScoreTable, names: Iterable[str], seed: int = 0, replicates: int = 1000
) -> dict[str, MetricGroup]:
    """Compute the metrics of some class pairs with intervals, which `summarise` leaves out.

    Args:
        table: sums and detections of all samples.
        names: of the class pairs.
        seed: of the bootstrap.
        replicates: number of bootstrap draws; 0 for no intervals.

    Returns:
        Class pair to its metrics.
    """

    def draw(members: NDArray[np.int64], name: str, replicates: int) -> _Draws:
        return _draw(table, members, name, replicates)

    return {
        name: _class_pair(table, draw, name, f"{seed}/classes {name}", replicates) for name in names
    }


def _class_pair(
    table: ScoreTable, draw: _Draw, name: str, stream: str, replicates: int
) -> MetricGroup:
    """Return the mean over the tasks of one class pair."""
    members = np.array(table.class_pairs) == name
    tasks = np.array(table.tasks)
    there = {task: members & (tasks == task) for task in sorted(set(table.tasks), key=_rank)}
    parts = [
        draw(np.flatnonzero(rows), f"{stream}/{task}", replicates)
        for task, rows in there.items()
        if rows.any()
    ]
    return _group(parts, members)


def _group(parts: list[_Draws], members: NDArray[np.bool_]) -> MetricGroup:
    """Return the mean over the draws of some tasks."""
    means = {m: np.mean([part[m] for part in parts], axis=0) for m in METRICS}
    metrics = {metric: _estimate(values) for metric, values in means.items()}
    return MetricGroup(int(members.sum()), metrics)


def _rank(name: str) -> tuple[int, str]:
    """Return the sort key of a task: the paper's order, then unknown tasks by name."""
    order = [str(task) for task in Task]
    return (order.index(name) if name in order else len(order), name)


def _estimate(values: NDArray[np.float64]) -> Estimate:
    if len(values) == 1:
        return Estimate(float(values[0]))
    low, high = np.percentile(values[1:], _LEVELS)
    return Estimate(float(values[0]), float(low), float(high))


def _draw(table: ScoreTable, members: NDArray[np.int64], name: str, replicates: int) -> _Draws:
    """Compute all metrics of some samples: the estimate and one value a bootstrap draw."""
    sums = table.sums[members]
    targets = sums[:, Sum.TARGETS].astype(np.int64)
    samples = len(table.tasks)
    orders = {
        "ap50": table.detections.of(members, samples),
        "ap50_scored": table.scored.of(members, samples),
    }
    blocks: list[_Draws] = []
    # In blocks of draws, which bounds the memory. The sums of a draw are one matrix product; AP50
    # is not a ratio of sums and is computed again from weighted detections.
    for weights in _weights(len(members), name, replicates):
        totals = weights @ sums
        block = {
            metric: average_precision(detections, targets, weights)
            for metric, detections in orders.items()
        }
        for metric, (above, below) in RATIOS.items():
            # 0 of 0, such as the precision without any predicted label, counts as 0.
            block[metric] = totals[:, above] / np.where(totals[:, below], totals[:, below], 1.0)
        blocks.append(block)
    return {metric: np.concatenate([block[metric] for block in blocks]) for metric in METRICS}


def _weights(samples: int, name: str, replicates: int) -> Iterator[NDArray[np.int64]]:
    """Yield blocks of (r, samples) weights: ones first, then the counts of each draw."""
    # A Philox stream a group, keyed by its name: an interval does not depend on other groups.
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    generator = np.random.Generator(np.random.Philox(key=key))
    yield np.ones((1, samples), np.int64)
    rows = max(1, _BLOCK // samples)
    for start in range(0, replicates, rows):
        taken = min(rows, replicates - start)
        draws = generator.integers(samples, size=(taken, samples))
        # Offset by row, so that one bincount counts all draws of the block.
        draws += np.arange(taken)[:, None] * samples
        counts = np.bincount(draws.ravel(), minlength=taken * samples)
        yield counts.reshape(taken, samples)
