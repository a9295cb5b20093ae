"""Statistics of a build as pandas frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mixedparts.reports.statistics import LEVELS, PAIR_JOINT, Statistics, collect
from mixedparts.reports.statistics_report import paper_rows


@dataclass(frozen=True)
class StatisticsFrames:
    """The counts of a build, one frame each; sorted, so that equal builds give equal frames.

    Attributes:
        build_id: of the build.
        synthetic: whether any source is synthetic.
        samples: `split`, `source`, `task`, `samples`.
        images: `split`, `source`, `images`.
        classes: `name`, `masks` in all rows of `pairs`, most frequent first.
        parts: the same for names of parts.
        class_pairs: `source`, `task`, `first`, `second` (by the alphabet), `samples`; classes of
            further images are joined in `second`.
        image_use: `source`, `task`, `split`, `row` of the table `images`, `samples` that show it.
        masks: `level` (`object` or `part`), `pixels`, `share` of its image, every mask once.
        answer_words: `task`, `words`, `answers`.
        rejects: `source`, `split`, `level`, `reason`, `records`.
        paper: `figure`, `published`, `here`, `where` it was published.
    """

    build_id: str
    synthetic: bool
    samples: pd.DataFrame
    images: pd.DataFrame
    classes: pd.DataFrame
    parts: pd.DataFrame
    class_pairs: pd.DataFrame
    image_use: pd.DataFrame
    masks: pd.DataFrame
    answer_words: pd.DataFrame
    rejects: pd.DataFrame
    paper: pd.DataFrame

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the numbers of samples."""
        table = self.samples.pivot_table(
            index=["source", "split"], columns="task", values="samples", aggfunc="sum", fill_value=0
        )
        html: str = table.to_html()
        return html


def stats(build: str | Path) -> StatisticsFrames:
    """Count the samples, images, names, masks and answers of a build.

    Args:
        build: folder of the build.

    Returns:
        The counts as pandas frames.

    Raises:
        InputError: there is no finished build in the folder, or a file of it is damaged.
    """
    return frames_of(collect(Path(build)))


def frames_of(statistics: Statistics) -> StatisticsFrames:
    """Return counts as pandas frames."""
    return StatisticsFrames(
        build_id=str(statistics.manifest["build_id"]),
        synthetic=bool(statistics.manifest["synthetic"]),
        samples=_counted(statistics.samples, ["split", "source", "task"], "samples"),
        images=_counted(statistics.images, ["split", "source"], "images"),
        classes=_ranked(statistics.classes),
        parts=_ranked(statistics.parts),
        class_pairs=_class_pairs(statistics),
        image_use=_image_use(statistics),
        masks=pd.concat([_masks(statistics, level) for level in LEVELS], ignore_index=True),
        answer_words=_counted(
            {(t, w): n for t, words in statistics.words.items() for w, n in words.items()},
            ["task", "words"],
            "answers",
        ),
        rejects=_counted(statistics.rejects, ["source", "split", "level", "reason"], "records"),
        paper=pd.DataFrame(
            paper_rows(statistics), columns=["figure", "published", "here", "where"]
        ),
    )


def _counted(counts: Mapping[Any, int], keys: Sequence[str], value: str) -> pd.DataFrame:
    rows = [(*key, number) for key, number in sorted(counts.items())]
    return pd.DataFrame(rows, columns=[*keys, value])


def _ranked(counts: Counter[str]) -> pd.DataFrame:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return pd.DataFrame(ranked, columns=["name", "masks"])


def _class_pairs(statistics: Statistics) -> pd.DataFrame:
    rows = [
        (source, task, *pair.partition(PAIR_JOINT)[::2], number)
        for (source, task), counts in sorted(statistics.class_pairs.items())
        for pair, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    return pd.DataFrame(rows, columns=["source", "task", "first", "second", "samples"])


def _image_use(statistics: Statistics) -> pd.DataFrame:
    parts = []
    for (source, task), splits in sorted(statistics.image_use.items()):
        for split, counts in splits.items():
            used = np.flatnonzero(counts)
            columns = {"source": source, "task": task, "split": split, "row": used}
            parts.append(pd.DataFrame({**columns, "samples": counts[used]}))
    empty = pd.DataFrame(columns=["source", "task", "split", "row", "samples"])
    return pd.concat(parts, ignore_index=True) if parts else empty


def _masks(statistics: Statistics, level: str) -> pd.DataFrame:
    columns = {"pixels": statistics.areas[level], "share": statistics.shares[level]}
    return pd.DataFrame({"level": level, **columns})
