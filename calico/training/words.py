"""All words that a dataset's own tokenizer has to know."""

from __future__ import annotations

from collections.abc import Iterator

from calico.data import PairTable
from mixedparts import wording
from mixedparts.plan import manifest_of


def dataset_words(pairs: PairTable, lead: str = "") -> Iterator[str]:
    """Yield texts that hold every word of questions and answers, now or after redrawing.

    Args:
        pairs: the train split.
        lead: further words of the prompt.
    """
    yield lead
    yield from pairs.texts()
    for questions in wording.QUESTIONS.values():
        yield from questions
    for source in pairs.sources():
        known = manifest_of(source)
        for one in known.objects.values() if known else ():
            yield f"a {one.name}"
            yield from (f"the {part.name}" for part in one.parts)
