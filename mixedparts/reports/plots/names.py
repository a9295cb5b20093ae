"""Plots with many names: which classes are compared with which, and why records were refused."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from mixedparts.reports.plots.counts import titled
from mixedparts.reports.plots.style import INK, legible, plain_axes
from mixedparts.reports.statistics import PAIR_JOINT, Statistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_MOST_CLASSES = 30
_MOST_REASONS = 20
_WITH_NUMBERS = 20  # classes up to which the cells have numbers
_SOURCE_COLOURS = ("#2f6f8f", "#d9822b", "#6b9a4b", "#8464a8", "#c2553d", "#4f8f8b", "#9a7b2f",
                   "#777777")  # fmt: skip


def class_pair_map(statistics: Statistics) -> Figure:
    """Draw a map of the samples of every pair of the classes that are in most samples."""
    pairs: Counter[str] = Counter()
    for counted in statistics.class_pairs.values():
        pairs.update(counted)
    split = {tuple(pair.split(PAIR_JOINT)): number for pair, number in pairs.items()}
    uses: Counter[str] = Counter()
    for pair, number in split.items():
        uses.update(dict.fromkeys(pair, number))
    classes = [name for name, _ in sorted(uses.items(), key=lambda i: (-i[1], i[0]))]
    shown = sorted(classes[:_MOST_CLASSES])
    place = {name: at for at, name in enumerate(shown)}
    numbers = np.zeros((len(shown), len(shown)))
    for pair, number in split.items():
        # A sample of more than two images compares every class with every other one.
        for one in set(pair):
            for other in set(pair) if len(set(pair)) > 1 else {one}:
                if one in place and other in place and (one != other or len(set(pair)) == 1):
                    numbers[place[one], place[other]] += number
    cut = f"the {len(shown)} most used of " if len(classes) > len(shown) else ""
    side = 0.26 * len(shown)
    title = f"Samples that compare two classes ({cut}{len(classes)} classes)"
    figure = titled(statistics, title, max(6.5, side + 3), max(3, side + 1.4))
    draw_map(figure.add_subplot(), numbers, shown, shown, "samples")
    return figure


def draw_map(
    axes: Axes, numbers: NDArray[np.float64], rows: list[str], columns: list[str], unit: str
) -> None:
    """Draw a matrix of counts with the names of its rows and columns; 0 stays white.

    Args:
        axes: to draw on.
        numbers: (len(rows), len(columns)) at least 0.
        rows: names, from the top.
        columns: names, from the left.
        unit: what is counted, for the colour bar.
    """
    from matplotlib.colors import LogNorm

    most = max(numbers.max(initial=0), 1)
    # Counts of names differ by powers of ten; a linear scale would show the largest ones alone.
    norm = LogNorm(1, max(most, 10))
    image = axes.imshow(np.where(numbers > 0, numbers, np.nan), cmap="YlGnBu", norm=norm)
    axes.set_xticks(range(len(columns)), [legible(name) for name in columns], rotation=90)
    axes.set_yticks(range(len(rows)), [legible(name) for name in rows])
    plain_axes(axes, grid="")
    axes.tick_params(labelsize=7, length=0)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#eeeeee", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    if max(len(rows), len(columns)) <= _WITH_NUMBERS:
        for (row, column), number in np.ndenumerate(numbers):
            if number:
                colour = "white" if norm(number) > 0.55 else INK
                axes.text(column, row, f"{number:,.0f}", fontsize=6, color=colour,
                          ha="center", va="center")  # fmt: skip
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.6, format="{x:,.0f}")
    bar.set_label(unit, fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)


def rejects(statistics: Statistics) -> Figure:
    """Draw how many records were refused for each reason, by source."""
    totals: Counter[str] = Counter()
    for (_, _, level, reason), number in statistics.rejects.items():
        totals[f"{reason} ({level})"] += number
    reasons = [name for name, _ in sorted(totals.items(), key=lambda i: (-i[1], i[0]))]
    shown = reasons[:_MOST_REASONS]
    title = f"Records that were not used, by reason: {totals.total():,}"
    figure = titled(statistics, title, 8, 1.4 + 0.3 * max(1, len(shown)))
    axes = figure.add_subplot()
    if not shown:
        axes.set_axis_off()
        axes.text(0, 0.5, "none: every record of the sources was used", fontsize=9, color=INK)
        return figure
    sources = sorted({source for source, _, _, _ in statistics.rejects})
    left = np.zeros(len(shown))
    for number, source in enumerate(sources):
        widths = np.zeros(len(shown))
        for (of, _, level, reason), count in statistics.rejects.items():
            name = f"{reason} ({level})"
            if of == source and name in shown:
                widths[shown.index(name)] += count
        colour = _SOURCE_COLOURS[number % len(_SOURCE_COLOURS)]
        axes.barh(range(len(shown)), widths, 0.7, left, color=colour, label=legible(source))
        left += widths
    for place, total in enumerate(left):
        axes.annotate(f"{total:,.0f}", (total, place), (4, 0), textcoords="offset points",
                      va="center", fontsize=8, color=INK)  # fmt: skip
    axes.set_yticks(range(len(shown)), [legible(name) for name in shown])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    plain_axes(axes, grid="x")
    figure.legend(ncols=4, loc="outside lower left", frameon=False, fontsize=8)
    return figure
