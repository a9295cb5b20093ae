"""Statistics of a build as one self-contained HTML page, with all plots inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mixedparts.cards.templates import render
from mixedparts.errors import EnvironmentFault
from mixedparts.reports.frames import StatisticsFrames, frames_of
from mixedparts.reports.plots.draw import figures
from mixedparts.reports.plots.style import svg_of
from mixedparts.reports.statistics import COCO_LIMITS, Statistics, coco_sizes
from mixedparts.storage.shards import written_beside

if TYPE_CHECKING:
    import pandas as pd

_MOST_ROWS = 200


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the page; `note` says how many rows are not shown."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""


def write_statistics_page(statistics: Statistics, out: Path) -> None:
    """Write the page.

    Args:
        statistics: counts of a build.
        out: the file.

    Raises:
        EnvironmentFault: matplotlib is not installed, or the file cannot be written.
    """
    frames = frames_of(statistics)
    drawn = [
        {
            "name": name,
            "description": plot.description,
            "address": f"data:image/svg+xml;base64,{base64.b64encode(svg_of(figure)).decode()}",
        }
        for name, plot, figure in figures(statistics)
    ]
    page = render(
        "mixedparts.reports",
        "statistics.html.jinja",
        build_id=frames.build_id,
        synthetic=frames.synthetic,
        samples=int(frames.samples["samples"].sum()),
        images=int(frames.images["images"].sum()),
        tables=_tables(statistics, frames),
        figures=drawn,
    )
    try:
        with written_beside(out, flush=False) as temporary:
            temporary.write_text(page, "utf-8")
    except OSError as error:
        raise EnvironmentFault(f"{out} cannot be written: {error.strerror or error}") from error


def _tables(statistics: Statistics, frames: StatisticsFrames) -> list[_Table]:
    limits = {
        name: f"{name} (below {int(limit**0.5)}² pixels)" for name, limit in COCO_LIMITS.items()
    }
    sizes = [
        [level, *coco_sizes(areas).values(), areas.size]
        for level, areas in statistics.areas.items()
    ]
    return [
        _table("Samples by source, split and task", _samples(frames.samples)),
        _Table("Sizes of masks", ["masks of", *limits.values(), "large", "together"], sizes),
        _table("Class pairs", frames.class_pairs.sort_values(
            ["samples", "first", "second"], ascending=[False, True, True])),
        _table("Object classes", frames.classes),
        _table("Parts", frames.parts),
        _table("Records that were not used", frames.rejects.sort_values(
            "records", ascending=False, kind="stable")),
        _table("Beside the paper's dataset", frames.paper),
    ]  # fmt: skip


def _samples(samples: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of samples with a column a task."""
    wide = samples.pivot_table(
        index=["source", "split"], columns="task", values="samples", aggfunc="sum", fill_value=0
    )
    return wide.assign(together=wide.sum(axis=1)).reset_index()


def _table(title: str, frame: pd.DataFrame) -> _Table:
    rows = frame.head(_MOST_ROWS).astype(object).to_numpy().tolist()
    more = len(frame) - len(rows)
    note = (
        f"The first {len(rows)} rows; {more} more are in mixedparts stats --json." if more else ""
    )
    return _Table(f"{title}: {len(frame):,}", [str(name) for name in frame.columns], rows, note)
