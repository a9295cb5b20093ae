"""The sums of an evaluation from its tables, so that metrics can be computed again."""

from __future__ import annotations

import numpy as np
import pandas as pd

from calico.evaluation.average_precision import Detections
from calico.evaluation.scoring import ScoreTable, Sum
from calico.evaluation.tables.columns import sum_column
from calico.evaluation.tables.folder import ScoreFrames

_UNIT_ORDER = ["id", "image_id", "image", "predicted_order"]


def score_table(frames: ScoreFrames) -> ScoreTable:
    """Return the sums and detections that the tables were made from."""
    samples = frames.samples.sort_values("id", kind="stable", ignore_index=True)
    place = pd.Series(samples.index, index=samples["id"])
    # The fixed order of AP50: sample id, image id, image number, then the order of generation.
    said = frames.regions[frames.regions["predicted_order"].notna()]
    said = said.sort_values(_UNIT_ORDER, kind="stable")
    scored = said.iloc[np.argsort(-said["score"].to_numpy(), kind="stable")]
    return ScoreTable(
        ids=tuple(samples["id"]),
        tasks=tuple(samples["task"]),
        sources=tuple(samples["source"]),
        class_pairs=tuple(samples["class_pair"]),
        sums=samples[[sum_column(column) for column in Sum]].to_numpy(np.float64),
        detections=_detections(said, "ap50_hit", place),
        scored=_detections(scored, "ap50_scored_hit", place),
        missing=int((~samples["answered"]).sum()),
        segments=int(samples["predicted"].sum()),
        untagged=int(samples["untagged"].sum()),
    )


def _detections(said: pd.DataFrame, hit: str, place: pd.Series[int]) -> Detections:
    """Return the detections in the order of the rows, without those beyond the limit."""
    seen = said[said[hit].notna()]
    sample = place.reindex(seen["id"]).to_numpy().astype(np.int64)
    return Detections(sample, seen[hit].to_numpy().astype(bool))
