"""The manifests' facts: published counts, known entries, names, and what is comparable."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

import manifests
from mixedparts.sources.manifest_parsing import parse_manifest
from mixedparts.sources.manifest_types import plain_name
from mixedparts.sources.manifests import Manifest, load_manifest, manifest_names
from tests.checkout import REAL_SAMPLES

SOURCES = ("paco", "partimagenet", "ade20k", "partinventory", "ade20k_full", "pascal_part")
REAL = REAL_SAMPLES / "taxonomies"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="no real samples beside the checkout")


def test_every_source_has_a_manifest() -> None:
    assert set(manifest_names()) == set(SOURCES)


@pytest.mark.parametrize(
    ("source", "objects", "parts", "native_words"),
    [
        ("paco", 75, 456, 200),
        ("partimagenet", 158, 598, 13),
        ("ade20k", 44, 234, 85),
        ("partinventory", 158, 598, 14),
        ("ade20k_full", 44, 234, 85),
        ("pascal_part", 20, 193, 89),
    ],
)
def test_published_counts(source: str, objects: int, parts: int, native_words: int) -> None:
    manifest = load_manifest(source)
    assert len(manifest.objects) == objects
    found = [part for item in manifest.objects.values() for part in item.parts]
    assert len(found) == parts
    assert len({part.native for part in found}) == native_words


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
    assert all(len(r.reason.split()) > 1 for r in manifest.renames)
    for item in manifest.objects.values():
        rename = renamed.get(("object", item.key, item.native))
        assert item.name == (rename.name if rename else plain_name(item.native))
        for part in item.parts:
            owned = renamed.get(("part", item.owner, part.native))
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


@pytest.mark.parametrize(
    ("source", "key", "native", "name"),
    [
        ("paco", "pipe", "colied_tube", "coiled tube"),
        ("paco", "car_(automobile)", "steeringwheel", "steering wheel"),
        ("paco", "bicycle", "saddle", "seat"),
        ("paco", "microwave_oven", "control_panel", "control panel"),
        ("paco", "clock", "hand", "hand"),
        ("ade20k", "microwave", "button panel", "control panel"),
        ("ade20k", "lamp", "column", "pipe"),
        ("ade20k", "armchair", "seat cushion", "seat"),
        ("ade20k", "sofa", "seat cushion", "seat"),
        ("ade20k", "sofa", "seat base", "seat base"),
        ("ade20k", "person", "hand", "hand"),
        ("ade20k", "door", "door frame", "door frame"),
        ("partimagenet", "n02930766", "Tier", "tire"),
        ("partimagenet", "n02930766", "Side Mirror", "mirror"),
        ("partimagenet", "n02480855", "Hand", "arm"),
        ("partimagenet", "n02480855", "Foot", "leg"),
        ("partimagenet", "n02099601", "Foot", "foot"),
        ("partimagenet", "n01614925", "Foot", "foot"),
        ("partinventory", "n02480855", "Arm", "arm"),
        ("partinventory", "n02930766", "Side Mirror", "mirror"),
        ("ade20k_full", "sofa", "seat cushion", "seat"),
        ("pascal_part", "dog", "torso", "body"),
        ("pascal_part", "person", "torso", "torso"),
        ("pascal_part", "cat", "lfpa", "foot"),
        ("pascal_part", "horse", "lbho", "hoof"),
        ("pascal_part", "cow", "rear", "ear"),
    ],
)
def test_part_names_come_together_only_where_they_mean_the_same(
    source: str, key: str, native: str, name: str
) -> None:
    item = load_manifest(source).objects[key]
    assert {part.name for part in item.parts if part.native == native} == {name}


@pytest.mark.parametrize(
    ("name", "sources"),
    [
        ("dog", {"paco", "partimagenet", "partinventory", "pascal_part"}),
        ("microwave", {"paco", "ade20k", "ade20k_full"}),
        ("television", {"paco", "ade20k", "ade20k_full", "pascal_part"}),
        ("chair", {"paco", "ade20k", "ade20k_full", "pascal_part"}),
        ("car", {"paco", "ade20k", "ade20k_full", "pascal_part"}),
        ("motorcycle", {"ade20k", "ade20k_full", "pascal_part"}),
        ("monkey", {"partimagenet", "partinventory"}),
    ],
)
def test_objects_of_one_meaning_bear_one_name(name: str, sources: set[str]) -> None:
    assert {s for s in SOURCES if name in load_manifest(s).by_name} == sources


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


def test_ade_ids_cover_the_part_map() -> None:
    objects = load_manifest("ade20k").objects
    seats = [part.id for part in objects["chair"].parts if part.name == "seat"]
    assert len(seats) == 2
    ids = [part.id for item in objects.values() for part in item.parts]
    assert sorted(ids) == list(range(234))


PAIRS = [*itertools.combinations_with_replacement(SOURCES[:3], 2), ("paco", "partinventory")]


@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_comparable_is_symmetric_reflexive_and_shares_a_part(one: str, two: str) -> None:
    first, second = load_manifest(one), load_manifest(two)
    parts = [{n: set(m.part_names(n)) for n in m.by_name} for m in (first, second)]
    met = 0
    for name, other in itertools.product(first.by_name, second.by_name):
        said = first.comparable(name, other, second)
        assert said == second.comparable(other, name, first)
        if name == other:
            assert said
        elif said:
            met += 1
            assert parts[0][name] & parts[1][other], (name, other)
            assert first.groups_of[name] & second.groups_of[other], (name, other)
    assert met > 10


def test_groups_hold_across_sources_by_the_parts_of_each() -> None:
    paco, imagenet, ade = (load_manifest(s) for s in ("paco", "partimagenet", "ade20k"))
    assert paco.comparable("dog", "wolf", imagenet)
    assert paco.comparable("car", "taxi", imagenet)  # by the mirror
    assert paco.comparable("bicycle", "mountain bike", imagenet)  # by the seat
    assert paco.comparable("ladder", "stool")  # by PACO's step,
    assert not paco.comparable("ladder", "stool", ade)  # which ADE20K's stool lacks
    assert not paco.comparable("bottle", "dog", imagenet)


@pytest.mark.parametrize(
    ("source", "first", "second", "expected"),
    [
        ("paco", "knife", "scissors", True),
        ("paco", "chair", "microwave", False),
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


def misspelt(manifest: Manifest) -> set[object]:
    """What a manifest says of ids, names and parts, and upstream's own list does not, or back."""
    objects = manifest.objects.values()
    said: set[object] = set()
    if manifest.source == "paco":
        block = real("paco_lvis_v1.json")["raw_categories_block"]
        for item in objects:
            said.add((item.id, item.key, "OBJECT", item.synset))
            said |= {(p.id, f"{item.key}:{p.native}", "PART", p.native) for p in item.parts}
        return said ^ {(c["id"], c["name"], c["supercategory"], c["synset"]) for c in block}
    if manifest.source == "ade20k":
        lists = real("ade20k_part_234.json")
        said = {(o.id, o.key) for o in objects}
        said |= {(p.id, f"{o.key}'s {p.native}") for o in objects for p in o.parts}
        return said ^ {(c["id"], c["name"]) for c in (*lists["objects"], *lists["parts"])}
    lists = real("partimagenet.json")
    said = {(o.key, o.native, o.superclass) for o in objects}
    said |= {(p.id, f"{o.superclass} {p.native}") for o in objects for p in o.parts}
    named = {(c["synset"], c["name"], c["supercategory"]) for c in lists["classes"]}
    return said ^ named ^ {(c["id"], c["name"]) for c in lists["part_categories"]}


def real(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REAL / name).read_text())
    return content


@needs_real
@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        ("paco", "inner_wall: 2238", "inner_wal: 2238"),
        ("paco", "key: wallet", "key: walet"),
        ("ade20k", "cistern: 16", "cistern: 17"),
        ("ade20k", "key: ottoman", "key: otoman"),
        ("partimagenet", "n02423022 gazelle", "n02423023 gazelle"),
        ("partimagenet", "Sail: 32", "Sial: 32"),
    ],
)
def test_no_name_is_misspelt_against_the_real_lists(source: str, old: str, new: str) -> None:
    text = (Path(manifests.__path__[0]) / f"{source}.yaml").read_text()
    assert misspelt(parse_manifest(text, "m.yaml")) == set()
    assert text.count(old) == 1
    assert misspelt(parse_manifest(text.replace(old, new), "m.yaml"))
