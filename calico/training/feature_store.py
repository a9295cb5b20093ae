"""Features of frozen encoders, computed once and stored in half precision on disk.

A store belongs to exactly one combination of images, preprocessing and weights: the name of its
folder is a digest of all three, so features of other weights are never read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from calico.dataset.images import ImageTable
from calico.dataset.views import View
from calico.model.vision import ImageEncoders, ImageFeatures
from calico.processing.feature_encoder import PARTS, weights_digest
from calico.processing.images import ImageProcessor, open_image
from mixedparts.errors import InputError, UsageError
from mixedparts.files.opening import check_regular
from mixedparts.progress import Progress


@dataclass(frozen=True)
class FeatureStore:
    """Features of some rows of one images table, memory-mapped.

    Attributes:
        rows: row of the images table to index in the arrays.
        variants: 2 with mirrored images, which follow the others, else 1.
        arrays: one (variants * rows, …) float16 array per encoder.
    """

    rows: dict[int, int]
    variants: int
    arrays: dict[str, NDArray[np.float16]]

    def vision(self) -> torch.Tensor:
        """Return all global features (variants * rows, 1 + patches, C_e) in half precision."""
        return torch.from_numpy(np.array(self.arrays["vision"]))

    def read(self, images: Sequence[tuple[int, View]]) -> ImageFeatures:
        """Return features of images in float32, each given by its row and view.

        Raises:
            UsageError: a view is cropped or tinted, or mirrored where the store has none such.
        """
        if not all(view.whole and view.mirrored < self.variants for _, view in images):
            raise UsageError(
                "the store of features holds whole images"
                + (", not mirrored" if self.variants == 1 else ""),
                "Set training.features to encode for other views.",
            )
        count = len(self.rows)
        # Reading by index copies only the rows of this batch from the memory-mapped files.
        places = [self.rows[row] + count * view.mirrored for row, view in images]
        return ImageFeatures(
            *(torch.from_numpy(self.arrays[name][places]).float() for name in PARTS)
        )


def feature_store(
    encoders: ImageEncoders,
    table: ImageTable,
    rows: Sequence[int],
    processor: ImageProcessor,
    folder: Path,
    mirrored: bool,
    progress: Progress,
    batch_size: int = 32,
) -> FeatureStore:
    """Return the store of some images; it is computed where it does not exist yet.

    Args:
        encoders: frozen, in evaluation mode.
        table: of the images.
        rows: of the images to encode, ascending.
        processor: resizes and normalises.
        folder: holds the stores of all combinations.
        mirrored: also encode every image mirrored.
        progress: reports the number of encoded images.
        batch_size: images encoded at once.

    Returns:
        The store, memory-mapped.

    Raises:
        InputError: an image does not decode, or a stored file is damaged.
    """
    digests = [table.digest(row) for row in rows]
    # The names here are hashed: another name would make every existing store unknown.
    dependencies = {
        "weights": weights_digest(encoders),
        "processing": processor.description(),
        "pictures": digests,
        "mirrored": mirrored,
    }
    key = hashlib.sha256(json.dumps(dependencies, sort_keys=True).encode()).hexdigest()[:20]
    place = folder / key
    # A folder under its final name is complete: an interrupted computation leaves none.
    if not place.is_dir():
        temporary = folder / f".{key}.{os.getpid()}.tmp"
        try:
            temporary.mkdir(parents=True)
            _compute(encoders, table, rows, processor, temporary, mirrored, progress, batch_size)
            temporary.rename(place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    arrays = {name: _stored(place / f"{name}.npy", (1 + mirrored) * len(rows)) for name in PARTS}
    return FeatureStore({row: index for index, row in enumerate(rows)}, 1 + mirrored, arrays)


def _stored(path: Path, count: int) -> NDArray[np.float16]:
    """Return a stored array, memory-mapped.

    Args:
        path: the file.
        count: its number of rows.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        check_regular(path)
        array: NDArray[np.float16] = np.load(path, mmap_mode="r")
        whole = array.dtype == np.float16 and array.ndim > 1 and len(array) == count
        reason = f"it has {array.dtype} values of shape {array.shape}"
    # A header of NumPy is a Python literal, whose parser raises errors of its own.
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError, RecursionError) as error:
        whole, reason = False, str(error)
    if not whole:
        raise InputError(
            f"the stored features {path} are damaged: {reason}",
            f"Type: rm -r {path.parent}   and run the command again, which computes them again.",
        )
    return array


def _reserved(path: Path, shape: tuple[int, ...]) -> NDArray[np.float16]:
    """Return a new array on disk, memory-mapped, whose space is reserved.

    Args:
        path: of its file.
        shape: of the array.

    Raises:
        OSError: the disk has too little space.
    """
    array: NDArray[np.float16] = np.lib.format.open_memmap(path, "w+", np.float16, shape)
    # The new file has holes. A hole that the disk has no space for kills the process at the first
    # write into it (SIGBUS), so the space is reserved while it can still be reported.
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


@torch.inference_mode()
def _compute(
    encoders: ImageEncoders,
    table: ImageTable,
    rows: Sequence[int],
    processor: ImageProcessor,
    folder: Path,
    mirrored: bool,
    progress: Progress,
    batch_size: int,
) -> None:
    """Encode images and write one array per encoder into `folder`."""
    device = next(encoders.parameters()).device
    arrays: dict[str, NDArray[np.float16]] = {}
    progress.start("encoding images", len(rows), "images")
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        pixels = [
            processor.pixels(open_image(table.read(row), f"in row {row} of the images table"))
            for row in part
        ]
        for variant in range(1 + mirrored):
            shown = [image.flipped() for image in pixels] if variant else pixels
            features = encoders(processor.inputs(shown).to(device, torch.float32))
            for name in PARTS:
                values = getattr(features, name).half().cpu().numpy()
                # Shapes are known only after the first batch. The files are as large as all
                # features: they are written in place and never held in memory.
                if name not in arrays:
                    shape = ((1 + mirrored) * len(rows), *values.shape[1:])
                    arrays[name] = _reserved(folder / f"{name}.npy", shape)
                offset = variant * len(rows) + start
                arrays[name][offset : offset + len(part)] = values
        progress.advance(len(part))
    for array in arrays.values():
        array.flush()  # type: ignore[attr-defined]
    progress.finish()
