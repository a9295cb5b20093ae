"""A set of predictions with everything that `calico-eval` makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calico.evaluation.report import Scored
from calico.evaluation.scoring import ScoreTable
from calico.evaluation.tables.collect import ScoreRows


@dataclass(frozen=True, slots=True)
class Result:
    """One set of predictions, scored.

    Attributes:
        scored: its metrics.
        table: its sums.
        rows: scores of samples and regions, None where nothing is made from them.
        origin: name, kind and digest of the predictions, as JSON values.
    """

    scored: Scored
    table: ScoreTable
    rows: ScoreRows | None
    origin: Mapping[str, Any]
