"""All words that a dataset's own tokenizer has to know."""

from __future__ import annotations

from collections.abc import Iterator

from calico.dataset.pairs import SampleTable
from mixedparts.pipeline.plan import manifest_of
from mixedparts.records import Task
from mixedparts.sources.manifests import FULL
from mixedparts.text import answers as wording


def dataset_vocabulary(pairs: SampleTable, lead: str = "", profile: str = FULL) -> Iterator[str]:
    """Yield texts that hold every word of questions and answers, now or after redrawing.

    Args:
        pairs: the train split.
        lead: further words of the prompt.
        profile: under which the build names classes and parts.

    Raises:
        InputError: the samples have different numbers of images.
    """
    yield lead
    yield from pairs.texts()
    for task in Task:
        yield from wording.questions(task, pairs.images_per_sample)
    sources = {name for cell in pairs.sources() for name in cell.split("+")}
    for source in sorted(sources):
        known = manifest_of(source, profile=profile)
        for one in known.objects.values() if known else ():
            yield f"a {one.name}"
            yield from (f"the {part.name}" for part in one.parts)
