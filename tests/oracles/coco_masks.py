"""Decoding of COCO segmentations by raw pycocotools."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

Dense = NDArray[np.bool_]


def dense(segmentation: Any, height: int, width: int) -> Dense:
    """Decode any COCO segmentation with raw pycocotools."""
    rles = segmentation
    if isinstance(segmentation, list):
        rles = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        rles = coco_mask.frPyObjects(segmentation, height, width)
    return coco_mask.decode(rles).astype(bool)
