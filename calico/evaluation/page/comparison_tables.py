"""Tables of a comparison's report, and the samples that it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from calico.evaluation.page.tables import SHOWN, Rows
from calico.evaluation.tables.comparison import Comparison
from mixedparts.viewer import RowLink, Table


def changed_samples(comparison: Comparison, number: int) -> dict[str, tuple[str, ...]]:
    """Choose the samples that changed most.

    Args:
        comparison: of two or more runs.
        number: most samples that rose, and that fell, for each further run.

    Returns:
        Sample id to its groups, such as `B: better`.
    """
    chosen: dict[str, tuple[str, ...]] = {}
    for other in comparison.others:
        changed = other.changed
        rose = changed.loc[changed["change"] > 0, "id"].head(number)
        fell = changed.loc[changed["change"] < 0, "id"].tail(number).iloc[::-1]
        for group, names in (("worse", fell), ("better", rose)):
            for name in names:
                chosen[name] = (*chosen.get(name, ()), f"{other.run.name}: {group}")
    return chosen


def sample_values(comparison: Comparison) -> dict[str, dict[str, float]]:
    """Return the scores that the page shows and sorts by: the metric of each run, and changes."""
    base = comparison.base
    values = {
        str(row["id"]): {base.name: float(row[comparison.metric])}
        for row in base.frames.samples.to_dict("records")
    }
    for other in comparison.others:
        for row in other.changed.to_dict("records"):
            values[row["id"]][other.run.name] = float(row["after"])
            values[row["id"]][f"change of {other.run.name}"] = float(row["change"])
    return values


def comparison_panels(
    comparison: Comparison, chosen: Mapping[str, Sequence[str]], split: str
) -> list[Table]:
    """Return the tables of a comparison.

    Args:
        comparison: of two or more runs.
        chosen: samples that the page shows.
        split: of the samples.

    Returns:
        Metrics with their differences, then the changed samples of each further run.
    """
    rows: Rows = []
    for title, base in comparison.summary.groups(cells=True).items():
        values = [f"{100 * base.metrics[metric].value:.1f}" for metric in SHOWN.values()]
        rows.append([title, comparison.base.name, base.samples, *values])
        for other in comparison.others:
            cells = other.cells(title, SHOWN.values())
            rows.append([title, other.run.name, base.samples, *cells])
    note = (
        f"In percent, with the difference to {comparison.base.name} in points and its 95 % interval"
        f" from {comparison.replicates} paired bootstrap draws; * marks an interval without 0."
    )
    head = ["group", "predictions", "n", *SHOWN]
    tables = [Table("Metrics and differences", head, rows, note)]
    return [*tables, *(_changes(comparison, number, chosen, split)
                       for number in range(len(comparison.others)))]  # fmt: skip


def _changes(
    comparison: Comparison, number: int, chosen: Mapping[str, Sequence[str]], split: str
) -> Table:
    """Return the samples of the page by their change."""
    other = comparison.others[number]
    moved = other.changed[other.changed["change"] != 0]
    rose = int((moved["change"] > 0).sum())
    rows: Rows = [
        [RowLink(row["id"], split, row["id"]), row["task"], row["source"], row["class_pair"],
         *(f"{100 * row[name]:.1f}" for name in ("before", "after")), f"{100 * row['change']:+.1f}"]
        for row in moved[moved["id"].isin(list(chosen))].to_dict("records")
    ]  # fmt: skip
    head = ["sample", "task", "source", "classes", "before", "after", "change"]
    note = (
        f"{rose} samples rose, {len(moved) - rose} fell, {len(other.changed) - len(moved)} are"
        f" unchanged; {comparison.metric} of a sample, in percent."
    )
    title = f"Samples that changed most: {other.run.name}"
    return Table(title, head, rows, note)
