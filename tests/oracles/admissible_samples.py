"""All samples of a task, by looking at every set of entities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations


@dataclass(frozen=True)
class Thing:
    """An entity without pixels; `parts` is None where they are unknown."""

    row: int
    source: int
    image: int
    name: str
    parts: frozenset[int] | None


def admissible(
    things: list[Thing], task: str, size: int, comparable: Callable[[str, str], bool], sources: int
) -> set[frozenset[int]]:
    """All samples of a task over exactly so many sources, by looking at every set of entities."""
    return {
        frozenset(thing.row for thing in chosen)
        for chosen in combinations(things, size)
        if len({thing.source for thing in chosen}) == sources and _fits(chosen, task, comparable)
    }


def _fits(chosen: tuple[Thing, ...], task: str, comparable: Callable[[str, str], bool]) -> bool:
    if len({thing.image for thing in chosen}) < len(chosen):
        return False
    names = {thing.name for thing in chosen}
    if task == "common_object":
        return len(names) == 1
    if not all(comparable(*two) for two in combinations(names, 2)):
        return False
    shown = [thing.parts for thing in chosen]
    if not all(shown):  # unknown, or none visible
        return False
    every = [part for parts in shown if parts for part in parts]
    wanted = len(chosen) if task == "common_parts" else 1
    return any(every.count(part) == wanted for part in set(every))
