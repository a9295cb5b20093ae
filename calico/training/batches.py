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
from calico.training import augment
from calico.training.sampling import Purpose, Sampler, generator
from calico.training.strata import stratified
from calico.views import View
from mixedparts import wording
from mixedparts.errors import InputError, UsageError
from mixedparts.masks import Rle
from mixedparts.records import Task

_KEPT_MASKS = 1 << 16  # of 1 KiB at the tiny preset's grid

# Columns of a place's random numbers.
_DRAWS = 16
_SWAP, _QUESTION, _MIRRORED = 0, 1, 7  # the last ones for up to nine images


@dataclass(frozen=True, slots=True)
class VariedSample:
    """A sample as one step shows it.

    Attributes:
        sample: with images, question and masks in the order shown.
        views: how each image is shown.
    """

    sample: Sample
    views: tuple[View, ...]


class Features(Protocol):
    """Where a batch finds the features of its images: a whole store, or encoders with a cache."""

    def read(self, images: Sequence[tuple[int, View]]) -> ImageFeatures:
        """Return features of images, each a row and how it is shown."""
        ...


class BatchMaker:
    """Makes the batch of any step, whole or in parts, from the step's number alone.

    Args:
        pairs: samples of the train split.
        features: of their images.
        prompts: writes token ids.
        processor: brings masks onto the decoder's grid.
        config: batch size, seed and which variations are drawn.

    Raises:
        InputError, UsageError: as `check_samples`.
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
        check_samples(pairs, config)
        lengths = pairs.answer_lengths() if self.settings.group_by_length else None
        weighted = self.settings.source_weights or self.settings.task_weights
        self.sampler = Sampler(
            len(pairs),
            self.settings.batch_size,
            self.settings.seed,
            lengths=lengths,
            strata=stratified(pairs, self.settings) if weighted else (),
        )
        self._masks: OrderedDict[tuple[Rle, bool], NDArray[np.uint8]] = OrderedDict()

    def samples(self, step: int) -> list[VariedSample]:
        """Return the samples of a step, counted from 0, with their variations drawn.

        The draws of a sample depend on its place in the step's batch and on nothing else, so it is
        varied alike by any process that takes a part of the batch.
        """
        rng = generator(self.settings.seed, Purpose.TRAINING, step, draws=True)
        indices = self.sampler.batch(step)
        draws = rng.random((len(indices), _DRAWS))
        augmented = rng.random((len(indices), self.pairs.images_per_sample, augment.DRAWS))
        return [
            self._varied(self.pairs[int(index)], *numbers)
            for index, *numbers in zip(indices, draws, augmented, strict=True)
        ]

    def batch(self, samples: Sequence[VariedSample]) -> TrainingBatch:
        """Return the tensors of the samples of a step, or of any part of them.

        Raises:
            InputError: there are none, or they have different numbers of images.
        """
        images = _image_count(samples)
        shown: list[tuple[PictureRef, View]] = []
        masks: list[NDArray[np.uint8]] = []
        for one in samples:
            shown += zip(one.sample.images, one.views, strict=True)
            masks += [self._grid_mask(t.mask, one.views[t.image]) for t in one.sample.targets]
        encoded = [
            self.prompts.sample(one.sample.question, one.sample.answer, images) for one in samples
        ]
        tokens, answer = self.prompts.collate(encoded)
        grid = self.processor.grid_size
        stacked = np.stack(masks) if masks else np.zeros((0, grid, grid), np.uint8)
        sizes = [view.size(ref.height, ref.width) for ref, view in shown]
        return TrainingBatch(
            tokens=tokens,
            answer=answer,
            features=self.features.read([(ref.row, view) for ref, view in shown]),
            images=images,
            masks=torch.from_numpy(stacked).float().div_(255),
            extents=torch.tensor([self.processor.extent(*size) for size in sizes]),
        )

    def _varied(
        self, sample: Sample, draws: NDArray[np.float64], augmented: NDArray[np.float64]
    ) -> VariedSample:
        if self.settings.swap_images and draws[_SWAP] < 0.5:
            sample = sample.swapped()
        if self.settings.redraw_questions:
            number = int(draws[_QUESTION] * (1 << 30))
            question = wording.question(Task(sample.task), number, len(sample.images))
            sample = replace(sample, question=question)
        views = []
        for image, ref in enumerate(sample.images):
            mirrored = self.settings.flips and bool(draws[_MIRRORED + image] < 0.5)
            regions = [one.mask for one in sample.regions if one.image == image]
            size = (ref.height, ref.width)
            views.append(
                augment.drawn_view(self.settings.augment, mirrored, size, regions, augmented[image])
            )
        return VariedSample(sample, tuple(views))

    def _grid_mask(self, mask: Rle, view: View) -> NDArray[np.uint8]:
        """Return a mask on the decoder's grid; the same entity serves in many pairs."""
        if view.box is not None:  # hardly ever the same again
            return self.processor.grid_mask(mask, view)
        key = (mask, view.mirrored)
        found = self._masks.pop(key, None)
        if found is None:
            found = self.processor.grid_mask(mask, view)
        self._masks[key] = found
        if len(self._masks) > _KEPT_MASKS:
            self._masks.popitem(last=False)
        return found


def check_samples(pairs: PairTable, config: CalicoConfig) -> None:
    """Check that a configuration can train on these samples, before anything is computed.

    Raises:
        InputError: the samples differ in their number of images.
        UsageError: it is more than `prompt.max_images`, or weights name what there is not.
    """
    if pairs.images_per_sample > config.prompt.max_images:
        raise UsageError(
            f"the samples have {pairs.images_per_sample} images, the configuration "
            f"'{config.name}' knows tags of {config.prompt.max_images}",
            f"Set prompt.max_images to {pairs.images_per_sample} in --config.",
        )
    stratified(pairs, config.training)


def _image_count(samples: Sequence[VariedSample]) -> int:
    """Return how many images each of the samples has; errors as `BatchMaker.batch`."""
    if not samples:
        raise InputError("a training batch without samples was asked for")
    first = samples[0].sample
    for one in samples:
        if len(one.sample.images) != len(first.images):
            raise InputError(
                f"a batch holds sample {first.id} of {len(first.images)} images and sample "
                f"{one.sample.id} of {len(one.sample.images)}: all must have as many",
                "Build datasets of one number of images a sample: mixedparts build --help",
            )
    return len(first.images)


def data_digest(pairs: Sequence[str]) -> str:
    """Return a digest of sample ids in order, to notice a changed dataset when a run resumes."""
    return hashlib.sha256("\n".join(pairs).encode()).hexdigest()[:20]
