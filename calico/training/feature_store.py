"""Features of frozen encoders, computed once and stored in half precision on disk.

A store belongs to exactly one combination of images, preprocessing and weights: the name of its
folder is a digest of all three, so features of other weights are never read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calico.config.calico import ExecutionConfig
from calico.dataset.images import ImageTable
from calico.dataset.views import View
from calico.model.vision import ImageEncoders, ImageFeatures, ImageInputs
from calico.processing.encoding_batches import batch_sizes
from calico.processing.feature_encoder import weights_digest
from calico.processing.images import PARTS, ImageProcessor, Pixels, open_image
from calico.processing.prepared import Allocate, PartPiece, PreparedImages
from calico.processing.workers import in_order, lost_workers_reported
from mixedparts.errors import InputError, UsageError
from mixedparts.files.opening import check_regular
from mixedparts.files.temporary import temporary_beside
from mixedparts.progress import Progress
from mixedparts.settings.local_paths import typed

_PIECE = 8  # images that a worker process prepares at once


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

    @property
    def source(self) -> FeatureStore:
        """What prepares images, here or in a worker process."""
        return self

    def read(self, images: Sequence[tuple[int, View]]) -> ImageFeatures:
        """Return features of images in float32, each given by its row and view.

        Raises:
            UsageError: a view is cropped or tinted, or mirrored where the store has none such.
        """
        return self.finish([self.prepare(images)]).to(torch.device("cpu"), torch.float32)

    def prepare(
        self, images: Sequence[tuple[int, View]], allocate: Allocate | None = None
    ) -> PreparedImages:
        """Read the features of images in half precision; there are no pixels to allocate.

        Raises:
            UsageError: a view is cropped or tinted, or mirrored where the store has none such.
        """
        if not all(view.whole and view.mirrored < self.variants for _, view in images):
            raise UsageError(
                "the store of features contains whole images"
                + (", not mirrored" if self.variants == 1 else ""),
                "Set training.features to encode for other views.",
            )
        count = len(self.rows)
        # Reading by index copies only the rows of this batch from the memory-mapped files.
        places = [self.rows[row] + count * view.mirrored for row, view in images]
        found = tuple(range(len(places)))
        return PreparedImages(
            len(places),
            {
                name: PartPiece(
                    found, torch.from_numpy(self.arrays[name][places]), (), None, (), ()
                )
                for name in PARTS
            },
        )

    def finish(self, pieces: Iterable[PreparedImages]) -> ImageFeatures:
        """Return the features of prepared images in half precision, on the CPU."""
        columns: dict[str, list[Tensor]] = {name: [] for name in PARTS}
        for piece in pieces:
            for name, part in piece.parts.items():
                if part.features is not None:
                    columns[name].append(part.features)
        return ImageFeatures(**{name: torch.cat(values) for name, values in columns.items()})


def feature_store(
    encoders: ImageEncoders,
    table: ImageTable,
    rows: Sequence[int],
    processor: ImageProcessor,
    folder: Path,
    mirrored: bool,
    progress: Progress,
    batch_size: int = 32,
    execution: ExecutionConfig | None = None,
    workers: int = 0,
) -> FeatureStore:
    """Return the store of some images; it is computed where it does not exist yet.

    Args:
        encoders: frozen, in evaluation mode.
        table: of the images.
        rows: of the images to encode, ascending.
        processor: resizes and normalises.
        folder: contains the stores of all combinations.
        mirrored: also encode every image mirrored.
        progress: reports the number of encoded images.
        batch_size: images encoded at once on a CPU, unless `execution` says otherwise.
        execution: may have the number of images that an encoder takes at once.
        workers: processes that decode and resize images; 0: this one does.

    Returns:
        The store, memory-mapped.

    Raises:
        InputError: an image does not decode, or a stored file is damaged.
        EnvironmentFault: a worker was killed.
    """
    sizes = _sizes(encoders, processor, execution or ExecutionConfig(), batch_size)
    key = _key(encoders, table, rows, processor, mirrored, sizes, batch_size)
    place = folder / key
    # A folder under its final name is complete: an interrupted computation leaves none.
    if not place.is_dir():
        temporary = temporary_beside(place)
        try:
            temporary.mkdir(parents=True)
            opened = _opened(table, rows, processor, workers, batch_size)
            with lost_workers_reported():
                _compute(
                    encoders, processor, opened, len(rows), temporary, mirrored, progress, sizes
                )
            temporary.rename(place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    arrays = {name: _stored(place / f"{name}.npy", (1 + mirrored) * len(rows)) for name in PARTS}
    return FeatureStore({row: index for index, row in enumerate(rows)}, 1 + mirrored, arrays)


def _key(
    encoders: ImageEncoders,
    table: ImageTable,
    rows: Sequence[int],
    processor: ImageProcessor,
    mirrored: bool,
    sizes: Mapping[str, int],
    batch_size: int,
) -> str:
    """Return a digest of everything that the features of a store depend on."""
    digests = [table.digest(row) for row in rows]
    # The names here are hashed: another name would make every existing store unknown.
    dependencies: dict[str, object] = {
        "weights": weights_digest(encoders),
        "processing": processor.description(),
        "pictures": digests,
        "mirrored": mirrored,
    }
    # The last bit may depend on how many images are encoded at once.
    if any(size != batch_size for size in sizes.values()):
        dependencies["batches"] = sizes
    return hashlib.sha256(json.dumps(dependencies, sort_keys=True).encode()).hexdigest()[:20]


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
            f"Type: rm -r {typed(path.parent)}   and run the command again, which computes them"
            " again.",
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


def _sizes(
    encoders: ImageEncoders, processor: ImageProcessor, execution: ExecutionConfig, on_cpu: int
) -> dict[str, int]:
    """Return how many images each encoder takes at once; `on_cpu` is the default on a CPU."""
    device = next(encoders.parameters()).device
    sizes = batch_sizes(encoders, processor, execution, device)
    if device.type != "cpu":
        return sizes
    return {part: execution.encode_batch.get(part, 0) or on_cpu for part in sizes}


def _opened(
    table: ImageTable, rows: Sequence[int], processor: ImageProcessor, workers: int, size: int
) -> Iterator[list[Pixels]]:
    """Yield the images of some rows, resized, in lists of `size`.

    Args:
        table: of the images.
        rows: ascending.
        processor: resizes them.
        workers: processes that do so; 0: this one does.
        size: images of a list; the last one may have fewer.

    Yields:
        Lists of resized images.
    """
    pieces = [rows[start : start + _PIECE] for start in range(0, len(rows), _PIECE)]
    waiting: list[Pixels] = []
    # Two pieces a worker, one in the making and one ready: 3.3 MB an image for the 7B model.
    for piece in in_order(partial(_resized, table, processor), pieces, workers, 2 * workers):
        waiting += piece
        while len(waiting) >= size:
            yield waiting[:size]
            del waiting[:size]
    if waiting:
        yield waiting


def _resized(table: ImageTable, processor: ImageProcessor, rows: Sequence[int]) -> list[Pixels]:
    """Return the images of some rows, resized for the encoders."""
    return [
        processor.pixels(open_image(table.read(row), f"in row {row} of the images table"))
        for row in rows
    ]


@torch.inference_mode()
def _compute(
    encoders: ImageEncoders,
    processor: ImageProcessor,
    opened: Iterable[list[Pixels]],
    count: int,
    folder: Path,
    mirrored: bool,
    progress: Progress,
    sizes: Mapping[str, int],
) -> None:
    """Encode images and write one array per encoder into `folder`."""
    device = next(encoders.parameters()).device
    arrays: dict[str, NDArray[np.float16]] = {}
    progress.start("encoding images", count, "images")
    start = 0
    for pixels in opened:
        for variant in range(1 + mirrored):
            shown = [image.flipped() for image in pixels] if variant else pixels
            for name in PARTS:
                values = _half(encoders, processor, name, shown, sizes[name], device)
                # Shapes are known only after the first batch. The files are as large as all
                # features: they are written in place and never held in memory.
                if name not in arrays:
                    shape = ((1 + mirrored) * count, *values.shape[1:])
                    arrays[name] = _reserved(folder / f"{name}.npy", shape)
                offset = variant * count + start
                arrays[name][offset : offset + len(pixels)] = values
        start += len(pixels)
        progress.advance(len(pixels))
    for array in arrays.values():
        array.flush()  # type: ignore[attr-defined]
    progress.finish()


def _half(
    encoders: ImageEncoders,
    processor: ImageProcessor,
    part: str,
    images: Sequence[Pixels],
    size: int,
    device: torch.device,
) -> NDArray[np.float16]:
    """Return the features of images by one encoder, `size` images at a time."""
    values = []
    for start in range(0, len(images), size):
        pixels = processor.part_inputs(part, images[start : start + size], device)
        features = encoders.encode_part(part, ImageInputs(pixels, pixels, pixels))
        values.append(features.half().cpu().numpy())
    # Not torch's `cat`: autocast to bf16, which surrounds this, refuses half precision.
    return np.concatenate(values)
