"""The contract of a native layout's writer, and functions that the three writers share."""

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
# Written into every annotation file, so that the data cannot be taken for photographs.
INFO = {"description": DESCRIPTION, "version": "1", "contributor": "mixedparts sample"}


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one image adds to the annotation file of its split.

    Attributes:
        split: the layout's own name of the split.
        image: JSON object of the image.
        annotations: JSON objects of its annotations.
        categories: category id of each annotation, in their order.
    """

    split: str
    image: bytes
    annotations: tuple[bytes, ...]
    categories: tuple[int, ...]


class NativeLayout(ABC):
    """The native files of one source.

    Attributes:
        source: name in the manifests.
        roots: folders under the output folder that the layout owns; each gets a SYNTHETIC.md.
        files: annotation file of each split, relative to the output folder.
        image_file_globs: glob patterns, relative to the output folder, of all files that a run
            writes for its images.
    """

    source: ClassVar[str]
    roots: ClassVar[tuple[str, ...]]
    files: ClassVar[Mapping[str, str]]
    image_file_globs: ClassVar[tuple[str, ...]]

    @abstractmethod
    def folders(self) -> Sequence[str]:
        """Return the folders to create, relative to the output folder."""

    @abstractmethod
    def write(self, out: Path, seed: int, index: int) -> Fragment:
        """Draw one image, write its files and return its annotations.

        Args:
            out: folder of the sources.
            seed: of the run.
            index: of the image in its source, from 0.

        Returns:
            The records for the annotation file.
        """

    @abstractmethod
    def blocks(self, train: Counter[int], train_images: Counter[int]) -> dict[str, Any]:
        """Return the other top-level keys of an annotation file.

        Args:
            train: annotations of each category id in the train split.
            train_images: images with that category id in the train split.
        """


def split_of(index: int) -> str:
    """Return train, val or test for image `index`: 14, 3 and 3 of any 20 consecutive images."""
    # Spread evenly and not at random, so that small sets have images in every split too.
    return {2: "val", 9: "val", 16: "val", 6: "test", 13: "test", 18: "test"}.get(
        index % 20, "train"
    )


def box_of(mask: Mask) -> list[float]:
    """Return the tight box x, y, w, h of a non-empty `(H, W)` bool mask, in pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return [float(x), float(y), float(columns[-1] + 1 - x), float(rows[-1] + 1 - y)]


def rle_of(mask: Mask) -> dict[str, Any]:
    """Return a `(H, W)` bool mask as the compressed RLE dict of a COCO JSON file."""
    rle = masks.from_dense(mask)
    return {"size": [rle.height, rle.width], "counts": rle.counts.decode("ascii")}


def encode(value: object) -> bytes:
    """Return a value as compact JSON, keys in insertion order."""
    return msgspec.json.encode(value)


def png(label_map: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Return an `(H, W)` label map as the bytes of a grey PNG of the same bit depth."""
    _, data = cv2.imencode(".png", label_map)
    return data.tobytes()
