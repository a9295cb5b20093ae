"""What is asked of the rows of a build."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mixedparts.errors import UsageError
from mixedparts.settings.local_paths import is_utf8


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
    """Return the words that a search text looks for.

    Raises:
        UsageError: it is not text in UTF-8, as a shell can pass it.
    """
    if not is_utf8(text):
        raise UsageError(f"the text to search for is not text in UTF-8: {text!a}")
    return tuple(text.lower().split())
