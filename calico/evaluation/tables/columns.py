"""Columns of the two tables of scores; docs/evaluation.md describes each of them."""

from __future__ import annotations

from enum import StrEnum

import pyarrow as pa

from calico.evaluation.scoring import Sum
from calico.evaluation.summary import RATIOS
from calico.predictions.types import COUNTED

# Must change with every change of a column's name, type or meaning: readers refuse another one.
FORMAT = "calico-scores/1"
METADATA_KEY = b"calico_scores"


class Match(StrEnum):
    """Whether a region has a partner among the greedy pairs, those of mIoU."""

    MATCHED = "matched"
    MISSED = "missed"
    FALSE_POSITIVE = "false_positive"


class Outcome(StrEnum):
    """What became of a region, as a person would say it: a mask is right from IoU .5 on."""

    FOUND = "found"
    WRONG_NAME = "wrong_name"
    POOR_MASK = "poor_mask"
    MISSED = "missed"
    FALSE_POSITIVE = "false_positive"


def sum_column(column: Sum) -> str:
    """Return the name of the column of a sum; ratios have some of the names without `sum_`."""
    return f"sum_{column.name.lower()}"


_ORIGIN = [("id", pa.string()), ("source", pa.string()), ("split", pa.string())]
_ORIGIN += [("task", pa.string()), ("class_pair", pa.string())]

SAMPLES = pa.schema(
    [
        *_ORIGIN,
        ("classes", pa.list_(pa.string())),
        ("image_ids", pa.list_(pa.string())),
        ("answered", pa.bool_()),
        ("annotated", pa.int32()),
        ("predicted", pa.int32()),
        *((str(outcome), pa.int32()) for outcome in Outcome),
        *((metric, pa.float64()) for metric in RATIOS),
        *((name, pa.int32()) for name in COUNTED),
        *((sum_column(column), pa.float64()) for column in Sum),
    ]
)

REGIONS = pa.schema(
    [
        *_ORIGIN,
        ("image", pa.int8()),
        ("image_id", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("kind", pa.string()),
        ("name", pa.string()),
        ("name_key", pa.string()),
        ("order", pa.int32()),
        ("area", pa.int64()),
        ("area_share", pa.float64()),
        ("bbox", pa.list_(pa.float32())),
        ("predicted_name", pa.string()),
        ("predicted_key", pa.string()),
        ("predicted_order", pa.int32()),
        ("predicted_area", pa.int64()),
        ("predicted_bbox", pa.list_(pa.float32())),
        ("predicted_mask", pa.string()),
        ("score", pa.float64()),
        ("match", pa.string()),
        ("outcome", pa.string()),
        ("iou", pa.float64()),
        ("text_similarity", pa.float64()),
        ("word_iou", pa.float64()),
        ("same_name", pa.bool_()),
        ("recall_glamm_hit", pa.bool_()),
        ("recall_fixed_hit", pa.bool_()),
        ("ap50_hit", pa.bool_()),
        ("ap50_scored_hit", pa.bool_()),
    ]
)
