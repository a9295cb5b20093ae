"""Prepares the images of a folder for the 7B model's encoders, in this tree or an earlier one.

`benchmarks.feeding_speed` starts this file with the tree to import from as PYTHONPATH. It prints
JSON: seconds, CPU seconds of all processes, and a digest of the first inputs.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch

_DIGESTED = 6  # images whose inputs are compared
_PIECE = 8  # images of a worker's task, as in training
# Tasks: few, so that every slot of memory is used often, as in a run of hours.
_AHEAD = 4


def earlier(paths: list[Path]) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the inputs of each image as commit c2a0771 makes them."""
    from calico.presets import preset

    from calico.processing import ImageProcessor, open_picture

    processor = ImageProcessor(preset("7b"))
    for path in paths:
        pixels = processor.pixels(open_picture(path.read_bytes(), path.name))
        inputs = processor.inputs([pixels])
        yield {part: getattr(inputs, part) for part in ("vision", "semantic", "sam")}


def now(paths: list[Path], workers: int) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the inputs of each image as this tree makes them, `workers` processes ahead."""
    from calico.config.presets import preset
    from calico.processing.images import ImageProcessor
    from calico.processing.normalisation import normalised
    from calico.processing.prepared import ImagePreparer
    from calico.processing.workers import in_order, outstanding
    from calico.training.feeding.slots import Slots

    preparer = ImagePreparer(ImageProcessor(preset("7b")))
    pieces = [paths[start : start + _PIECE] for start in range(0, len(paths), _PIECE)]
    slots = None
    if workers:
        slots = Slots(outstanding(workers, _AHEAD) + 2, _PIECE * preparer.processor.image_bytes)
    tasks = ((piece, number % len(slots or pieces)) for number, piece in enumerate(pieces))
    for piece in in_order(partial(_prepared, preparer, slots), tasks, workers, _AHEAD):
        piece = slots.unpacked(piece) if slots else piece
        for number in range(piece.count):
            yield {
                name: normalised(name, part.pixels[number : number + 1], [part.inner[number]])
                for name, part in piece.parts.items()
            }


def _prepared(preparer: Any, slots: Any, task: tuple[list[Path], int]) -> Any:
    from calico.processing.images import open_image
    from calico.processing.prepared import FeatureRequest

    def opened(path: Path) -> Any:
        return open_image(path.read_bytes(), path.name)

    paths, slot = task
    requests = [FeatureRequest(path.name, False, partial(opened, path)) for path in paths]
    if slots is None:
        return preparer.prepare(requests)
    return slots.packed(preparer.prepare(requests, slots.allocator(slot)), slot)


def main() -> None:
    """Run with the arguments FOLDER KIND, of which KIND is `earlier` or a number of workers."""
    folder, kind = sys.argv[1:]
    paths = sorted(Path(folder).glob("*.jpg"))
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    def inputs(some: list[Path]) -> Iterator[dict[str, torch.Tensor]]:
        return earlier(some) if kind == "earlier" else now(some, int(kind))

    digest = hashlib.sha256()
    for parts in inputs(paths[:_DIGESTED]):
        for values in parts.values():
            digest.update(values.numpy().tobytes())
    before, began = os.times(), time.perf_counter()
    count = sum(1 for _ in inputs(paths))
    wall, after = time.perf_counter() - began, os.times()
    # Workers have ended and were waited for, so their seconds are among those of children.
    cpu = sum(after[:4]) - sum(before[:4])
    print(json.dumps({"images": count, "wall": wall, "cpu": cpu, "digest": digest.hexdigest()}))


if __name__ == "__main__":
    main()
