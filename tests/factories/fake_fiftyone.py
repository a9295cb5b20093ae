"""The part of FiftyOne 1.22 that the converter uses, in memory: the real one needs MongoDB.

Names and arguments are those of the library. `pasted` does what `Detection.to_segmentation` does
with a mask (`eta.core.image.render_instance_mask`): it cuts off the decimals of the box's corners.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any
from uuid import uuid4

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Group:
    id: str = field(default_factory=lambda: uuid4().hex)
    name: str | None = None

    def element(self, name: str) -> Group:
        return Group(self.id, name)


@dataclass(frozen=True)
class ImageMetadata:
    width: int
    height: int


class Detection:
    def __init__(
        self,
        label: str,
        bounding_box: list[float],
        mask: NDArray[np.bool_] | None = None,
        **attributes: Any,
    ) -> None:
        self.label, self.bounding_box, self.mask = label, bounding_box, mask
        self.__dict__.update(attributes)

    def pasted(self, width: int, height: int) -> NDArray[np.bool_]:
        """Return the mask as (H, W) bool on an image of that size."""
        x, y, w, h = self.bounding_box
        left, top = int(width * x), int(height * y)
        right, bottom = int(width * (x + w)), int(height * (y + h))
        image = np.zeros((height, width), bool)
        if self.mask is not None:
            size = (right - left, bottom - top)
            image[top:bottom, left:right] = cv2.resize(self.mask.astype(np.uint8), size) > 0
        return image


@dataclass(frozen=True)
class Detections:
    detections: list[Detection]


class Sample:
    def __init__(
        self, filepath: str, tags: list[str], metadata: ImageMetadata, **fields: Any
    ) -> None:
        self.filepath, self.tags, self.metadata = filepath, tags, metadata
        self.__dict__.update(fields)


class Dataset:
    stored: dict[str, Dataset]

    def __init__(self, name: str) -> None:
        self.name, self.persistent = name, False
        self.samples: list[Any] = []
        self.default_group_slice: str | None = None
        self.stored[name] = self

    def delete(self) -> None:
        del self.stored[self.name]

    def add_group_field(self, field_name: str, default: str | None = None) -> None:
        assert field_name == "group"
        self.default_group_slice = default

    def add_samples(self, samples: Iterable[Sample], dynamic: bool = False) -> None:
        self.samples += samples


def fake_fiftyone() -> ModuleType:
    """Return a module with a database of its own."""
    module: Any = ModuleType("fiftyone")
    own = type("Dataset", (Dataset,), {"stored": {}})
    for one in (Group, ImageMetadata, Detection, Detections, Sample):
        setattr(module, one.__name__, one)
    module.Dataset = own
    module.dataset_exists = lambda name: name in own.stored
    return module
