"""Questions and answers of many samples at once, assembled from the phrases of `text.answers`.

A split has few different phrases: every part with every image, every combination of classes. Each
is worded once; the texts of a batch are then look-ups and joins in Arrow, without a Python loop
over samples. The texts equal those of `text.answers` for each sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixedparts.pairing.samples import TASKS
from mixedparts.records import Task
from mixedparts.text import answers as wording

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mentions:
    """The mentions of parts in the answers of some samples, in their order.

    Attributes:
        row: `(m,)` int64, the sample of each mention, rising.
        code: `(m,)` int64, index of the part's name.
        image: `(m,)` int64, the image it is grounded in; the number of images means all of them.
    """

    row: Ints
    code: Ints
    image: Ints


class BatchTexts:
    """Words the samples of one split.

    Args:
        class_names: name of each class code.
        part_names: name of each part code.
        images: images a sample.
    """

    def __init__(
        self, class_names: tuple[str, ...], part_names: tuple[str, ...], images: int
    ) -> None:
        every = tuple(range(images))
        places = [*((image,) for image in every), every]
        # Ordered by end, part, image: `answers` computes a position from these three numbers.
        mentions = [wording.part_mention(*part) for part in product(part_names, places)]
        self._mentions = pa.array(
            [mention + end for end in wording.PART_ENDS for mention in mentions], pa.string()
        )
        self._leads = pa.array(
            ["" if task is Task.COMMON_OBJECT else wording.part_lead(task, single)
             for task in TASKS for single in (False, True)],
            pa.string(),
        )  # fmt: skip
        self._class_names = class_names
        self._parts = len(part_names)
        self._images = images
        self._opening = cache(self._worded_opening)

    def questions(self, tasks: Ints, ids: NDArray[np.uint64]) -> pa.Array:
        """Return `(n,)` questions, selected by task and sample id as in `wording.question`."""
        numbers, starts, texts = self._questions
        return texts.take(pa.array(starts[tasks] + ids % numbers[tasks]))

    @cached_property
    def _questions(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64], pa.Array]:
        """Return number and first position of each task's questions, and all of these."""
        wordings = [wording.questions(task, self._images) for task in TASKS]
        numbers = np.array([len(texts) for texts in wordings], np.uint64)
        texts = pa.array([text for texts in wordings for text in texts], pa.string())
        return numbers, np.cumsum(numbers) - numbers, texts

    def answers(self, tasks: Ints, classes: Ints, mentions: Mentions) -> pa.Array:
        """Return answers as `wording.common_object_answer` and `wording.part_answer` word them.

        Args:
            tasks: `(n,)` int64, index into `TASKS`.
            classes: `(n, images)` int64 class codes.
            mentions: of the samples that have parts to name.

        Returns:
            `(n,)` string array.
        """
        numbers = np.bincount(mentions.row, minlength=len(tasks))
        ends = np.cumsum(numbers)
        place = np.arange(len(mentions.row)) - (ends - numbers)[mentions.row]
        end = wording.part_ends(place, numbers[mentions.row])
        # Position of the text in `_mentions`; there is one image more than the sample has: "all".
        worded = (end * self._parts + mentions.code) * (self._images + 1) + mentions.image
        offsets = pa.array(np.append(0, ends).astype(np.int32))
        listed = pa.ListArray.from_arrays(offsets, self._mentions.take(pa.array(worded)))
        leads = self._leads.take(pa.array(2 * tasks + (numbers == 1)))
        return pc.binary_join_element_wise(
            self._openings(tasks, classes), leads, pc.binary_join(listed, ""), ""
        )

    def _openings(self, tasks: Ints, classes: Ints) -> pa.Array:
        """Return `(n,)` first sentences, each different one worded once."""
        # Task and classes of a sample become one integer, which `unique` sorts much faster than
        # rows of numbers.
        shape = (len(TASKS), *(len(self._class_names),) * self._images)
        keys = np.ravel_multi_index((tasks, *classes.T), shape)
        different, which = np.unique(keys, return_inverse=True)
        cases = np.stack(np.unravel_index(different, shape), axis=1).tolist()
        return pa.array([self._opening(*case) for case in cases], pa.string()).take(pa.array(which))

    def _worded_opening(self, task: int, *classes: int) -> str:
        names = [self._class_names[code] for code in classes]
        if TASKS[task] is Task.COMMON_OBJECT:
            return wording.common_object_answer(names[0], self._images)
        return wording.objects_sentence(names)
