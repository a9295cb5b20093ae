"""Which samples contrast, found by comparing every sample with every other one."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mixedparts.records import Task
from tests.oracles.admissible_samples import Thing


def answer(task: Task, own: Thing, partner: Thing) -> object:
    """Return the right answer for the image of `own` beside `partner`."""
    if task is Task.COMMON_OBJECT:
        return own.name
    assert own.parts is not None
    assert partner.parts is not None
    return own.parts & partner.parts if task is Task.COMMON_PARTS else own.parts - partner.parts


def needs_both(task: Task, sample: Collection[Thing], things: Sequence[Thing]) -> bool:
    """Say whether no image of a sample tells the answer alone, and one answer is right."""
    if task is not Task.COMMON_OBJECT:
        return True
    one, two = ({thing.name for thing in things if thing.image == own.image} for own in sample)
    return len(one & two) == 1 and len(one) > 1 and len(two) > 1


def contrast(
    task: Task, one: Collection[Thing], two: Collection[Thing], things: Sequence[Thing]
) -> bool:
    """Say whether two samples of two images contrast, of all `things` that are annotated."""
    if not (needs_both(task, one, things) and needs_both(task, two, things)):
        return False
    for own in one:
        for again in two:
            (partner,) = (thing for thing in one if thing is not own)
            (other,) = (thing for thing in two if thing is not again)
            if own.image != again.image or partner.image == other.image:
                continue
            if task is not Task.COMMON_OBJECT and (own.name, partner.name) != (
                again.name,
                other.name,
            ):
                continue
            if answer(task, own, partner) != answer(task, again, other):
                return True
    return False


def contrasted(task: Task, samples: Sequence[Collection[Thing]], things: Sequence[Thing]) -> int:
    """Count the samples that contrast with another one."""
    return sum(any(contrast(task, one, two, things) for two in samples) for one in samples)
