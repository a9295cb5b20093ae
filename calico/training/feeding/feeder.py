"""The parts of every step with the features of their images, prepared ahead and encoded in time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Protocol, cast, overload

import torch

from calico.config.calico import TrainingConfig
from calico.model.inputs import TrainingBatch
from calico.model.vision import ImageFeatures
from calico.processing.prepared import PreparedImages
from calico.processing.workers import affordable, in_order, outstanding
from calico.training.batches import Features
from calico.training.feeding.slots import PackedImages, Slots
from calico.training.feeding.tasks import ImageSource, StepTasks, StepText
from calico.training.trainer import StepData

_PIECE = 8  # images of a task: 26 MB for the 7B model


class FedFeatures(Features, Protocol):
    """Source of features whose images other processes can prepare."""

    @property
    def source(self) -> ImageSource:
        """What prepares the images."""
        ...

    def finish(self, pieces: Iterable[PreparedImages]) -> ImageFeatures:
        """Return the features of prepared images, in their order."""
        ...


class StepParts(Sequence[TrainingBatch]):
    """The parts of a step's batch; the features of a part are copied when it is asked for.

    An image that several samples show has its features once, in the precision in which they are
    stored, until the float32 features of a part are needed.

    Args:
        parts: without features.
        places: of each part, the places of its images in `features`.
        features: of the different images of the step, on the device.
        device: of the features.
    """

    def __init__(
        self,
        parts: Sequence[TrainingBatch],
        places: Sequence[Sequence[int]],
        features: ImageFeatures,
        device: torch.device,
    ) -> None:
        self._parts = parts
        self._places = [torch.tensor(one, dtype=torch.int64) for one in places]
        self._features = features
        self._device = device

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, number: int) -> TrainingBatch: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[TrainingBatch]: ...
    def __getitem__(self, number: int | slice) -> TrainingBatch | Sequence[TrainingBatch]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        features = self._features.select(self._places[number].to(self._device))
        return replace(self._parts[number], features=features.to(self._device, torch.float32))


class StepFeeder:
    """Yields the parts of steps; worker processes prepare them ahead.

    Args:
        data: makes the parts of a step.
        features: of their images.
        settings: number of workers and bound of what they hold.
        image_bytes: of one prepared image.
        device: of the model.
    """

    def __init__(
        self,
        data: StepData,
        features: FedFeatures,
        settings: TrainingConfig,
        image_bytes: int,
        device: torch.device,
    ) -> None:
        self.features = features
        self.device = device
        self.workers = settings.loader_workers
        # More images than the shared memory holds would end a worker with a bus error.
        bound = affordable(settings.loader_images, image_bytes) if self.workers else _PIECE
        piece = max(1, min(_PIECE, bound // max(1, self.workers)))
        self.ahead = bound // piece
        # The workers hold at most this many results, and this process uses one. Another is free, so
        # that no worker writes to a slot that is still read.
        held = outstanding(self.workers, self.ahead)
        slots = Slots(held + 2, piece * image_bytes) if self.workers else None
        self.tasks = StepTasks(data, features.source, piece, slots)

    def steps(self, start: int, stop: int) -> Iterator[tuple[int, StepParts]]:
        """Yield each step from `start` up to `stop` and its parts.

        Raises:
            InputError: an image cannot be read or decoded.
            EnvironmentFault: a worker was killed.
        """
        every = (task for step in range(start, stop) for task in self.tasks.of(step))
        if (slots := self.tasks.slots) is not None:
            every = (replace(task, slot=number % len(slots)) for number, task in enumerate(every))
        results = in_order(self.tasks.do, every, self.workers, self.ahead)
        for step in range(start, stop):
            text = cast(StepText, next(results))
            pieces = islice(results, self.tasks.pieces)
            features = self.features.finish(map(self._received, pieces))
            features = features.to(self.device, features.vision.dtype)
            yield step, StepParts(text.parts(), text.places, features, self.device)

    def _received(self, piece: object) -> PreparedImages:
        """Return a piece of images, in memory that CUDA copies from while it computes."""
        if isinstance(piece, PackedImages):
            assert self.tasks.slots is not None
            piece = self.tasks.slots.unpacked(piece)
        prepared = cast(PreparedImages, piece)
        return prepared.pin_memory() if self.device.type == "cuda" else prepared
