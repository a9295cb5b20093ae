"""The table of names and the profiles: what they change, and faults that name file and line."""

from __future__ import annotations

import pytest

from mixedparts.errors import InputError, UsageError
from mixedparts.sources.manifest_parsing import parse_manifest
from mixedparts.sources.manifest_types import Manifest
from mixedparts.sources.manifests import load_manifest, profile_for, profiles
from mixedparts.sources.renames import (
    in_profile,
    kept_apart,
    parse_names,
    parse_profiles,
    renames_of,
)
from tests.factories.manifests import GROUPED, LISTED

NAMES = """\
objects:
  owl:
    zoo: [barn_owl]
    reason: kinds of one bird
parts:
  beak:
    - {source: zoo, part: Beek, reason: misspelt}
  wing:
    - {source: zoo, part: left_wing, of: [owl, bat], reason: the side says nothing}
kept_apart:
  parts:
    - {names: [wing, tail], reason: both fly}
  objects: []
"""
PROFILES = """\
all: {about: everything}
few:
  about: some of it
  sources: [zoo]
  drop: [{source: zoo, superclasses: [Bird], evidence: known, reason: none left}]
  names: [{source: zoo, part: left_wing, of: [bat], evidence: inferred, reason: a guess}]
  unknown: [the rest]
"""


def named(names: str = NAMES, manifest: str = LISTED, profile: str = "all") -> Manifest:
    upstream = parse_manifest(manifest, "zoo.yaml")
    renames = renames_of(parse_names(names, "names.yaml", ["zoo"]), upstream)
    return in_profile(upstream, renames, parse_profiles(PROFILES, "profiles.yaml")[profile])


def test_every_changed_name_is_a_rename_with_a_reason() -> None:
    manifest = named()
    assert {(r.level, r.owner, r.native, r.name, r.reason) for r in manifest.renames} == {
        ("object", "barn_owl", "barn_owl", "owl", "kinds of one bird"),
        ("part", "", "Beek", "beak", "misspelt"),
        ("part", "owl", "left_wing", "wing", "the side says nothing"),
        ("part", "bat", "left_wing", "wing", "the side says nothing"),
    }
    assert manifest.part_names("owl") == ("beak", "tail", "wing")
    assert [item.key for item in manifest.by_name["owl"]] == ["owl", "barn_owl"]
    assert manifest.objects["owl"].parts[0].native == "Beek"


def test_a_part_of_a_superclass_is_renamed_for_all_its_classes() -> None:
    names = NAMES.replace("[barn_owl]", "[barn owl, eagle owl]").replace("left_wing", "Side Wing")
    manifest = named(names.replace("[owl, bat]", "[Bird]"), GROUPED)
    assert manifest.part_names("owl") == manifest.part_names("hen") == ("beak", "wing")


def test_a_profile_keeps_only_its_renames() -> None:
    manifest = named(profile="few")
    assert manifest.profile == "few"
    assert {r.owner for r in manifest.renames} == {"bat"}
    assert manifest.part_names("bat") == ("wing",)
    assert manifest.part_names("owl") == ("beek", "left wing")
    assert "barn owl" in manifest.by_name


def test_a_profile_drops_superclasses() -> None:
    names = "{objects: {}, parts: {}, kept_apart: {parts: [], objects: []}}"
    assert named(names, GROUPED, "few").objects == {}
    assert named(names, GROUPED, "few").left_out == {"n1", "n2", "n3"}
    assert len(named(names, GROUPED).objects) == 3


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("part: Beek,", "part: Beak,", 7, "zoo has no part 'Beak' of 'any'"),
        ("[owl, bat]", "[owl, stone]", 9, "zoo has no part 'left_wing' of 'stone'"),
        ("[owl, bat]", "[owl, owl]", 9, "gets a name twice"),
        ("[barn_owl]", "[barn owl]", 3, "zoo has no class 'barn owl'"),
        ("[barn_owl]", "[barn_owl, barn_owl]", 3, "gets a name twice"),
        ("    reason: kinds of one bird\n", "", 2, "'reason' is missing"),
        ("reason: misspelt", "reason: ''", 7, "'reason' must be text"),
        ("source: zoo, part: Beek", "source: zoon, part: Beek", 7, "source is one of zoo"),
        ("    zoo: [barn", "    zoon: [barn", 3, "unknown key 'zoon'"),
        ("  beak:", "  Beak:", 7, "a name is lower case"),
        ("  owl:\n    zoo: [barn_owl]", "  bat:\n    zoo: [bat]", 3, "without an entry"),
    ],
)
def test_a_fault_in_the_table_names_its_line(old: str, new: str, line: int, words: str) -> None:
    assert NAMES.count(old) == 1
    with pytest.raises(InputError) as caught:
        named(NAMES.replace(old, new))
    assert caught.value.message.startswith(f"names.yaml:{line}: ")
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("evidence: known", "evidence: certain", "evidence is one of known, inferred"),
        ("part: left_wing", "objects: all, part: left_wing", "names one part"),
        ("part: left_wing", "objects: some", "names one part"),
        ("about: some of it", "title: some of it", "unknown key 'title'"),
        ("reason: a guess", "why: a guess", "unknown key 'why'"),
    ],
)
def test_faults_of_profiles(old: str, new: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_profiles(PROFILES.replace(old, new), "profiles.yaml")


def test_names_kept_apart_are_two_or_more() -> None:
    (entry,) = kept_apart(parse_names(NAMES, "names.yaml", ["zoo"]))
    assert (entry.level, entry.names, entry.reason) == ("part", ("wing", "tail"), "both fly")
    broken = NAMES.replace("[wing, tail]", "[wing, wing]")
    with pytest.raises(InputError, match="two or more names"):
        kept_apart(parse_names(broken, "names.yaml", ["zoo"]))


def test_the_published_profile_has_what_is_known_of_the_bundle() -> None:
    imagenet = load_manifest("partimagenet", "published")
    ids = {part.id for item in imagenet.objects.values() for part in item.parts}
    assert ids == set(range(31))
    assert {"antelope", "bird", "monkey", "snake"} <= set(imagenet.by_name)
    assert {"hand", "foot", "tire", "side mirror"} <= set(imagenet.part_names())
    assert len(imagenet.left_out) == 4 + 2 + 5
    ade = load_manifest("ade20k", "published")
    assert {(r.owner, r.native, r.name) for r in ade.renames} == {
        ("lamp", "column", "pipe"),
        ("chair", "seat cushion", "seat"),
        ("armchair", "seat cushion", "seat"),
    }
    assert "seat cushion" in ade.part_names("sofa")
    paco = load_manifest("paco", "published")
    assert paco.renames == ()
    assert "microwave oven" in paco.by_name
    assert len(paco.part_names()) == 200


def test_the_published_profile_says_what_is_inferred_and_what_is_unknown() -> None:
    view = profiles()["published"]
    assert all(entry.evidence == "inferred" for entry in view.drop)
    certain = {(entry.source, entry.part): entry.evidence for entry in view.names or ()}
    assert certain["ade20k", "column"] == "known"
    assert certain["partimagenet", ""] == "inferred"
    assert any("126" in text and "not public" in text for text in view.unknown)


def test_groups_hold_in_a_profile_under_its_names() -> None:
    paco = load_manifest("paco", "published")
    ade = load_manifest("ade20k", "published")
    assert paco.comparable("microwave oven", "refrigerator", ade)  # by the side
    assert not ade.comparable("dishwasher", "microwave oven", paco)  # their panels bear two names
    assert load_manifest("ade20k").comparable("dishwasher", "microwave", load_manifest("paco"))


def test_an_unknown_profile_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no profile 'publishd'\. Did you mean 'published'"):
        load_manifest("paco", "publishd")
    with pytest.raises(UsageError, match="'published' does not cover source 'partinventory'"):
        profile_for("partinventory", "published")
