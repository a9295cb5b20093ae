"""Evaluation: ground truth, the five metrics and their variants, baselines, scores and reports."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from calico.evaluation.tables.folder import scores as scores

__all__ = ["scores"]


def __getattr__(name: str) -> Any:
    """Import `scores` on first use: pandas takes half a second."""
    if name == "scores":
        from calico.evaluation.tables.folder import scores

        return scores
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
