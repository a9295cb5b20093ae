"""What is asked of the rows of a build."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Query:
    """Filters that a row passes if it passes each of them; an empty one lets every row pass.

    Attributes:
        splits, sources, tasks: the row has one of them.
        classes: the row has an object of one of them.
        parts: the row has a part of one of these names.
        ids: the row has one of them.
        among: as `ids`, but not each of them must be there; None: every id passes.
        words: in lower case; each is found in the row's id, source, question, answer or image ids.
    """

    splits: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    among: frozenset[str] | None = None
    words: tuple[str, ...] = ()

    @property
    def all_of_its_splits(self) -> bool:
        """Whether every row of the splits passes."""
        return replace(self, splits=()) == Query()


def words_of(text: str) -> tuple[str, ...]:
    """Return the words that a search text looks for."""
    return tuple(text.lower().split())
