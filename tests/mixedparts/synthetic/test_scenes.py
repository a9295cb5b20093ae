"""What the pictures show: enough classes, shared parts, missing and hidden parts, company."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from mixedparts.synthetic.render import Rendered
from mixedparts.synthetic.vocabulary import SOURCES, object_class, part_id, subjects
from tests.factories.synthetic import IMAGES


@pytest.mark.parametrize("source", SOURCES)
def test_classes_and_parts_exist_upstream(source: str) -> None:
    assert len(subjects(source)) >= 8
    for subject in subjects(source):
        for key in subject.keys:
            for native in subject.parts.values():
                assert part_id(source, key, native) >= 0
        assert len({object_class(source, key).name for key in subject.keys}) == 1
        assert 2 <= len(set(subject.parts.values())) <= 6
        drawn = {shape.key for n in range(20) for shape in subject.draw(np.random.default_rng(n))}
        assert set(subject.absent) | set(subject.parts) <= drawn
    with pytest.raises(KeyError, match="no part"):
        part_id(source, subjects(source)[0].keys[0], "not a part")


@pytest.mark.parametrize("source", SOURCES)
def test_parts_are_shared_by_classes(source: str) -> None:
    classes: dict[str, set[str]] = defaultdict(set)
    for subject in subjects(source):
        for native in subject.parts.values():
            classes[native].add(object_class(source, subject.keys[0]).name)
    assert sum(len(owners) >= 3 for owners in classes.values()) >= 2


@pytest.mark.parametrize("source", SOURCES)
def test_every_class_is_shown_and_none_dominates(
    source: str, rendered: dict[str, list[Rendered]]
) -> None:
    shown = Counter(
        object_class(source, key).name
        for key in (_main_key(picture) for picture in rendered[source])
    )
    assert sum(shown.values()) == IMAGES
    assert set(shown) == {object_class(source, s.keys[0]).name for s in subjects(source)}
    assert max(shown.values()) <= IMAGES // len(subjects(source)) + 4


def _main_key(picture: Rendered) -> str:
    """Return the class of the largest object in the picture."""
    return max(picture.objects, key=lambda item: item.cut.mask.sum()).key


@pytest.mark.parametrize("source", SOURCES)
def test_sizes(source: str, rendered: dict[str, list[Rendered]]) -> None:
    shapes = [picture.pixels.shape for picture in rendered[source]]
    assert all(128 <= side <= 192 for height, width, _ in shapes for side in (height, width))
    assert any(height > width for height, width, _ in shapes)
    assert any(height < width for height, width, _ in shapes)
    for picture in rendered[source]:
        assert picture.pixels.dtype == np.uint8
        for item in picture.objects:
            assert item.cut.mask.mean() >= 0.02


@pytest.mark.parametrize("source", SOURCES)
def test_some_parts_are_missing_or_hidden(source: str, rendered: dict[str, list[Rendered]]) -> None:
    complete = {key: set(s.parts.values()) for s in subjects(source) for key in s.keys}
    lacking, hidden = 0, 0
    for picture in rendered[source]:
        for item in picture.objects:
            lacking += len(complete[item.key]) > len(item.parts)
        drawn = np.bincount(picture.labels.ravel(), minlength=1)
        label = 0
        for actor in picture.scene.actors:
            for shape in actor.shapes:
                label += 1
                seen = drawn[label] if label < drawn.size else 0
                if actor.subject is not None and shape.key in actor.subject.parts:
                    hidden += shape.geometry.area > 20 and seen < 0.5 * shape.geometry.area
    objects = sum(len(picture.objects) for picture in rendered[source])
    assert 0.1 * objects < lacking < 0.95 * objects
    assert hidden > 5


def test_company(rendered: dict[str, list[Rendered]]) -> None:
    for source in ("paco", "ade20k"):
        kinds = [{item.key for item in picture.objects} for picture in rendered[source]]
        counts = [len(picture.objects) for picture in rendered[source]]
        assert set(counts) == {1, 2, 3}
        assert any(len(keys) > 1 for keys in kinds)
        assert any(n > len(keys) for n, keys in zip(counts, kinds, strict=True))
    in_pin = [{item.key for item in picture.objects} for picture in rendered["partimagenet"]]
    assert all(len(keys) == 1 for keys in in_pin)
    assert any(len(picture.objects) == 2 for picture in rendered["partimagenet"])
    clutter = [
        sum(actor.subject is None for actor in picture.scene.actors)
        for pictures in rendered.values()
        for picture in pictures
    ]
    assert min(clutter) == 0
    assert 3 <= max(clutter) <= 4


def test_objects_stand_out_from_the_ground(rendered: dict[str, list[Rendered]]) -> None:
    """Pixels under a mask were painted: their colours differ from the ground's, nearly always."""
    apart = []
    for pictures in rendered.values():
        for picture in pictures:
            ground = picture.pixels[picture.labels == 0].mean(axis=0)
            for item in picture.objects:
                apart.append(np.abs(picture.pixels[item.cut.mask].mean(axis=0) - ground).max())
    assert np.quantile(apart, 0.1) > 15
