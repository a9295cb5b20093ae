"""Plots of a build's statistics as PNG files, drawn with matplotlib (the extra `view`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixedparts.errors import missing_package
from mixedparts.records import SPLITS, Task
from mixedparts.reports.statistics import Cell, Statistics
from mixedparts.storage.shards import written_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One colour a task in all plots.
_COLOURS = {
    Task.COMMON_OBJECT: "#2f6f8f",
    Task.COMMON_PARTS: "#d9822b",
    Task.UNIQUE_PARTS: "#6b9a4b",
}
_INK, _FAINT = "#222222", "#bbbbbb"
_MOST_NAMES = 25  # bars in the plot of names


def load_matplotlib() -> Any:
    """Return the module `matplotlib.figure`.

    Raises:
        EnvironmentFault: matplotlib is not installed.
    """
    # Figures are made directly, without `pyplot`: that needs no display and keeps no global state.
    try:
        import matplotlib.figure
    except ImportError as error:
        raise missing_package(error, "drawing plots") or error from error
    return matplotlib.figure


def draw_plots(statistics: Statistics, out: Path) -> list[Path]:
    """Draw all plots into a folder, and return the paths of the files.

    Raises:
        EnvironmentFault: matplotlib is not installed.
    """
    figures: dict[str, Callable[[Statistics], Figure]] = {
        "samples": _samples,
        "image_use": _image_use,
        "class_pairs": _class_pairs,
        "names": _names,
        "mask_areas": _mask_areas,
        "answer_words": _answer_words,
    }
    written = []
    for name, draw in figures.items():
        figure = draw(statistics)
        path = out / f"{name}.png"
        with written_beside(path, flush=False) as temporary:
            # No version of matplotlib in the file: the same numbers give the same bytes.
            figure.savefig(temporary, format="png", dpi=130, metadata={"Software": None})
        written.append(path)
    return written


def _new(statistics: Statistics, title: str, width: float, height: float) -> Figure:
    """Return an empty figure with a title; width and height are in inches."""
    figure: Figure = load_matplotlib().Figure(figsize=(width, height), layout="constrained")
    made = " (synthetic sources)" if statistics.manifest["synthetic"] else ""
    figure.suptitle(f"{title}{made}", fontsize=12, color=_INK, x=0.01, ha="left")
    return figure


def _plain(axes: Axes, title: str = "", grid: str = "y") -> None:
    """Style the axes: faint frame at the left and bottom only, grid lines along one direction."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_FAINT)
    axes.tick_params(colors=_INK, labelsize=8, length=3)
    if grid in ("x", "y"):
        axes.grid(axis=grid, color="#eeeeee", zorder=0)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    if title:
        axes.set_title(title, fontsize=9, color=_INK, loc="left")


def _tasks(statistics: Statistics) -> list[Task]:
    """Return the tasks that have samples, in the order of `Task`."""
    return [task for task in Task if any(key[2] == task for key in statistics.samples)]


def _sources(statistics: Statistics) -> list[str]:
    """Return the sources that have samples, pairs of sources included."""
    return sorted({source for _, source, _ in statistics.samples})


def _words(task: Task) -> str:
    return task.replace("_", " ")


def _samples(statistics: Statistics) -> Figure:
    """Draw the numbers of samples by source, split and task as stacked bars."""
    rows = sorted(
        {(source, split) for split, source, _ in statistics.samples},
        key=lambda key: (key[0], SPLITS.index(key[1])),
    )
    figure = _new(statistics, "Samples by source, split and task", 8, 1.2 + 0.34 * len(rows))
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    left = np.zeros(len(rows))
    for task in _tasks(statistics):
        widths = np.array([statistics.samples[split, source, task] for source, split in rows])
        # Each task's bar starts where the one before it ends.
        axes.barh(places, widths, 0.7, left, color=_COLOURS[task], label=_words(task))
        left = left + widths
    for place, total in zip(places, left, strict=True):
        axes.annotate(f"{total:,.0f}", (total, place), (4, 0), textcoords="offset points",
                      va="center", fontsize=8, color=_INK)  # fmt: skip
    axes.set_yticks(places, [f"{source}  {split}" for source, split in rows])
    axes.invert_yaxis()  # the first row at the top
    axes.margins(x=0.1)  # space for the numbers at the ends of the bars
    axes.xaxis.set_major_formatter("{x:,.0f}")
    _plain(axes, grid="x")
    figure.legend(ncols=3, loc="outside lower left", frameon=False, fontsize=8)
    return figure


def _grid(statistics: Statistics, figure: Figure) -> Iterator[tuple[Cell, Axes, bool, bool]]:
    """Yield cell and axes for every source (down) and task (across).

    Yields:
        The cell, its axes, whether they are in the left column, whether they are in the last row.
    """
    sources, tasks = _sources(statistics), _tasks(statistics)
    every = figure.subplots(len(sources), len(tasks), squeeze=False)
    for down, source in enumerate(sources):
        for across, task in enumerate(tasks):
            cell = source, str(task)
            yield cell, every[down][across], across == 0, down == len(sources) - 1


def _image_use(statistics: Statistics) -> Figure:
    """Draw a histogram of the samples of an image for each cell, with percentiles marked."""
    height = 1.1 + 1.7 * len(_sources(statistics))
    figure = _new(
        statistics, "Samples an image is in; lines: 5th, 50th, 95th percentile", 10, height
    )
    for cell, axes, left, bottom in _grid(statistics, figure):
        uses = statistics.uses(cell)
        _plain(axes, f"{cell[0]}, {_words(Task(cell[1]))}")
        if not uses.size:
            axes.set_axis_off()
            axes.text(0, 0.8, "no samples", fontsize=8, color=_INK)
            continue
        axes.hist(uses, bins=list(_whole_bins(uses)), color=_COLOURS[Task(cell[1])], alpha=0.85)
        marks = np.quantile(uses, (0.05, 0.5, 0.95))
        for mark in marks:
            axes.axvline(mark, color=_INK, linewidth=0.9, linestyle=(0, (4, 2)))
        percentiles = " / ".join(f"{mark:.0f}" for mark in marks)
        axes.set_title(percentiles, fontsize=8, color=_INK, loc="right")
        axes.set_xlim(left=0)
        axes.set_ylabel("images" if left else "", fontsize=8)
        axes.set_xlabel("samples" if bottom else "", fontsize=8)
    return figure


def _whole_bins(values: NDArray[np.int64], most: int = 40) -> NDArray[np.float64]:
    """Return at most `most` + 1 bin edges that are half-way between integers.

    Every bin covers the same number of integers; otherwise integer data would show stripes.
    """
    low, high = int(values.min()), int(values.max())
    # Integers in a bin: their number over the number of bins, rounded up.
    step = max(1, -(-(high - low + 1) // most))
    return np.arange(low - 0.5, high + step + 0.5, step)


def _class_pairs(statistics: Statistics) -> Figure:
    """Draw the samples of each class pair by rank, one plot a source, logarithmic."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    sources = _sources(statistics)
    across = min(3, len(sources))
    down = -(-len(sources) // across)
    title = "Samples a class pair has, most used first"
    figure = _new(statistics, title, 3.4 * across + 0.6, 3.1 * down + 0.3)
    every = figure.subplots(down, across, squeeze=False).ravel()
    # The grid can have more places than there are sources.
    for spare in every[len(sources) :]:
        spare.set_axis_off()
    for number, (source, axes) in enumerate(zip(sources, every, strict=False)):
        for task in _tasks(statistics):
            rows = sorted(
                statistics.class_pairs.get((source, str(task)), {}).values(), reverse=True
            )
            if rows:
                label = f"{_words(task)} ({len(rows)})"
                ranks = np.arange(1, len(rows) + 1)
                marker = "o" if len(rows) == 1 else None  # a line of one point shows nothing
                axes.plot(
                    ranks, rows, color=_COLOURS[task], linewidth=1.8, label=label, marker=marker
                )
        axes.set_yscale("log")
        # Plain numbers instead of powers of ten, and labels at 2 and 5 too: an axis may span less
        # than one power of ten and would then have a single label.
        for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            formatter("{x:,.0f}")
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel("class pair, by rank", fontsize=8)
        axes.set_ylabel("" if number % across else "samples", fontsize=8)
        _plain(axes, source)
        axes.tick_params(which="minor", labelsize=8, length=2)
        axes.legend(frameon=False, fontsize=7, title="task (class pairs)", title_fontsize=7)
    return figure


def _names(statistics: Statistics) -> Figure:
    """Draw the most frequent classes and part names, by the masks that samples ground."""
    from matplotlib.ticker import MaxNLocator

    figure = _new(statistics, "Masks that samples ground, by name", 10, 6.2)
    for axes, title, counts, colour in zip(
        figure.subplots(1, 2),
        ("classes", "parts"),
        (statistics.classes, statistics.parts),
        ("#2f6f8f", "#d9822b"),
        strict=True,
    ):
        shown = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_MOST_NAMES]
        axes.barh([name for name, _ in shown], [n for _, n in shown], 0.75, color=colour)
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        cut = f"the {len(shown)} most frequent of " if len(counts) > len(shown) else ""
        _plain(axes, f"{title}: {cut}{len(counts)}", grid="x")
    return figure


def _mask_areas(statistics: Statistics) -> Figure:
    """Draw a histogram of the share of its image that each mask of `entities` covers."""
    figure = _new(statistics, "Share of the image that a mask covers, every mask once", 7.5, 3.6)
    axes = figure.add_subplot()
    for level, colour in (("object", "#2f6f8f"), ("part", "#d9822b")):
        shares = statistics.shares[level]
        if shares.size:
            # 12 bins a power of ten, equally wide on the logarithmic axis.
            bins = np.geomspace(1e-4, 1, 49).tolist()
            label = f"{level}s ({shares.size:,}; median {np.median(shares):.1%})"
            axes.hist(np.clip(shares, 1e-4, 1), bins=bins, alpha=0.65, color=colour, label=label)
    filters = statistics.manifest["configuration"]
    for name in ("min_object_area", "min_part_area"):
        axes.axvline(filters[name], color=_INK, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.set_xscale("log")
    axes.set_xticks([1e-4, 1e-3, 1e-2, 1e-1, 1], ["0.01 %", "0.1 %", "1 %", "10 %", "100 %"])
    axes.set_ylabel("masks", fontsize=8)
    axes.set_xlabel("share of the image; dashed: the least that counts", fontsize=8)
    _plain(axes)
    figure.legend(ncols=2, loc="outside lower left", frameon=False, fontsize=8)
    return figure


def _answer_words(statistics: Statistics) -> Figure:
    """Draw a histogram of the words of an answer for each task, with the mean marked."""
    tasks = _tasks(statistics)
    figure = _new(statistics, "Words of an answer, tags and [SEG] included", 9, 3)
    every = figure.subplots(1, len(tasks), squeeze=False)[0]
    for number, (task, axes) in enumerate(zip(tasks, every, strict=True)):
        counted = sorted(statistics.words[task].items())
        words, answers = (np.array(column) for column in zip(*counted, strict=True))
        bins = list(_whole_bins(words))
        axes.hist(words, bins=bins, weights=answers, color=_COLOURS[task], alpha=0.85)
        mean = float(np.average(words, weights=answers))
        axes.set_xlim(min(words) - 3, max(words) + 3)
        axes.axvline(mean, color=_INK, linewidth=0.9, linestyle=(0, (4, 2)))
        axes.set_xlabel("words", fontsize=8)
        axes.set_ylabel("answers" if number == 0 else "", fontsize=8)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        _plain(axes, f"{_words(task)}, mean {mean:.1f}")
    return figure
