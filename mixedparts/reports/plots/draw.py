"""All plots of a build's statistics, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mixedparts.reports.plots import counts, masks, names
from mixedparts.reports.plots.style import FORMATS, plot_style, save_figure
from mixedparts.reports.statistics import Statistics

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot that can be drawn.

    Attributes:
        draw: draws it.
        description: what it shows, in words.
    """

    draw: Callable[[Statistics], Figure]
    description: str


PLOTS = {
    "samples": Plot(counts.samples, "Numbers of samples by source, split and task, as bars"),
    "class_pair_map": Plot(
        names.class_pair_map,
        "How often two object classes are compared, as a map of class by class",
    ),
    "class_pairs": Plot(counts.class_pairs, "Samples of each class pair by rank"),
    "names": Plot(counts.names, "The most frequent object classes and part names, as bars"),
    "mask_areas": Plot(
        masks.mask_areas, "Shares of the image that masks cover, with the builder's thresholds"
    ),
    "mask_sizes": Plot(
        masks.mask_sizes, "Areas of masks in pixels, with COCO's limits of small, medium and large"
    ),
    "image_use": Plot(counts.image_use, "In how many samples images are, by source and task"),
    "answer_words": Plot(counts.answer_words, "Numbers of words of answers, by task"),
    "rejects": Plot(names.rejects, "Records that were not used, by reason and source"),
}


def figures(statistics: Statistics) -> Iterator[tuple[str, Plot, Figure]]:
    """Draw all plots, one after the other; use each before the next.

    Yields:
        Name, plot and figure.

    Raises:
        EnvironmentFault: matplotlib is not installed.
    """
    with plot_style():
        for name, plot in PLOTS.items():
            yield name, plot, plot.draw(statistics)


def draw_plots(statistics: Statistics, out: Path, formats: Iterable[str] = FORMATS) -> list[Path]:
    """Draw all plots into a folder.

    Args:
        statistics: counts of a build.
        out: the folder.
        formats: `png`, `svg`, `pdf`.

    Returns:
        The files.

    Raises:
        EnvironmentFault: matplotlib is not installed, or a file cannot be written.
    """
    kinds = list(formats)
    return [
        path
        for name, _, figure in figures(statistics)
        for path in save_figure(figure, out, name, kinds)
    ]
