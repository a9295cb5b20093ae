"""What the three native layouts have in common: the contract of a writer, and its small tools."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from mixedparts import masks
from mixedparts.synthetic.raster import Mask

DESCRIPTION = (
    "Synthetic data: pictures drawn by a program (mixedparts sample) with exact part masks; "
    "no photograph, no human annotation."
)
INFO = {"description": DESCRIPTION, "version": "1", "contributor": "mixedparts sample"}


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one image adds to the annotation file of its split.

    Attributes:
        split: the layout's own name of the split.
        image, annotations: encoded JSON objects.
        categories: category ids of the annotations, once for each.
    """

    split: str
    image: bytes
    annotations: tuple[bytes, ...]
    categories: tuple[int, ...]


class NativeLayout(ABC):
    """One source's native files.

    Attributes:
        source: name in the manifests.
        roots: folders under the output folder that the layout owns; each gets a SYNTHETIC.md.
        files: annotation file of each split, relative to the output folder.
        pictures: glob patterns, relative to the output folder, of the files a run writes.
    """

    source: ClassVar[str]
    roots: ClassVar[tuple[str, ...]]
    files: ClassVar[Mapping[str, str]]
    pictures: ClassVar[tuple[str, ...]]

    @abstractmethod
    def folders(self) -> Sequence[str]:
        """Return the folders to make, relative to the output folder."""

    @abstractmethod
    def write(self, out: Path, seed: int, index: int) -> Fragment:
        """Draw image `index`, write its files and return its annotations."""

    @abstractmethod
    def blocks(self, train: Counter[int], train_images: Counter[int]) -> dict[str, Any]:
        """Return the other top-level keys of an annotation file.

        Args:
            train: annotations of each category id in the train split.
            train_images: images with that category id in the train split.
        """


def split_of(index: int) -> str:
    """Return train, val or test for image `index`: 14, 3 and 3 of any 20 in a row."""
    return {2: "val", 9: "val", 16: "val", 6: "test", 13: "test", 18: "test"}.get(
        index % 20, "train"
    )


def box_of(mask: Mask) -> list[float]:
    """Return the tight box x, y, w, h of a mask that is not empty, in pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return [float(x), float(y), float(columns[-1] + 1 - x), float(rows[-1] + 1 - y)]


def rle_of(mask: Mask) -> dict[str, Any]:
    """Return a mask as the compressed RLE dict of a JSON file."""
    rle = masks.from_dense(mask)
    return {"size": [rle.height, rle.width], "counts": rle.counts.decode("ascii")}


def encode(value: object) -> bytes:
    """Return a value as compact JSON, keys in their given order."""
    return msgspec.json.encode(value)


def png(label_map: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Return a one-channel label map as a PNG file of its own bit depth."""
    _, data = cv2.imencode(".png", label_map)
    return data.tobytes()
