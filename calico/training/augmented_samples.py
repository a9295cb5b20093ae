"""The samples of a step, as they are shown: in which words, with which others, in which views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

from calico.config.calico import TrainingConfig
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

# Columns of a place's random numbers.
_DRAWS = 16
_SWAP, _QUESTION, _CONVERSE, _TURNS = range(4)
_MIRRORED = 7  # and after it, for up to nine images


@dataclass(frozen=True, slots=True)
class AugmentedSample:
    """A sample as one step shows it.

    Attributes:
        turns: with images, questions and masks in the order shown; more than one are a
            conversation about the same images.
        views: how each image is shown.
    """

    turns: tuple[Sample, ...]
    views: tuple[View, ...]

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """The images of all turns."""
        return self.turns[0].images

    @property
    def targets(self) -> Iterator[Region]:
        """The regions of all [SEG], in the order of the text."""
        return (target for turn in self.turns for target in turn.targets)


class _Conversation(NamedTuple):
    """Which samples are shown together for the sake of one of them.

    Attributes:
        leader: the one, in whose order images are.
        turns: all of them, in the order of the text.
        questions: draws of their wordings.
    """

    leader: int
    turns: list[int]
    questions: list[float]


class SampleAugmenter:
    """Draws the samples of any step, from the step's number alone.

    Args:
        pairs: samples of the train split.
        settings: batch size, seed, weights and which variations are drawn.
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
        self.partners: ConversationPartners | None = None
        if settings.multi_turn:
            unwanted = [group.members for group in groups if group.share == 0]
            self.partners = ConversationPartners(
                pairs, np.concatenate([[], *unwanted]).astype(np.int64)
            )

    def samples(self, step: int) -> list[AugmentedSample]:
        """Return the samples of a step, counted from 0, with their variations drawn.

        The draws of a sample depend on its place in the step's batch and on nothing else, so it is
        varied alike by any process that takes a part of the batch.
        """
        rng = generator(self.settings.seed, Purpose.TRAINING, step, draws=True)
        indices = self.sampler.batch(step)
        draws = rng.random((len(indices), _DRAWS))
        augmented = rng.random((len(indices), self.pairs.images_per_sample, augment.DRAWS))
        conversations = [
            self._conversation(int(index), row) for index, row in zip(indices, draws, strict=True)
        ]
        read = iter(self.pairs.take([turn for one in conversations for turn in one.turns]))
        return [
            self._varied(one, list(islice(read, len(one.turns))), *numbers)
            for one, *numbers in zip(conversations, draws, augmented, strict=True)
        ]

    def _conversation(self, index: int, draws: NDArray[np.float64]) -> _Conversation:
        """Return which samples are asked together with one, and the draws of their questions."""
        if self.partners is None or draws[_CONVERSE] >= self.settings.multi_turn:
            return _Conversation(index, [index], [draws[_QUESTION]])
        rng = Generator(Philox(key=int(draws[_TURNS] * (1 << 53))))
        turns = self.partners.conversation(index, self.settings.max_turns, rng).tolist()
        return _Conversation(index, turns, rng.random(len(turns)).tolist())

    def _varied(
        self,
        one: _Conversation,
        read: Sequence[Sample],
        draws: NDArray[np.float64],
        augmented: NDArray[np.float64],
    ) -> AugmentedSample:
        """Return the samples of a conversation as they are shown."""
        swap = self.settings.swap_images and draws[_SWAP] < 0.5
        turns = []
        for index, question, sample in zip(one.turns, one.questions, read, strict=True):
            opposed = self.partners is not None and self.partners.opposed(index, one.leader)
            if opposed != swap:
                sample = swapped(sample)
            if self.settings.redraw_questions:
                number = int(question * (1 << 30))
                asked = wording.question(Task(sample.task), number, len(sample.images))
                sample = replace(sample, question=asked)
            turns.append(sample)
        views = []
        for image, ref in enumerate(turns[0].images):
            mirrored = self.settings.flips and bool(draws[_MIRRORED + image] < 0.5)
            regions = [part.mask for turn in turns for part in turn.regions if part.image == image]
            size = (ref.height, ref.width)
            views.append(
                augment.drawn_view(self.settings.augment, mirrored, size, regions, augmented[image])
            )
        return AugmentedSample(tuple(turns), tuple(views))
