"""Sampling weights: the share of an epoch that the samples of each source and task get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calico.config.calico import TrainingConfig
from calico.dataset.pairs import SampleTable
from mixedparts.errors import UsageError, near_names
from mixedparts.records import Task


@dataclass(frozen=True, slots=True)
class SamplingGroup:
    """The samples of one source and task.

    Attributes:
        source: as in the table.
        task: as in the table.
        members: (n,) int64 indices of the samples, ascending; at least one.
        share: of an epoch, in [0, 1]; the shares of all groups add up to 1.
    """

    source: str
    task: str
    members: NDArray[np.int64]
    share: float


def sampling_groups(pairs: SampleTable, settings: TrainingConfig) -> list[SamplingGroup]:
    """Return the samples in groups by source and task, in the order of these names.

    Weights of sources give each source its share of an epoch; weights of tasks do the same for
    tasks. With both, the sources get their shares, and the tasks of each source divide the share of
    this source. Without weights, shares are those of the data.

    Args:
        pairs: the samples.
        settings: contains `source_weights` and `task_weights`.

    Raises:
        UsageError: weights name other sources or tasks than the samples have, or leave a source
            without a task.
    """
    sources, source_codes = pairs.coded("source")
    tasks, task_codes = pairs.coded("task")
    by_source = _ordered(settings.source_weights, sources, "source")
    by_task = _ordered(settings.task_weights, tasks, "task")
    # One number for each combination of source and task; all (S, T) tables are flattened so.
    cells = source_codes * len(tasks) + task_codes
    counts = np.bincount(cells, minlength=len(sources) * len(tasks))
    shares = _shares(counts.reshape(len(sources), len(tasks)), by_source, by_task)
    for row, source in enumerate(sources):
        if np.isnan(shares[row]).any():
            raise UsageError(
                f"training.source_weights asks for samples of '{source}', but "
                "training.task_weights is 0 for every task that it has",
                f"Set the weight of '{source}' to 0, or that of one of its tasks above 0.",
            )
    # A stable sort keeps the samples of each group in ascending order.
    members = np.split(np.argsort(cells, kind="stable"), np.cumsum(counts)[:-1])
    # Groups of share 0 stay: conversations must leave their samples out as well.
    return [
        SamplingGroup(sources[cell // len(tasks)], tasks[cell % len(tasks)], members[cell], share)
        for cell, share in enumerate(shares.reshape(-1).tolist())
        if counts[cell]
    ]


def _ordered(
    weights: Mapping[str, float], names: Sequence[str], kind: str
) -> NDArray[np.float64] | None:
    """Return the share of each name, or None where no weights are given."""
    if not weights:
        return None
    listed = ", ".join(names)
    # A configuration may give weights to all tasks, though the build has only some of them.
    allowed = frozenset(task.value for task in Task) if kind == "task" else frozenset()
    for name in sorted(weights):
        if name not in names and name not in allowed:
            raise UsageError(
                f"training.{kind}_weights: the samples have no {kind} '{name}', but {listed}."
                f"{near_names(name, names)}",
                f"Give weights to the {kind}s that exist; 0 excludes one.",
            )
    missing = [name for name in names if name not in weights]
    if missing:
        raise UsageError(
            f"training.{kind}_weights has no weight for {', '.join(missing)}",
            f"Give a weight to each of {listed}; 0 excludes one.",
        )
    chosen = np.array([weights[name] for name in names], np.float64)
    if not chosen.any():
        raise UsageError(
            f"training.{kind}_weights is 0 for every {kind} of the samples: {listed}",
            "Give one of them a weight above 0.",
        )
    shares: NDArray[np.float64] = chosen / chosen.sum()
    return shares


def _shares(
    counts: NDArray[np.int64],
    by_source: NDArray[np.float64] | None,
    by_task: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Return (S, T) shares for (S, T) counts, NaN where a source is left without a task."""
    if by_source is None:
        if by_task is None:
            return np.asarray(counts / counts.sum())
        return np.asarray(by_task * counts / counts.sum(0))
    # Within a source: as many as it has of each task, or the weights of the tasks that it has.
    weights = counts if by_task is None else (counts > 0) * by_task
    totals = weights.sum(1, keepdims=True)
    # NaN marks sources that have none of the weighted tasks; a source of weight 0 may be so.
    inner = np.divide(weights, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    inner[by_source == 0] = 0
    shares: NDArray[np.float64] = by_source[:, None] * inner
    return shares
