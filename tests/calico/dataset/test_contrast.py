"""Contrasting samples in training: found as the definition says, and put beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from calico.config.presets import tiny
from calico.config.yaml_io import override
from calico.dataset.contrast import ContrastPartners
from calico.dataset.pairs import BuiltDataset, SampleTable
from calico.dataset.sample import Sample
from calico.training.augmented_samples import SampleAugmenter
from mixedparts.errors import UsageError
from mixedparts.records import Task


def sides(sample: Sample) -> list[tuple[Any, ...]]:
    """Key, answer and partner of both images, by the definition in docs/selection.md."""
    classes = [
        next(r.label for r in sample.regions if r.image == k and not r.is_part) for k in (0, 1)
    ]
    found: list[tuple[Any, ...]] = []
    for image in range(2):
        own, partner = sample.images[image].row, sample.images[1 - image].row
        if sample.task == Task.COMMON_OBJECT:
            found.append(((sample.task, own), classes[image], partner))
            continue
        named = frozenset(r.label for r in sample.regions if r.image == image and r.is_part)
        found.append(((sample.task, own, classes[image], classes[1 - image]), named, partner))
    return found


def contrast(one: Sample, two: Sample, shown: dict[int, set[str]]) -> bool:
    for sample in (one, two):
        first, second = (shown[image.row] for image in sample.images)
        alone = not (len(first & second) == 1 and first - second and second - first)
        if sample.task == Task.COMMON_OBJECT and alone:
            return False
    return any(
        a[0] == b[0] and a[1] != b[1] and a[2] != b[2] for a in sides(one) for b in sides(two)
    )


def shown_classes(samples: Sequence[Sample]) -> dict[int, set[str]]:
    """The classes that any sample names in each image."""
    shown: dict[int, set[str]] = {}
    for sample in samples:
        for region in sample.regions:
            if not region.is_part:
                row = sample.images[region.image].row
                shown.setdefault(row, set()).add(region.label)
    return shown


@pytest.fixture(scope="module")
def pairs(synthetic_build: Path) -> SampleTable:
    return BuiltDataset(synthetic_build).pairs("train")


def test_partners_are_the_samples_that_contrast(pairs: SampleTable) -> None:
    samples = pairs.take(range(len(pairs)))
    shown = shown_classes(samples)
    partners = ContrastPartners(pairs)
    chosen = np.random.default_rng(0).permutation(len(samples))[:360].tolist()
    some = 0
    for index in chosen:
        expected = [n for n, other in enumerate(samples) if contrast(samples[index], other, shown)]
        assert partners.of(index).tolist() == expected
        some += bool(expected)
        group = partners.group(index, 0.5, 0.999999)
        if expected:
            assert partners.group(index, 0.5, 0.0) == (index, expected[0])
            assert group == (index, expected[-1])
        else:
            assert group is not None
            one, two = (samples[at] for at in group)
            assert one.task == two.task == samples[index].task
            assert contrast(one, two, shown)
    assert 20 < some < 360


def test_a_task_gets_its_share_of_groups(pairs: SampleTable) -> None:
    settings = replace(
        tiny().training, contrast={"unique_parts": 0.6}, batch_size=32, group_by_length=False
    )
    plain = SampleAugmenter(pairs, replace(settings, contrast={}))
    mine = SampleAugmenter(pairs, settings)
    assert mine.contrast is not None
    shown, ids = shown_classes(pairs.take(range(len(pairs)))), pairs.ids()
    replaced = asked = 0
    for step in range(60):
        before, after = (
            [one.turns[0] for one in augmenter.samples(step)] for augmenter in (plain, mine)
        )
        for place in range(0, 32, 2):
            two = slice(place, place + 2)
            asked += before[place].task == Task.UNIQUE_PARTS
            if [one.id for one in before[two]] == [one.id for one in after[two]]:
                # These stay as they are, with wording and order of images.
                assert before[two] == after[two]
                continue
            assert before[place].task == Task.UNIQUE_PARTS
            assert contrast(*after[two], shown)
            if mine.contrast.of(ids.index(before[place].id)).size:
                assert before[place] == after[place]
            replaced += 1
    assert 0.5 < replaced / asked < 0.7
    # A batch depends on its number alone.
    again = [one.turns[0].id for one in SampleAugmenter(pairs, settings).samples(7)]
    assert again == [one.turns[0].id for one in mine.samples(7)]


def test_samples_that_training_leaves_out_are_in_no_group(pairs: SampleTable) -> None:
    settings = replace(
        tiny().training,
        contrast=dict.fromkeys(Task, 1.0),
        source_weights={"ade20k": 1.0, "paco": 0.0, "partimagenet": 1.0},
        batch_size=16,
    )
    sources, of_row = pairs.coded("source")
    left_out = {pairs.ids()[at] for at in np.flatnonzero(of_row == sources.index("paco"))}
    assert left_out
    mine = SampleAugmenter(pairs, settings)
    for step in range(40):
        assert left_out.isdisjoint(one.turns[0].id for one in mine.samples(step))


def test_without_a_share_batches_stay_as_they_were(pairs: SampleTable) -> None:
    settings = replace(tiny().training, contrast={})
    nothing = replace(settings, contrast={"common_object": 0.0})
    for step in range(3):
        assert SampleAugmenter(pairs, settings).samples(step) == SampleAugmenter(
            pairs, nothing
        ).samples(step)


def test_faults_are_reported() -> None:
    with pytest.raises(
        UsageError, match=r"contrast\.parts: choose from common_object, common_parts"
    ):
        override(tiny(), {"training": {"contrast": {"parts": 0.5}}}, "of a test")
    with pytest.raises(UsageError, match=r"contrast.*<= 1"):
        override(tiny(), {"training": {"contrast": {"unique_parts": 1.5}}}, "of a test")
    three = SampleTable(pa.table({"images": [[{"row": row} for row in (1, 2, 3)]]}))
    with pytest.raises(UsageError, match="needs samples of two images, these have 3"):
        ContrastPartners(three)
