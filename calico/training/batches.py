"""Training batches: which pairs, how they are varied, and the masks they ask for."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from calico.config import CalicoConfig
from calico.data import PairTable, PictureRef, Sample
from calico.model.calico import TrainingBatch
from calico.model.vision import ImageFeatures
from calico.processing import ImageProcessor
from calico.prompts import PromptEncoder
from calico.training.schedule import Purpose, Sampler, generator
from mixedparts import wording
from mixedparts.masks import Rle
from mixedparts.records import Task

_KEPT_MASKS = 1 << 16  # of 1 KiB at the tiny preset's grid


@dataclass(frozen=True, slots=True)
class VariedSample:
    """A sample as one step shows it.

    Attributes:
        sample: with images, question and masks in the order shown.
        mirrored: for each image whether it is shown mirrored.
    """

    sample: Sample
    mirrored: tuple[bool, ...]


class Features(Protocol):
    """Where a batch finds the features of its images: a whole store, or encoders with a cache."""

    def read(self, images: Sequence[tuple[int, bool]]) -> ImageFeatures:
        """Return features of images, each a row and whether it is mirrored."""
        ...


class BatchMaker:
    """Makes the batch of any step, from the step's number alone.

    Args:
        pairs: samples of the train split.
        features: of their images.
        prompts: writes token ids.
        processor: brings masks onto the decoder's grid.
        config: batch size, seed and which variations are drawn.
    """

    def __init__(
        self,
        pairs: PairTable,
        features: Features,
        prompts: PromptEncoder,
        processor: ImageProcessor,
        config: CalicoConfig,
    ) -> None:
        self.pairs = pairs
        self.features = features
        self.prompts = prompts
        self.processor = processor
        self.settings = config.training
        lengths = pairs.answer_lengths() if self.settings.group_by_length else None
        self.sampler = Sampler(
            len(pairs), self.settings.batch_size, self.settings.seed, lengths=lengths
        )
        self._masks: OrderedDict[tuple[Rle, bool], NDArray[np.uint8]] = OrderedDict()

    def samples(self, step: int) -> list[VariedSample]:
        """Return the samples of a step, counted from 0, with their variations drawn."""
        rng = generator(self.settings.seed, Purpose.TRAINING, step, draws=True)
        return [self._varied(self.pairs[int(index)], rng) for index in self.sampler.batch(step)]

    def batch(self, step: int) -> TrainingBatch:
        """Return the tensors of a step."""
        varied = self.samples(step)
        images = len(varied[0].sample.images)
        shown: list[tuple[PictureRef, bool]] = []
        masks: list[NDArray[np.uint8]] = []
        for one in varied:
            shown += zip(one.sample.images, one.mirrored, strict=True)
            masks += [self._grid_mask(t.mask, one.mirrored[t.image]) for t in one.sample.targets]
        encoded = [
            self.prompts.sample(one.sample.question, one.sample.answer, images) for one in varied
        ]
        tokens, answer = self.prompts.collate(encoded)
        grid = self.processor.grid_size
        stacked = np.stack(masks) if masks else np.zeros((0, grid, grid), np.uint8)
        extents = [self.processor.extent(ref.height, ref.width) for ref, _ in shown]
        return TrainingBatch(
            tokens=tokens,
            answer=answer,
            features=self.features.read([(ref.row, mirrored) for ref, mirrored in shown]),
            images=images,
            masks=torch.from_numpy(stacked).float().div_(255),
            extents=torch.tensor(extents),
        )

    def _varied(self, sample: Sample, rng: np.random.Generator) -> VariedSample:
        draws = rng.random(2 + len(sample.images))
        if self.settings.swap_images and draws[0] < 0.5:
            sample = sample.swapped()
        if self.settings.redraw_questions:
            question = wording.question(Task(sample.task), int(draws[1] * (1 << 30)))
            sample = replace(sample, question=question)
        mirrored = tuple(bool(draw < 0.5 and self.settings.flips) for draw in draws[2:])
        return VariedSample(sample, mirrored)

    def _grid_mask(self, mask: Rle, mirrored: bool) -> NDArray[np.uint8]:
        """Return a mask on the decoder's grid; the same entity serves in many pairs."""
        key = (mask, mirrored)
        found = self._masks.pop(key, None)
        if found is None:
            found = self.processor.grid_mask(mask, mirrored)
        self._masks[key] = found
        if len(self._masks) > _KEPT_MASKS:
            self._masks.popitem(last=False)
        return found


def data_digest(pairs: Sequence[str]) -> str:
    """Return a digest of sample ids in order, to notice a changed dataset when a run resumes."""
    return hashlib.sha256("\n".join(pairs).encode()).hexdigest()[:20]
