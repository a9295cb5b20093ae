"""A sample with its images in reverse order, with the answer that a build would give it then.

The dataset names what is in the first image first. A swapped answer that only exchanged the tags
would train two orders for the same content. A [SEG] is decoded from the state before its tag
(t - 1), so the model must know from the order alone which image comes next.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from calico.dataset.sample import Sample
from mixedparts.records import Task
from mixedparts.text import answers as wording

_TAG = re.compile(r"\(IMAGE(\d+)\)")
Mention = tuple[str, tuple[int, ...]]  # a part's name and the images that show it


def swapped(sample: Sample) -> Sample:
    """Return the sample with its images in reverse order and its answer worded again.

    An answer that is not in the dataset's own wording keeps its words; only its tags change.
    """
    last = len(sample.images) - 1
    # Tags count from 1: image i of n becomes n + 1 - i, and last + 2 is n + 1.
    swap = replace(
        sample,
        images=sample.images[::-1],
        regions=tuple(region.moved(last - region.image) for region in sample.regions),
        targets=tuple(region.moved(last - region.image) for region in sample.targets),
        answer=_TAG.sub(lambda tag: f"(IMAGE{last + 2 - int(tag[1])})", sample.answer),
    )
    categories, parts = _content(sample)
    # Only an answer that its content gives back word for word can be worded again from content.
    if _worded(sample.task, categories, parts) != sample.answer:
        return swap
    moved = [(name, tuple(sorted(last - image for image in images))) for name, images in parts]
    # The sort is stable: parts of the same images keep their order.
    moved.sort(key=lambda mention: mention[1])
    answer = _worded(sample.task, categories[::-1], moved)
    regions = {(region.is_part, region.label, region.image): region for region in swap.regions}
    targets = [(False, name, image) for image, name in enumerate(categories[::-1])]
    targets += [(True, name, image) for name, images in moved for image in images]
    if len(targets) != len(swap.targets) or any(key not in regions for key in targets):
        return swap
    return replace(swap, answer=answer, targets=tuple(regions[key] for key in targets))


def _content(sample: Sample) -> tuple[list[str], list[Mention]]:
    """Return the object class of each image and the parts that the answer mentions, in order."""
    # Reversed, so that the first object of an image is the one that stays in the dictionary.
    named = {one.image: one.label for one in reversed(sample.regions) if not one.is_part}
    categories = [named.get(image, "") for image in range(len(sample.images))]
    phrases = wording.parse_answer(sample.answer, len(sample.images)).phrases
    # Objects come first: one phrase for all images if they share the class, else one an image.
    objects = 1 if len(set(categories)) == 1 else len(categories)
    return categories, [(phrase.label, phrase.images) for phrase in phrases[objects:]]


def _worded(task: str, categories: Sequence[str], parts: Sequence[Mention]) -> str:
    """Return the dataset's answer with this content, "" for a part task without parts."""
    if task == Task.COMMON_OBJECT:
        return wording.common_object_answer(categories[0], len(categories))
    if not parts:
        return ""
    return wording.part_answer(Task(task), categories, parts)
