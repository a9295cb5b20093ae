"""The samples of a step with their augmentation: wording, multi-turn conversations and views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

from calico.config.calico import TrainingConfig
from calico.dataset.contrast import ContrastPartners
from calico.dataset.pairs import SampleTable
from calico.dataset.sample import ImageRef, Region, Sample
from calico.dataset.sampler import Purpose, Sampler, generator
from calico.dataset.sampling_weights import sampling_groups
from calico.dataset.swap import swapped
from calico.dataset.views import View
from calico.training import augment
from calico.training.conversations import ConversationPartners
from mixedparts.records import Task
from mixedparts.text import answers as wording

# Columns of the random numbers of one place of a batch. New augmentations take free columns, so
# that a seed keeps giving the same samples.
_DRAWS = 16
_SWAP, _QUESTION, _CONVERSE, _TURNS, _GLOBAL, _CONTRAST, _PARTNER = range(7)
_MIRRORED = 7  # the first of up to nine columns, one an image


@dataclass(frozen=True, slots=True)
class AugmentedSample:
    """A sample with its augmentation in one step.

    Attributes:
        turns: one sample, or several in a multi-turn conversation about the same images; images,
            questions and masks are in the order shown.
        views: of each image.
    """

    turns: tuple[Sample, ...]
    views: tuple[View, ...]

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """Images of the conversation; all turns have the same."""
        return self.turns[0].images

    @property
    def targets(self) -> Iterator[Region]:
        """Regions of all [SEG], in the order of the text."""
        return (target for turn in self.turns for target in turn.targets)


class _Conversation(NamedTuple):
    """The samples that form one conversation.

    Attributes:
        leader: index of the sample whose place in the batch it takes; its order of images is used.
        turns: indices of all samples, in the order of the text.
        questions: uniform in [0, 1), one for the wording of each question.
    """

    leader: int
    turns: list[int]
    questions: list[float]


class SampleAugmenter:
    """Makes the augmented samples of any step from the step's number alone.

    Args:
        pairs: samples of the train split.
        settings: batch size, seed, sampling weights and augmentation.
    """

    def __init__(self, pairs: SampleTable, settings: TrainingConfig) -> None:
        self.pairs = pairs
        self.settings = settings
        weighted = settings.source_weights or settings.task_weights
        groups = sampling_groups(pairs, settings) if weighted else []
        lengths = pairs.answer_lengths() if settings.group_by_length else None
        self.sampler = Sampler(
            len(pairs),
            settings.batch_size,
            settings.seed,
            lengths=lengths,
            groups=groups,
        )
        # A group of weight 0 is left out of training, also beside another sample or as a turn.
        left_out = [group.members for group in groups if group.share == 0]
        excluded = np.concatenate([[], *left_out]).astype(np.int64)
        self.contrast: ContrastPartners | None = None
        self._shares = np.zeros(0)
        # Samples of more images have none.
        if any(settings.contrast.values()) and pairs.images_per_sample == 2:
            self.contrast = ContrastPartners(pairs, excluded)
            tasks, self._tasks = pairs.coded("task")
            self._shares = np.array([settings.contrast.get(task, 0.0) for task in tasks])
        self.partners: ConversationPartners | None = None
        if settings.multi_turn:
            self.partners = ConversationPartners(pairs, excluded)

    def samples(self, step: int) -> list[AugmentedSample]:
        """Return the augmented samples of a step, counted from 0."""
        # All random numbers of the batch are made at once and indexed by place. So each process
        # that takes a part of the batch augments its samples alike, however many processes share
        # it, and a resumed run needs nothing but the step's number.
        rng = generator(self.settings.seed, Purpose.TRAINING, step, per_step=True)
        indices = self.sampler.batch(step)
        draws = rng.random((len(indices), _DRAWS))
        indices = self._contrasting(indices, draws)
        augmented = rng.random((len(indices), self.pairs.images_per_sample, augment.DRAWS))
        conversations = [
            self._conversation(int(index), row) for index, row in zip(indices, draws, strict=True)
        ]
        # One read of the table for the whole batch, then divided between the conversations again.
        rows = iter(self.pairs.take([turn for each in conversations for turn in each.turns]))
        return [
            self._augmented(each, list(islice(rows, len(each.turns))), *numbers)
            for each, *numbers in zip(conversations, draws, augmented, strict=True)
        ]

    def _contrasting(
        self, indices: NDArray[np.int64], draws: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Replace a share of the neighbours in a batch by samples that contrast.

        Args:
            indices: (n,) int64 of the samples.
            draws: (n, `_DRAWS`) of their places.
        """
        if self.contrast is None:
            return indices
        indices = indices.copy()
        # Two neighbours are a group. So the share of the neighbours that become one is the share
        # of the samples that are in one.
        for place in range(1, len(indices), 2):
            before = int(indices[place - 1])
            if draws[place, _CONTRAST] < self._shares[self._tasks[before]]:
                chosen = self.contrast.group(before, *draws[place - 1 : place + 1, _PARTNER])
                if chosen is not None:
                    indices[place - 1 : place + 1] = chosen
        return indices

    def _conversation(self, index: int, draws: NDArray[np.float64]) -> _Conversation:
        """Return the conversation of a sample, which is the sample alone in most cases."""
        if self.partners is None or draws[_CONVERSE] >= self.settings.multi_turn:
            return _Conversation(index, [index], [draws[_QUESTION]])
        # A conversation needs a varying count of numbers. Its own generator, keyed by one number
        # of this place, leaves those of other places as they are.
        rng = Generator(Philox(key=int(draws[_TURNS] * (1 << 53))))
        turns = self.partners.conversation(index, self.settings.max_turns, rng).tolist()
        return _Conversation(index, turns, rng.random(len(turns)).tolist())

    def _augmented(
        self,
        conversation: _Conversation,
        samples: Sequence[Sample],
        draws: NDArray[np.float64],
        augmented: NDArray[np.float64],
    ) -> AugmentedSample:
        """Return the samples of a conversation with wording, order of images and views."""
        swap = self.settings.swap_images and draws[_SWAP] < 0.5
        turns = []
        wordings = conversation.questions
        for index, question, sample in zip(conversation.turns, wordings, samples, strict=True):
            # All turns show the images in one order. A turn stored the other way round is swapped
            # for that, and swapped back if the conversation itself is swapped.
            leader = conversation.leader
            opposed = self.partners is not None and self.partners.opposed(index, leader)
            if opposed != swap:
                sample = swapped(sample)
            if self.settings.redraw_questions:
                number = int(question * (1 << 30))
                reworded = wording.question(Task(sample.task), number, len(sample.images))
                sample = replace(sample, question=reworded)
            turns.append(sample)
        views: list[View] = []
        for image, ref in enumerate(turns[0].images):
            mirrored = self.settings.flips and bool(draws[_MIRRORED + image] < 0.5)
            # Regions of every turn: one view is shown for all questions about the image.
            regions = [part.mask for turn in turns for part in turn.regions if part.image == image]
            size = (ref.height, ref.width)
            views.append(
                augment.random_view(
                    self.settings.augment, mirrored, size, regions, augmented[image]
                )
            )
        if self.settings.augment.global_crop < 1:
            views = self._globally_cropped(views, turns[0].images, draws[_GLOBAL])
        return AugmentedSample(tuple(turns), tuple(views))

    def _globally_cropped(
        self, views: Sequence[View], images: Sequence[ImageRef], draw: float
    ) -> list[View]:
        """Return the views with a random box each for the global encoder.

        Args:
            views: of the images.
            images: of the sample.
            draw: uniform in [0, 1), seeds the boxes.
        """
        share = self.settings.augment.global_crop
        rng = Generator(Philox(key=int(draw * (1 << 53))))
        sizes = [view.size(one.height, one.width) for view, one in zip(views, images, strict=True)]
        return [
            replace(view, global_box=augment.global_box(size, share, rng))
            for view, size in zip(views, sizes, strict=True)
        ]
