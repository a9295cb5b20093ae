"""The manifests' facts: published counts, known entries, and groups that cover every class."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from mixedparts.manifest_parsing import plain_name
from mixedparts.taxonomy import groups, load_manifest, manifest_names

SOURCES = ("paco", "partimagenet", "ade20k", "partinventory", "ade20k_full", "pascal_part")
REAL = Path(__file__).parents[1] / "../shared/data/taxonomies"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="no real samples beside the checkout")


def test_every_source_has_a_manifest() -> None:
    assert set(manifest_names()) == set(SOURCES)


@pytest.mark.parametrize(
    ("source", "objects", "parts", "part_words"),
    [
        ("paco", 75, 456, 200),
        ("partimagenet", 158, 598, 13),
        ("ade20k", 44, 234, 85),
        ("partinventory", 158, 598, 14),
        ("ade20k_full", 44, 234, 85),
        ("pascal_part", 20, 193, 41),
    ],
)
def test_published_counts(source: str, objects: int, parts: int, part_words: int) -> None:
    manifest = load_manifest(source)
    assert len(manifest.objects) == objects
    assert sum(len(item.parts) for item in manifest.objects.values()) == parts
    assert len(manifest.part_names()) == part_words


@pytest.mark.parametrize("source", SOURCES)
def test_ids_and_keys_are_unique(source: str) -> None:
    objects = load_manifest(source).objects
    assert all(key == item.key for key, item in objects.items())
    assert len({item.id for item in objects.values()}) == len(objects)
    for item in objects.values():
        assert len({part.id for part in item.parts}) == len(item.parts)
        assert len({part.native for part in item.parts}) == len(item.parts)


@pytest.mark.parametrize("source", SOURCES)
def test_names_are_normal(source: str) -> None:
    manifest = load_manifest(source)
    names = [*manifest.by_name, *manifest.part_names()]
    assert all(name and name == plain_name(name) for name in names)


@pytest.mark.parametrize("source", SOURCES)
def test_every_name_is_the_plain_one_or_a_reasoned_rename(source: str) -> None:
    manifest = load_manifest(source)
    renamed = {(r.level, r.owner, r.native): r for r in manifest.renames}
    assert all(len(r.reason) > 10 for r in manifest.renames)
    for item in manifest.objects.values():
        rename = renamed.get(("object", item.key, item.native))
        assert item.name == (rename.name if rename else plain_name(item.native))
        for part in item.parts:
            owned = renamed.get(("part", item.key, part.native))
            rename = owned or renamed.get(("part", "", part.native))
            assert part.name == (rename.name if rename else plain_name(part.native))


def test_paco_ids_cover_the_published_ranges() -> None:
    paco = load_manifest("paco")
    ids = [part.id for item in paco.objects.values() for part in item.parts]
    assert sorted(ids) == list(range(2000, 2456))
    assert sum(item.instances for item in paco.objects.values()) == 217117
    car = paco.objects["car_(automobile)"]
    assert (car.id, car.name, car.synset) == (207, "car", "car.n.01")
    assert next(part.id for part in car.parts if part.native == "antenna") == 2000


def test_paco_renames() -> None:
    paco = load_manifest("paco")
    assert {(r.native, r.name) for r in paco.renames} == {
        ("colied_tube", "coiled tube"),
        ("runningboard", "running board"),
        ("steeringwheel", "steering wheel"),
        ("turnsignal", "turn signal"),
    }


def test_partimagenet_superclasses_have_the_published_sizes() -> None:
    sizes: dict[str, int] = {}
    ids = set()
    for item in load_manifest("partimagenet").objects.values():
        sizes[item.superclass] = sizes.get(item.superclass, 0) + 1
        ids |= {part.id for part in item.parts}
    assert sizes == {
        "Quadruped": 46,
        "Biped": 17,
        "Fish": 10,
        "Bird": 14,
        "Snake": 15,
        "Reptile": 20,
        "Car": 19,
        "Bicycle": 6,
        "Boat": 4,
        "Aeroplane": 2,
        "Bottle": 5,
    }
    assert ids == set(range(40))


def test_partimagenet_everyday_names() -> None:
    manifest = load_manifest("partimagenet")
    assert len(manifest.by_name["dog"]) == 18
    assert {item.superclass for item in manifest.by_name["snake"]} == {"Snake"}
    assert manifest.objects["n02486261"].name == "monkey"
    assert "tire" in manifest.part_names("jeep")
    assert [item.id for item in manifest.objects.values()] == list(range(158))
    for name, items in manifest.by_name.items():  # one body plan a name
        assert len({item.superclass for item in items}) == 1, name


def test_ade_renames_are_the_published_three() -> None:
    manifest = load_manifest("ade20k")
    assert {(r.owner, r.native, r.name) for r in manifest.renames} == {
        ("lamp", "column", "pipe"),
        ("chair", "seat cushion", "seat"),
        ("armchair", "seat cushion", "seat"),
    }
    seats = [part.id for part in manifest.objects["chair"].parts if part.name == "seat"]
    assert len(seats) == 2
    assert "seat cushion" in manifest.part_names("sofa")
    ids = [part.id for item in manifest.objects.values() for part in item.parts]
    assert sorted(ids) == list(range(234))


@pytest.mark.parametrize("source", SOURCES)
def test_every_class_is_grouped_or_stands_alone_with_a_reason(source: str) -> None:
    manifest = load_manifest(source)
    grouped = [name for g in manifest.groups if len(g.classes) > 1 for name in g.classes]
    alone = [g.classes[0] for g in manifest.groups if len(g.classes) == 1]
    assert set(grouped) | set(alone) == set(manifest.by_name)
    assert not set(grouped) & set(alone)
    assert all(len(group.reason) > 10 for group in manifest.groups)


def test_groups_name_known_sources() -> None:
    assert {group.source for group in groups()} == set(SOURCES)


@pytest.mark.parametrize("source", SOURCES)
def test_every_member_of_a_group_has_a_partner_in_it(source: str) -> None:
    manifest = load_manifest(source)
    for group in (g for g in manifest.groups if len(g.classes) > 1):
        for name in group.classes:
            others = [other for other in group.classes if other != name]
            assert any(manifest.comparable(name, other) for other in others), (group.name, name)


@pytest.mark.parametrize("source", SOURCES)
def test_comparable_is_symmetric_reflexive_and_shares_a_part(source: str) -> None:
    manifest = load_manifest(source)
    for first, second in itertools.product(manifest.by_name, repeat=2):
        assert manifest.comparable(first, second) == manifest.comparable(second, first)
        if first == second:
            assert manifest.comparable(first, second)
        elif manifest.comparable(first, second):
            shared = set(manifest.part_names(first)) & set(manifest.part_names(second))
            assert shared, (first, second)


@pytest.mark.parametrize(
    ("source", "first", "second", "expected"),
    [
        ("paco", "knife", "scissors", True),
        ("paco", "chair", "microwave oven", False),
        ("partimagenet", "monkey", "bird", True),
        ("partimagenet", "snake", "dog", True),
        ("partimagenet", "bird", "airliner", False),
        ("ade20k", "bed", "pool table", True),
        ("ade20k", "chair", "ottoman", True),
        ("ade20k", "chair", "microwave", False),
    ],
)
def test_pairs_shown_in_the_publication(
    source: str, first: str, second: str, expected: bool
) -> None:
    assert load_manifest(source).comparable(first, second) is expected


@needs_real
def test_paco_equals_the_real_categories_block() -> None:
    block = json.loads((REAL / "paco_lvis_v1.json").read_text())["raw_categories_block"]
    rebuilt = {}
    for item in load_manifest("paco").objects.values():
        rebuilt[item.id] = (item.key, "OBJECT", item.synset)
        for part in item.parts:
            rebuilt[part.id] = (f"{item.key}:{part.native}", "PART", part.native)
    assert rebuilt == {c["id"]: (c["name"], c["supercategory"], c["synset"]) for c in block}


@needs_real
def test_partimagenet_equals_the_real_lists() -> None:
    real = json.loads((REAL / "partimagenet.json").read_text())
    objects = load_manifest("partimagenet").objects
    assert {(o.key, o.native, o.superclass) for o in objects.values()} == {
        (c["synset"], c["name"], c["supercategory"]) for c in real["classes"]
    }
    parts = {(p.id, f"{o.superclass} {p.native}") for o in objects.values() for p in o.parts}
    assert parts == {(c["id"], c["name"]) for c in real["part_categories"]}


@needs_real
def test_ade_equals_the_real_lists() -> None:
    real = json.loads((REAL / "ade20k_part_234.json").read_text())
    objects = load_manifest("ade20k").objects
    assert {(o.id, o.key) for o in objects.values()} == {
        (c["id"], c["name"]) for c in real["objects"]
    }
    parts = {(p.id, f"{o.key}'s {p.native}") for o in objects.values() for p in o.parts}
    assert parts == {(c["id"], c["name"]) for c in real["parts"]}
