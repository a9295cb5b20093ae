"""The work of a step in tasks for worker processes: the text and masks, then images in pieces.

A task is named by the numbers of step and piece alone, so any worker can do any task, and a run
that continues at a later step has the same ones.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from calico.dataset.views import View
from calico.model.inputs import TrainingBatch
from calico.model.vision import ImageFeatures
from calico.processing.prepared import Allocate, PreparedImages
from calico.training.batches import BatchMaker
from calico.training.feeding.slots import PackedImages, Slots
from calico.training.trainer import StepData

Shown = tuple[int, View]  # an image: its row in the images table and its view
_TEXT = -1  # number of the task that makes everything of a step but its images
_NOTHING = ImageFeatures(torch.empty(0), torch.empty(0), torch.empty(0))


class ImageSource(Protocol):
    """Prepares images in any process."""

    def prepare(self, images: Sequence[Shown], allocate: Allocate | None = None) -> PreparedImages:
        """Prepare images, each given by its row of the images table and its view."""
        ...


@dataclass(frozen=True, slots=True)
class StepTask:
    """A part of the work of a step.

    Attributes:
        step: counted from 0.
        piece: of the step's images, counted from 0; -1 for its text and masks.
        slot: of the shared memory that the pixels are written to; None: new memory.
    """

    step: int
    piece: int
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class StepText:
    """The parts of a step's batch without the features of their images.

    Attributes:
        batches: pickled list of the parts. By value, because tensors in shared memory take a file
            descriptor each, and a step in many parts has hundreds of tensors.
        places: of each part, the places of its images among the different images of the step.
    """

    batches: bytes
    places: tuple[tuple[int, ...], ...]

    def parts(self) -> list[TrainingBatch]:
        """Return the parts, with empty features."""
        parts: list[TrainingBatch] = pickle.loads(self.batches)
        # As `BatchMaker` computes them.
        return [replace(part, masks=part.masks.float().div_(255)) for part in parts]


class _Asked:
    """A source of features that notes which images a batch needs."""

    def __init__(self) -> None:
        self.images: list[Sequence[Shown]] = []

    def read(self, images: Sequence[Shown]) -> ImageFeatures:
        self.images.append(images)
        return _NOTHING


class StepTasks:
    """Does the tasks of the steps of one process.

    Args:
        data: makes the parts of a step; its source of features is not used.
        source: prepares images.
        piece: images of a task.
        slots: shared memory for pixels, None where no other process does tasks.
    """

    def __init__(
        self, data: StepData, source: ImageSource, piece: int, slots: Slots | None = None
    ) -> None:
        self.slots = slots
        self.data = data
        self.source = source
        self.piece = piece
        self._latest: tuple[int, tuple[Shown, ...]] | None = None

    def of(self, step: int) -> Iterator[StepTask]:
        """Yield the tasks of a step in the order in which it needs them."""
        yield StepTask(step, _TEXT)
        yield from (StepTask(step, piece) for piece in range(self.pieces))

    @property
    def pieces(self) -> int:
        """Tasks of images of every step; the last ones may have none."""
        batches = self.data.batches
        samples = -(-batches.sampler.batch_size // self.data.count)
        return -(-samples * batches.pairs.images_per_sample // self.piece)

    def do(self, task: StepTask) -> StepText | PreparedImages | PackedImages:
        """Return the result of a task."""
        if task.piece == _TEXT:
            return self._text(task.step)
        first = task.piece * self.piece
        images = self._images(task.step)[first : first + self.piece]
        if self.slots is None or task.slot is None:
            return self.source.prepare(images)
        prepared = self.source.prepare(images, self.slots.allocator(task.slot))
        return self.slots.packed(prepared, task.slot)

    def _text(self, step: int) -> StepText:
        asked = _Asked()
        batches: BatchMaker = copy.copy(self.data.batches)
        batches.features = asked
        data = StepData(batches, self.data.rank, self.data.count, self.data.most)
        place = {image: number for number, image in enumerate(self._images(step))}
        parts = [replace(part, masks=_as_bytes(part.masks)) for part in data[step]]
        places = tuple(tuple(place[image] for image in images) for images in asked.images)
        return StepText(pickle.dumps(parts, pickle.HIGHEST_PROTOCOL), places)

    def _images(self, step: int) -> tuple[Shown, ...]:
        """Return the different images of this process's share of a step, in order."""
        # A worker does several tasks of a step.
        if self._latest is None or self._latest[0] != step:
            share = self.data.batches.samples(step)[self.data.rank :: self.data.count]
            images = (
                (ref.row, view)
                for sample in share
                for ref, view in zip(sample.images, sample.views, strict=True)
            )
            self._latest = step, tuple(dict.fromkeys(images))
        return self._latest[1]


def _as_bytes(masks: Tensor) -> Tensor:
    """Return masks that are whole 255ths as uint8, a quarter of the bytes."""
    return masks.mul(255).round_().to(torch.uint8)
