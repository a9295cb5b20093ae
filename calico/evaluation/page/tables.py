"""Tables of the report: metrics with intervals, names, confusions, irregular `[SEG]`, samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from calico.evaluation.report import Scored
from calico.evaluation.summary import Estimate, MetricGroup
from calico.evaluation.tables.columns import Outcome
from calico.evaluation.tables.folder import ScoreFrames
from calico.evaluation.units import LEAST_IOU
from calico.predictions.types import COUNTED
from mixedparts.viewer import RowLink, Table

SHOWN = {
    "AP50": "ap50",
    "mIoU": "miou",
    "mIoU strict": "miou_strict",
    "Recall": "recall_glamm",
    "Recall fixed": "recall_fixed",
    "SS": "ss_b",
    "S-IoU": "s_iou_b",
    "label F1": "label_f1",
}
NO_NAME = "(no name)"  # of a label without words
_MOST = 100  # rows of a table
Rows = list[list[str | int | float | RowLink]]


def metric_tables(scored: Sequence[Scored], class_pairs: Mapping[str, MetricGroup]) -> list[Table]:
    """Return the metrics of all groups, in percent.

    Args:
        scored: the evaluated predictions, then the baselines.
        class_pairs: of the predictions, with intervals where they have enough samples.

    Returns:
        One table for tasks and sources with baselines, one for tasks of sources, one for class
        pairs.
    """
    main = scored[0].summary
    rows: Rows = [
        [title, item.name, group.samples, *_cells(group)]
        for title in main.groups()
        for item in scored
        if (group := item.summary.groups().get(title)) is not None
    ]
    cells: Rows = [
        [task, source, group.samples, *_cells(group)]
        for task, groups in main.cells.items()
        for source, group in groups.items()
    ]
    lowest = sorted(class_pairs.items(), key=lambda i: (i[1].metrics["miou_strict"].value, i[0]))
    pairs: Rows = [[name, group.samples, *_cells(group)] for name, group in lowest[:_MOST]]
    note = _cut(len(class_pairs), "lowest mIoU strict first")
    return [
        Table("Metrics by task and source", ["group", "predictions", "n", *SHOWN], rows, _PERCENT),
        Table("Metrics of each task in each source", ["task", "source", "n", *SHOWN], cells,
              _PERCENT),
        Table("Metrics by class pair", ["class pair", "n", *SHOWN], pairs, f"{_PERCENT} {note}"),
    ]  # fmt: skip


_PERCENT = "In percent, with 95 % bootstrap intervals."


def _cut(number: int, order: str) -> str:
    shown = f"The first {_MOST} of {number:,}" if number > _MOST else f"{number:,}"
    return f"{shown} rows, {order}."


def _cells(group: MetricGroup) -> list[str]:
    return [percent(group.metrics[metric]) for metric in SHOWN.values()]


def percent(estimate: Estimate) -> str:
    """Return a metric in percent with its interval, if it has one."""
    text = f"{100 * estimate.value:.1f}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def sample_table(frames: ScoreFrames, chosen: Mapping[str, Sequence[str]], metric: str) -> Table:
    """Return the samples that are on the page, with links to them.

    Args:
        frames: scores.
        chosen: sample id to its groups.
        metric: by which they were chosen.

    Returns:
        Links to the samples with their scores.
    """
    samples = {row["id"]: row for row in frames.samples.to_dict("records")}
    rows: Rows = []
    for name, groups in chosen.items():
        row = samples[name]
        link = RowLink(name, str(row["split"]), name)
        counts = [int(row[str(outcome)]) for outcome in Outcome]
        rows.append([link, ", ".join(groups), row["task"], row["source"], row["class_pair"],
                     f"{100 * row[metric]:.1f}", *counts])  # fmt: skip
    titles = [str(outcome).replace("_", " ") for outcome in Outcome]
    head = ["sample", "group", "task", "source", "classes", metric, *titles]
    return Table("Worst, median and best samples", head, rows, f"By {metric} of the sample.")


def outcome_table(regions: pd.DataFrame) -> Table:
    """Return what became of regions, by task and kind."""
    kinds = regions["kind"].fillna("predicted only")
    counted = pd.crosstab([regions["task"], kinds], regions["outcome"])
    counted = counted.reindex(columns=[str(outcome) for outcome in Outcome], fill_value=0)
    rows: Rows = [[*index, *map(int, values)] for index, values in zip(
        counted.index, counted.to_numpy(), strict=True)]  # fmt: skip
    titles = [str(outcome).replace("_", " ") for outcome in Outcome]
    note = (
        f"Found: IoU of {LEAST_IOU} or more and the same name. Wrong name: such a mask with another"
        " name. Poor mask: some overlap, less than that."
    )
    return Table("Outcomes of regions", ["task", "kind", *titles], rows, note)


def name_scores(regions: pd.DataFrame) -> pd.DataFrame:
    """Return precision and recall of every name.

    A region is right if a mask of IoU .5 or more has the same name.

    Args:
        regions: table of regions.

    Returns:
        A row a name (as labels are compared), most annotated first: `name`, `kinds`, `annotated`,
        `predicted`, `right`, `recall`, `precision`, `iou` (mean over annotated regions).
    """
    right = regions["outcome"] == str(Outcome.FOUND)
    true = regions[regions["name_key"].notna()]
    grouped = true.groupby("name_key")
    frame = pd.DataFrame(
        {
            "kinds": grouped["kind"].agg(lambda kinds: ", ".join(sorted(set(kinds.dropna())))),
            "annotated": grouped.size(),
            "iou": grouped["iou"].mean(),
            "right": right[true.index].groupby(true["name_key"]).sum(),
        }
    )
    frame = frame.join(
        regions["predicted_key"].value_counts().rename("predicted"), how="outer"
    ).rename_axis("name")
    for column in ("annotated", "predicted", "right"):
        frame[column] = frame[column].fillna(0).astype(int)
    frame["kinds"] = frame["kinds"].fillna("")
    # A name that is never annotated has no recall, one that is never said no precision.
    frame["recall"] = frame["right"] / frame["annotated"].where(frame["annotated"] > 0)
    frame["precision"] = frame["right"] / frame["predicted"].where(frame["predicted"] > 0)
    frame = frame.reset_index()
    return frame.sort_values(
        ["annotated", "predicted", "name"], ascending=[False, False, True], ignore_index=True
    )


def name_table(names: pd.DataFrame) -> Table:
    """Return precision and recall of the most annotated names."""
    rows: Rows = [
        [row["name"] or NO_NAME, row["kinds"].replace("_", " "), int(row["annotated"]),
         int(row["predicted"]), *(_share(row[c]) for c in ("recall", "precision", "iou"))]
        for row in names.head(_MOST).to_dict("records")
    ]  # fmt: skip
    head = ["name", "kind", "annotated", "predicted", "recall %", "precision %", "mean IoU %"]
    return Table(
        "Precision and recall of names", head, rows, _cut(len(names), "most annotated first")
    )


def _share(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.1f}"


def confusions(regions: pd.DataFrame) -> pd.DataFrame:
    """Return how often masks that fit have another name than the annotated one.

    Args:
        regions: table of regions.

    Returns:
        A row a pair of names, most frequent first: `kind`, `name`, `predicted_name`, `count`,
        `share` of the annotated regions of the name, `example` (id of a sample).
    """
    wrong = regions[regions["outcome"] == str(Outcome.WRONG_NAME)]
    keys = ["kind", "name_key", "predicted_key"]
    grouped = wrong.assign(kind=wrong["kind"].fillna("")).groupby(keys)
    frame = grouped.agg(count=("id", "size"), example=("id", "first")).reset_index()
    totals = regions["name_key"].value_counts()
    frame["share"] = frame["count"] / frame["name_key"].map(totals).to_numpy()
    frame = frame.rename(columns={"name_key": "name", "predicted_key": "predicted_name"})
    return frame.sort_values(
        ["count", "name", "predicted_name"], ascending=[False, True, True], ignore_index=True
    )


def confusion_table(found: pd.DataFrame, shown: Iterable[str], split: str) -> Table:
    """Return the most frequent confusions.

    Args:
        found: from `confusions`.
        shown: ids of the samples that the page has.
        split: of the samples.

    Returns:
        Pairs of names with their numbers, and a link to an example where the page has one.
    """
    there = set(shown)
    rows: Rows = [
        [row["kind"].replace("_", " "), row["name"] or NO_NAME, row["predicted_name"] or NO_NAME,
         int(row["count"]), f"{100 * row['share']:.1f}",
         RowLink(row["example"], split, row["example"]) if row["example"] in there
         else row["example"]]
        for row in found.head(_MOST).to_dict("records")
    ]  # fmt: skip
    head = ["kind", "annotated", "predicted", "times", "% of the name", "for example in"]
    note = _cut(len(found), "most frequent first") + " Masks with an IoU of .5 or more."
    return Table("Names that are mistaken for each other", head, rows, note)


def odd_table(samples: pd.DataFrame) -> Table:
    """Return the counts of irregular `[SEG]`."""
    tasks = list(dict.fromkeys(samples["task"]))
    rows: Rows = [
        [name.replace("_", " "), meaning, int(samples[name].sum()),
         int((samples[name] > 0).sum()),
         *(int(samples.loc[samples["task"] == task, name].sum()) for task in tasks)]
        for name, meaning in COUNTED.items()
    ]  # fmt: skip
    head = ["kind", "meaning: so many …", "number", "samples", *tasks]
    return Table("Odd [SEG] and unfinished answers", head, rows)
