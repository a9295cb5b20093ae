"""Write the report of an evaluation, or of a comparison: a page, and its figures as SVG files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calico.evaluation.page import comparison_tables, figures, tables
from calico.evaluation.page.samples import (
    Predicted,
    chosen_samples,
    odd_tags,
    scores_of,
    shown_sample,
)
from calico.evaluation.report import Scored, synthetic_notes
from calico.evaluation.scoring import ScoreTable
from calico.evaluation.summary import class_pair_intervals
from calico.evaluation.tables.comparison import Comparison
from calico.evaluation.tables.folder import ScoreFrames
from calico.predictions.types import Prediction
from mixedparts.errors import EnvironmentFault, InputError
from mixedparts.progress import Progress, Silent
from mixedparts.reports.plots.style import plot_style, svg_of
from mixedparts.settings.local_paths import typed
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.storage.shards import written_beside
from mixedparts.viewer import Figure, Head, Sample, Table, WrittenPage, write_page
from mixedparts.viewer.build_page import open_row_images
from mixedparts.viewer.selection import Query, find
from mixedparts.viewer.selection.read import read_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

PAGE = "index.html"
_FIGURES = "figures"
_MOST_BYTES = 20_000_000  # of the images on the page, as text
_LEAST_OF_PAIR = 5  # samples of a class pair with intervals
_MOST_PAIRS = 200  # class pairs with intervals
_MARKS = (
    "✓ found (IoU of .5 or more, same name), ≠ wrong name, ≈ poor mask (less overlap), ○ missed,"
    " ✗ false positive."
)
_SILENT = Silent()


@dataclass(frozen=True)
class Evaluated:
    """An evaluation to report.

    Attributes:
        build: the dataset.
        split: that was scored.
        scored: the predictions, then the baselines.
        table: sums of the predictions.
        frames: their scores.
        predictions: by sample id.
    """

    build: BuildFolder
    split: str
    scored: Sequence[Scored]
    table: ScoreTable
    frames: ScoreFrames
    predictions: Mapping[str, Prediction]


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What a report shows.

    Attributes:
        samples: number of the worst; half as many median and best ones.
        metric: of a sample, by which they are ordered.
        seed: of the bootstrap.
        replicates: number of its draws.
    """

    samples: int = 24
    metric: str = "miou_strict"
    seed: int = 0
    replicates: int = 1000


def write_evaluation(
    folder: Path, evaluated: Evaluated, options: ReportOptions, progress: Progress = _SILENT
) -> WrittenPage:
    """Write the report of an evaluation.

    Args:
        folder: is created if it does not exist.
        evaluated: what to report.
        options: what it shows.
        progress: shown while images are read.

    Returns:
        What was written.

    Raises:
        InputError: the dataset or one of its images cannot be read.
        EnvironmentFault: matplotlib is not installed, or a file cannot be written.
    """
    frames, scored = evaluated.frames, evaluated.scored[0]
    chosen = chosen_samples(frames.samples, options.metric, options.samples)
    groups = scored.summary.groups()
    panels: list[Table | Figure] = _figures(folder, _drawings(frames, groups, options.metric))
    panels += tables.metric_tables(evaluated.scored, _class_pairs(evaluated, options))
    panels += [
        tables.sample_table(frames, chosen, options.metric),
        tables.outcome_table(frames.regions),
        tables.name_table(tables.name_scores(frames.regions)),
        tables.confusion_table(tables.confusions(frames.regions), chosen, evaluated.split),
        tables.odd_table(frames.samples),
    ]
    regions = frames.regions[frames.regions["id"].isin(list(chosen))]
    rows = frames.samples.set_index("id", drop=False)
    answers = [Predicted(f"Prediction ({scored.name})", regions, evaluated.predictions)]

    def samples(stack: ExitStack) -> Iterator[Sample]:
        for row, read in _rows(evaluated.build, evaluated.split, chosen, stack):
            scores = rows.loc[row["id"]].to_dict()
            tags = [*chosen[row["id"]], *odd_tags(scores)]
            yield shown_sample(row, read, answers, scores_of(scores), tags)

    head = Head(
        title=f"Evaluation of {scored.name}",
        lead=_lead(evaluated.build, evaluated.split, len(frames.samples)),
        synthetic=evaluated.build.synthetic,
        notes=(
            *synthetic_notes([(scored.name, scored.metadata)]),
            f"Below: the worst, median and best samples by {options.metric}. {_MARKS}",
        ),
        panels=panels,
    )
    return _write(folder, head, samples, progress)


def write_comparison(
    folder: Path,
    build: BuildFolder,
    comparison: Comparison,
    number: int = 24,
    progress: Progress = _SILENT,
) -> WrittenPage:
    """Write the report of a comparison.

    Args:
        folder: is created if it does not exist.
        build: the dataset of the evaluations.
        comparison: what to report.
        number: samples that rose most, and that fell most, for each further run.
        progress: shown while images are read.

    Returns:
        What was written.

    Raises:
        InputError: the dataset or one of its images cannot be read.
        EnvironmentFault: matplotlib is not installed, or a file cannot be written.
    """
    chosen = comparison_tables.changed_samples(comparison, number)
    runs = [comparison.base, *(other.run for other in comparison.others)]
    split = str(comparison.base.metadata["dataset"]["split"])

    def drawings() -> Iterator[tuple[str, str, Drawing]]:
        for place, other in enumerate(comparison.others, 1):
            title = f"{other.run.name} minus {comparison.base.name}"
            groups = other.difference.groups()
            yield f"differences-{place}", title, figures.metrics_figure(groups, differences=True)

    panels: list[Table | Figure] = _figures(folder, drawings)
    panels += comparison_tables.comparison_panels(comparison, chosen, split)
    answers = [
        Predicted(run.name, run.frames.regions[run.frames.regions["id"].isin(list(chosen))], {})
        for run in runs
    ]
    values = comparison_tables.sample_values(comparison)

    def samples(stack: ExitStack) -> Iterator[Sample]:
        for row, read in _rows(build, split, chosen, stack):
            yield shown_sample(row, read, answers, values[row["id"]], chosen[row["id"]])

    others = ", ".join(run.name for run in runs[1:])
    head = Head(
        title=f"Comparison: {others} with {comparison.base.name}",
        lead=_lead(build, split, len(comparison.base.table.ids)),
        synthetic=build.synthetic,
        notes=(
            *comparison.notes(),
            f"Below: the samples whose {comparison.metric} changed most. {_MARKS}",
        ),
        panels=panels,
    )
    return _write(folder, head, samples, progress)


def _lead(build: BuildFolder, split: str, number: int) -> str:
    return f"{number:,} samples of split {split}, build {build.build_id}"


def _drawings(frames: ScoreFrames, groups: Any, metric: str) -> Any:
    """Return a function that yields name, title and figure of each figure of an evaluation."""

    def drawings() -> Iterator[tuple[str, str, Drawing]]:
        yield (
            "metrics",
            "Metrics with 95 % intervals by task and source",
            figures.metrics_figure(groups),
        )
        yield (
            "samples",
            f"Distribution of {metric} over samples",
            figures.scores_figure(frames.samples, metric),
        )
        yield "area", "IoU against the size of the mask", figures.area_figure(frames.regions)
        yield "names", "Precision and recall of names", figures.names_figure(frames.regions)
        for kind, regions in figures.kinds_of(frames.regions).items():
            title = f"Confusion of names of {kind}"
            yield f"confusion-{kind}", title, figures.confusion_figure(regions, kind)

    return drawings


def _figures(folder: Path, drawings: Any) -> list[Table | Figure]:
    """Draw figures, write each as an SVG file, and return them as panels."""
    panels: list[Table | Figure] = []
    with plot_style():
        for name, title, drawing in drawings():
            svg = svg_of(drawing)
            _write_bytes(folder / _FIGURES / f"{name}.svg", svg)
            text = f"{title}; the tables have the numbers. Also in {_FIGURES}/{name}.svg"
            panels.append(Figure(title, svg, text))
    return panels


def _write_bytes(path: Path, data: bytes) -> None:
    try:
        with written_beside(path, flush=False) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be written: {error.strerror or error}") from error


def _class_pairs(evaluated: Evaluated, options: ReportOptions) -> dict[str, Any]:
    """Return the metrics of class pairs, with intervals where there are enough samples."""
    counts = evaluated.frames.samples["class_pair"].value_counts()
    many = counts[counts >= _LEAST_OF_PAIR].index[:_MOST_PAIRS]
    drawn = class_pair_intervals(evaluated.table, many, options.seed, options.replicates)
    return {**evaluated.scored[0].summary.class_pairs, **drawn}


def _rows(
    build: BuildFolder, split: str, chosen: Mapping[str, Any], stack: ExitStack
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield the chosen rows in their order, each with the reader of images."""
    found = find(build, Query(splits=(split,), ids=tuple(chosen)))
    by_id = {row["id"]: row for row in read_rows(build, found)}
    if missing := [name for name in chosen if name not in by_id]:
        raise InputError(
            f"the split '{split}' of {build.path} has no row '{missing[0]}', which was scored",
            f"Type: mixedparts verify {typed(build.path)}",
        )
    rows = [by_id[name] for name in chosen]
    read = open_row_images(build, rows, stack)
    for row in rows:
        yield row, read


def _write(folder: Path, head: Head, samples: Any, progress: Progress) -> WrittenPage:
    path = folder / PAGE
    with ExitStack() as stack:
        try:
            return write_page(samples(stack), path, head, most_bytes=_MOST_BYTES, progress=progress)
        except OSError as error:
            reason = error.strerror or error
            raise EnvironmentFault(f"{path} cannot be written: {reason}") from error
