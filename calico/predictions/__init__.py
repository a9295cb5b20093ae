"""Predictions as values, as JSON lines, and as files."""

from __future__ import annotations

from calico.predictions.types import InvalidPrediction, Prediction, Segment

__all__ = ["InvalidPrediction", "Prediction", "Segment"]
