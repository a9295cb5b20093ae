"""Training batches: tokens, features and masks of augmented samples."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calico.config.calico import CalicoConfig
from calico.dataset.pairs import SampleTable
from calico.dataset.presence import ShownNames
from calico.dataset.sample import ImageRef
from calico.dataset.sampling_weights import sampling_groups
from calico.dataset.views import View
from calico.model.inputs import TrainingBatch
from calico.model.original_masks import OriginalMasks
from calico.model.presence import PresenceTargets
from calico.model.vision import ImageFeatures
from calico.processing.images import ImageProcessor
from calico.processing.prompts import PromptEncoder
from calico.training.augmented_samples import AugmentedSample, SampleAugmenter
from mixedparts.errors import InputError, UsageError
from mixedparts.masks import Rle, decode

_CACHED_BYTES = 1 << 26  # of masks on the grid, in each process: 65,536 of the tiny preset's


class Features(Protocol):
    """Source of the features of a batch: a store of all images, or encoders with a cache."""

    def read(self, images: Sequence[tuple[int, View]]) -> ImageFeatures:
        """Return features of images, each given by its row of the images table and its view."""
        ...


class BatchMaker:
    """Makes the batch of any step, whole or in parts, from the step's number alone.

    Args:
        pairs: samples of the train split.
        features: of their images.
        prompts: writes token ids.
        processor: brings masks onto the decoder's grid.
        config: batch size, seed and augmentation.
        shown: what the images show, for the loss of presence; None without it.

    Raises:
        InputError: the samples differ in their number of images.
        UsageError: they have more images than the model has tags, or sampling weights name
            sources or tasks that they do not have.
    """

    def __init__(
        self,
        pairs: SampleTable,
        features: Features,
        prompts: PromptEncoder,
        processor: ImageProcessor,
        config: CalicoConfig,
        shown: ShownNames | None = None,
    ) -> None:
        self.pairs = pairs
        self.features = features
        self.prompts = prompts
        self.processor = processor
        check_samples(pairs, config)
        self.augmenter = SampleAugmenter(pairs, config.training)
        self.sampler = self.augmenter.sampler
        self.shown = shown
        self.text_steps = int(config.training.text_share * config.training.steps)
        self.at_original_size = config.loss.resolution == "original"
        self._masks: OrderedDict[tuple[Rle, bool], NDArray[np.uint8]] = OrderedDict()

    def samples(self, step: int) -> list[AugmentedSample]:
        """Return the samples of a step, counted from 0; see `SampleAugmenter`."""
        return self.augmenter.samples(step)

    def text_batch(self, samples: Sequence[AugmentedSample]) -> TrainingBatch:
        """Return a batch without masks, for the first steps; errors as `batch`."""
        return self.batch(samples, text_only=True)

    def batch(self, samples: Sequence[AugmentedSample], text_only: bool = False) -> TrainingBatch:
        """Return the tensors of the samples of a step, or of any part of them.

        Args:
            samples: of one step.
            text_only: leave out the masks.

        Raises:
            InputError: there are none, or they have different numbers of images.
        """
        images = _image_count(samples)
        shown: list[tuple[ImageRef, View]] = []
        mask_image: list[int] = []
        # Masks follow the [SEG] of the answers in sample and text order. `len(shown)` is the row
        # of a sample's first image among the images of the batch.
        for sample in samples:
            if not text_only:
                mask_image += [len(shown) + target.image for target in sample.targets]
            shown += zip(sample.images, sample.views, strict=True)
        encoded = self.prompts.conversations(
            [[(turn.question, turn.answer) for turn in sample.turns] for sample in samples], images
        )
        tokens, answer = self.prompts.collate(encoded)
        targets = [(t.mask, s.views[t.image]) for s in samples for t in s.targets if not text_only]
        masks, originals = self._masks_of(targets)
        sizes = [view.size(ref.height, ref.width) for ref, view in shown]
        return TrainingBatch(
            tokens=tokens,
            answer=answer,
            features=self.features.read([(ref.row, view) for ref, view in shown]),
            images=images,
            masks=masks,
            mask_image=torch.tensor(mask_image, dtype=torch.int64),
            extents=torch.tensor([self.processor.extent(*size) for size in sizes]),
            # The Q-Former sees the first question only, which also conditions the CAMs.
            questions=tuple(sample.turns[0].question for sample in samples),
            originals=originals,
            presence=self._presence(samples),
            text_only=text_only,
        )

    def _presence(self, samples: Sequence[AugmentedSample]) -> PresenceTargets | None:
        """Return which names the images of each sample show; of a conversation, its first turn."""
        if self.shown is None:
            return None
        asked = [self.shown.of(sample.turns[0]) for sample in samples]
        return PresenceTargets.of(
            [
                [(one.image, self.prompts.name_ids(one.name), one.shown) for one in names]
                for names in asked
            ]
        )

    def _masks_of(self, targets: Sequence[tuple[Rle, View]]) -> tuple[Tensor, OriginalMasks | None]:
        """Return the masks of all [SEG] at the resolution of the loss, as `TrainingBatch` has them.

        Args:
            targets: M masks at the size of their images, and how these are shown.

        Returns:
            Masks (M, g, g) float32 on the decoder's grid and None, or (M, 0, 0) and the masks at
            original size.
        """
        if self.at_original_size:
            dense = [view.mask(decode(mask)) for mask, view in targets]
            inner = [self.processor.inner_size(*mask.shape) for mask in dense]
            originals = OriginalMasks.of(dense, inner, self.processor.square_size)
            return torch.zeros(len(dense), 0, 0), originals
        grid = self.processor.grid_size
        patches = [self._grid_mask(mask, view) for mask, view in targets]
        stacked = np.stack(patches) if patches else np.zeros((0, grid, grid), np.uint8)
        return torch.from_numpy(stacked).float().div_(255), None  # covered share of each cell

    def _grid_mask(self, mask: Rle, view: View) -> NDArray[np.uint8]:
        """Return a mask on the decoder's grid, (g, g) uint8, covered share of each cell * 255."""
        # A mask takes long to decode and resize, and an entity is part of many pairs, so results
        # for uncropped views are cached. A random box hardly ever comes again.
        if view.box is not None:
            return self.processor.patch_mask(mask, view)
        key = (mask, view.mirrored)
        patch = self._masks.pop(key, None)
        if patch is None:
            patch = self.processor.patch_mask(mask, view)
        # Removed and inserted again, so the first entry is the one used longest ago.
        self._masks[key] = patch
        if len(self._masks) * patch.nbytes > _CACHED_BYTES:
            self._masks.popitem(last=False)
        return patch


def check_samples(pairs: SampleTable, config: CalicoConfig) -> None:
    """Check that a configuration can train on these samples, before anything is computed.

    Raises:
        InputError: the samples differ in their number of images.
        UsageError: the number is more than `prompt.max_images`, or sampling weights name sources
            or tasks that the samples do not have.
    """
    if pairs.images_per_sample > config.prompt.max_images:
        raise UsageError(
            f"the samples have {pairs.images_per_sample} images, the configuration "
            f"'{config.name}' has tags for {config.prompt.max_images}",
            f"Set prompt.max_images to {pairs.images_per_sample} in --config.",
        )
    sampling_groups(pairs, config.training)


def _image_count(samples: Sequence[AugmentedSample]) -> int:
    """Return how many images each of the samples has; errors as `BatchMaker.batch`."""
    if not samples:
        raise InputError("a training batch needs at least one sample")
    first = samples[0].turns[0]
    for sample in (turn for augmented in samples for turn in augmented.turns):
        if len(sample.images) != len(first.images):
            raise InputError(
                f"a batch contains sample {first.id} of {len(first.images)} images and sample "
                f"{sample.id} of {len(sample.images)}: all must have as many",
                "Build datasets of one number of images a sample: mixedparts build --help",
            )
    return len(first.images)
