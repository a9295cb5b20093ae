"""Compare evaluations of the same samples: paired differences, and the samples that changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from calico.evaluation.report import markdown_table, summary_values, synthetic_notes
from calico.evaluation.scoring import ScoreTable
from calico.evaluation.summary import (
    HEADLINE,
    METRICS,
    Estimate,
    Summary,
    differences,
    summarise,
)
from calico.evaluation.tables.folder import ScoreFrames, read_result, read_tables, tables_of
from calico.evaluation.tables.rebuild import score_table
from mixedparts.errors import UsageError

FORMAT = "calico-compare/1"
_SHOWN = 6  # samples of the text, each way


@dataclass(frozen=True)
class Run:
    """An evaluation with its tables.

    Attributes:
        name: of its predictions; that of its file where two runs have one name.
        path: its JSON.
        frames: scores of samples and regions.
        metadata: that the tables contain.
        table: its sums.
    """

    name: str
    path: Path
    frames: ScoreFrames
    metadata: Mapping[str, Any]
    table: ScoreTable


@dataclass(frozen=True)
class Compared:
    """A run beside the first one.

    Attributes:
        run: the run.
        summary: its own metrics, without intervals.
        difference: its metrics minus those of the first run, with paired intervals.
        changed: a row a sample, by falling change: `id`, `task`, `source`, `class_pair`, `before`,
            `after`, `change`.
    """

    run: Run
    summary: Summary
    difference: Summary
    changed: pd.DataFrame

    def cells(self, title: str, metrics: Iterable[str]) -> list[str]:
        """Return metrics of a group with their differences, such as `48.3 +3.2 (+1.0 to +5.4)*`.

        Args:
            title: of the group, as in `Summary.groups`.
            metrics: keys of metrics.
        """
        own = self.summary.groups(cells=True)[title].metrics
        change = self.difference.groups(cells=True)[title].metrics
        return [_cell(own[metric], change[metric]) for metric in metrics]


@dataclass(frozen=True)
class Comparison:
    """The first run, and the others beside it.

    Attributes:
        base: the first run.
        summary: its metrics, without intervals.
        others: the other runs.
        seed: of the bootstrap.
        replicates: number of its draws.
        metric: of a sample that `changed` compares.
    """

    base: Run
    summary: Summary
    others: tuple[Compared, ...]
    seed: int
    replicates: int
    metric: str

    def notes(self) -> list[str]:
        """Return a sentence for each model that was trained on synthetic images."""
        runs = (self.base, *(other.run for other in self.others))
        return synthetic_notes((run.name, run.metadata["predictions"]) for run in runs)


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read evaluations that are to be compared.

    Args:
        paths: their JSON files, two or more.

    Returns:
        One run a file.

    Raises:
        UsageError: there are fewer than two, or they are of different samples or text models.
        InputError: a file or its tables are missing, damaged or do not belong together.
    """
    if len(paths) < 2:
        raise UsageError(
            f"there is only {paths[0]} to compare; two or more evaluations are needed",
            "Type: calico-eval --compare FIRST.json SECOND.json",
        )
    read = []
    for path in paths:
        frames, metadata = read_tables(*tables_of(path, read_result(path)))
        read.append((path, frames, metadata))
    labels = _labels([(path, str(m["predictions"]["name"])) for path, _, m in read])
    runs = [
        Run(label, path, frames, metadata, score_table(frames))
        for label, (path, frames, metadata) in zip(labels, read, strict=True)
    ]
    for run in runs[1:]:
        _check_comparable(runs[0], run)
    return runs


def _labels(named: Sequence[tuple[Path, str]]) -> list[str]:
    """Return the shortest names that differ: of the predictions, of the files, or their paths."""
    for names in ([n for _, n in named], [p.stem for p, _ in named], [str(p) for p, _ in named]):
        if max(Counter(names).values()) == 1:
            return names
    return [f"{path} ({place})" for place, (path, _) in enumerate(named, 1)]


def _check_comparable(base: Run, other: Run) -> None:
    """Check that two runs scored the same samples by the same text models.

    Raises:
        UsageError: they did not.
    """
    for key, meaning in (("build_id", "build"), ("split", "split")):
        first, second = (run.metadata["dataset"][key] for run in (base, other))
        if first != second:
            raise UsageError(
                f"{base.path} and {other.path} cannot be compared: the one is of {meaning} {first},"
                f" the other of {meaning} {second}",
                "Run calico-eval with the same --dataset and --split for both, and --json FILE.",
            )
    if base.table.ids != other.table.ids:
        only = set(base.table.ids) ^ set(other.table.ids)
        raise UsageError(
            f"{base.path} and {other.path} cannot be compared: {len(only)} samples are in one of"
            f" them only, such as {min(only)}",
            "Run calico-eval with the same --limit for both, and --json FILE.",
        )
    models = [run.metadata["text_models"] for run in (base, other)]
    if models[0] != models[1]:
        raise UsageError(
            f"{base.path} and {other.path} cannot be compared: their text models are"
            f" {models[0]} and {models[1]}",
            "Run calico-eval with the same --text-model and --recall-text-model for both.",
        )


def compare_runs(
    runs: Sequence[Run], seed: int = 0, replicates: int = 1000, metric: str = "miou_strict"
) -> Comparison:
    """Compare the other runs with the first.

    Args:
        runs: two or more of the same samples.
        seed: of the bootstrap.
        replicates: number of draws; 0 for no intervals.
        metric: of `RATIOS`, by which samples are ordered.

    Returns:
        Values, differences with paired intervals, and changes of samples.
    """
    base = runs[0]
    others = tuple(
        Compared(
            run,
            summarise(run.table, replicates=0),
            differences(base.table, run.table, seed, replicates),
            _changed(base.frames.samples, run.frames.samples, metric),
        )
        for run in runs[1:]
    )
    summary = summarise(base.table, replicates=0)
    return Comparison(base, summary, others, seed, replicates, metric)


def _changed(before: pd.DataFrame, after: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the samples by falling change of a metric; equal changes by id."""
    columns = ["id", "task", "source", "class_pair"]
    frame = before[[*columns, metric]].rename(columns={metric: "before"})
    frame = frame.merge(after[["id", metric]].rename(columns={metric: "after"}), on="id")
    frame["change"] = frame["after"] - frame["before"]
    return frame.sort_values(["change", "id"], ascending=[False, True], ignore_index=True)


def document(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON values: all metrics of all groups, and the change of samples."""
    base = comparison.base
    return {
        "format": FORMAT,
        "dataset": base.metadata["dataset"],
        "synthetic_dataset": bool(base.metadata.get("synthetic_dataset")),
        "seed": comparison.seed,
        "bootstrap": {"replicates": comparison.replicates, "unit": "sample", "paired": True,
                      "level": 0.95},
        "base": {**_origin(base), "metrics": summary_values(comparison.summary)},
        "compared": [
            {
                **_origin(other.run),
                "metrics": summary_values(other.summary),
                "difference": summary_values(other.difference),
                "changed": {
                    "metric": comparison.metric,
                    "samples": other.changed[other.changed["change"] != 0].to_dict("records"),
                },
            }
            for other in comparison.others
        ],
    }  # fmt: skip


def _origin(run: Run) -> dict[str, Any]:
    """Return where the scores of a run come from, as JSON values."""
    return {"name": run.name, "file": str(run.path), "predictions": run.metadata["predictions"]}


def as_text(comparison: Comparison, full: bool = False) -> str:
    """Return the comparison as Markdown: metrics in percent, differences in points.

    Args:
        comparison: to print.
        full: with every task of every source and all metrics.
    """
    metrics = {name: name for name in METRICS} if full else HEADLINE
    rows = []
    for title, base in comparison.summary.groups(full).items():
        values = [f"{100 * base.metrics[metric].value:.1f}" for metric in metrics.values()]
        rows.append([title, comparison.base.name, str(base.samples), *values])
        for other in comparison.others:
            rows.append([title, other.run.name, str(base.samples),
                         *other.cells(title, metrics.values())])  # fmt: skip
    text = [markdown_table(["group", "predictions", "n", *metrics], rows, numbers_from=2)]
    if comparison.replicates:
        text.append(
            f"Differences to {comparison.base.name} in points, with 95 % intervals of"
            f" {comparison.replicates} paired bootstrap draws; * marks an interval without 0."
        )
    text += comparison.notes()
    return "\n\n".join([*text, *(_changes(comparison, other) for other in comparison.others)])


def _cell(own: Estimate, change: Estimate) -> str:
    """Return a value in percent with its difference in points."""
    text = f"{100 * own.value:.1f} {100 * change.value:+.1f}"
    if change.low is None or change.high is None:
        return text
    # The interval leaves out 0.
    sure = "*" if change.low > 0 or change.high < 0 else ""
    return f"{text} ({100 * change.low:+.1f} to {100 * change.high:+.1f}){sure}"


def _changes(comparison: Comparison, other: Compared) -> str:
    """Return the samples that rose and fell most."""
    moved = other.changed[other.changed["change"] != 0]
    rose, fell = (int((moved["change"] * sign > 0).sum()) for sign in (1, -1))
    title = (
        f"{other.run.name} against {comparison.base.name}, {comparison.metric} of a sample:"
        f" {rose} rose, {fell} fell, {len(other.changed) - len(moved)} are unchanged"
    )
    shown = pd.concat([moved[moved["change"] > 0].head(_SHOWN),
                       moved[moved["change"] < 0].tail(_SHOWN)])  # fmt: skip
    if shown.empty:
        return title
    rows = [
        [row["id"], row["task"], row["source"], f"{100 * row['before']:.1f}",
         f"{100 * row['after']:.1f}", f"{100 * row['change']:+.1f}"]
        for row in shown.to_dict("records")
    ]  # fmt: skip
    head = ["sample", "task", "source", "before", "after", "change"]
    return f"{title}\n\n{markdown_table(head, rows, numbers_from=3)}"
