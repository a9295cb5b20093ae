"""A sample with its images the other way round, told as if it had been built that way.

The dataset names what is in the first image first. A swapped answer that kept its words and only
exchanged the tags would teach two orders for one thing: a [SEG] is decoded from the state before
its tag (t - 1), which then could not know which image comes.
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
    """Return the sample with its images in reverse order.

    Answers of another wording than the dataset's keep their words and change their tags only.
    """
    last = len(sample.images) - 1
    turned = replace(
        sample,
        images=sample.images[::-1],
        regions=tuple(one.moved(last - one.image) for one in sample.regions),
        targets=tuple(one.moved(last - one.image) for one in sample.targets),
        answer=_TAG.sub(lambda tag: f"(IMAGE{last + 2 - int(tag[1])})", sample.answer),
    )
    categories, parts = _content(sample)
    if _told(sample.task, categories, parts) != sample.answer:
        return turned
    moved = [(name, tuple(sorted(last - image for image in images))) for name, images in parts]
    moved.sort(key=lambda mention: mention[1])
    answer = _told(sample.task, categories[::-1], moved)
    found = {(one.is_part, one.label, one.image): one for one in turned.regions}
    wanted = [(False, name, image) for image, name in enumerate(categories[::-1])]
    wanted += [(True, name, image) for name, images in moved for image in images]
    if len(wanted) != len(turned.targets) or any(key not in found for key in wanted):
        return turned
    return replace(turned, answer=answer, targets=tuple(found[key] for key in wanted))


def _content(sample: Sample) -> tuple[list[str], list[Mention]]:
    """Return the object class of each image and the parts that the answer mentions, in order."""
    named = {one.image: one.label for one in reversed(sample.regions) if not one.is_part}
    categories = [named.get(image, "") for image in range(len(sample.images))]
    phrases = wording.parse_answer(sample.answer, len(sample.images)).phrases
    objects = 1 if len(set(categories)) == 1 else len(categories)
    return categories, [(phrase.label, phrase.images) for phrase in phrases[objects:]]


def _told(task: str, categories: Sequence[str], parts: Sequence[Mention]) -> str:
    """Return the dataset's answer with that content; empty where there is none."""
    if task == Task.COMMON_OBJECT:
        return wording.common_object_answer(categories[0], len(categories))
    if not parts:
        return ""
    return wording.part_answer(Task(task), categories, parts)
