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


def contrast(task: Task, one: Collection[Thing], two: Collection[Thing]) -> bool:
    """Say whether two samples of two images contrast."""
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


def contrasted(task: Task, samples: Sequence[Collection[Thing]]) -> int:
    """Count the samples that contrast with another one."""
    return sum(any(contrast(task, one, two) for two in samples) for one in samples)
