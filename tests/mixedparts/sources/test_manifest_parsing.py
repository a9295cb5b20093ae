"""The reading of manifests: typed values, comparability, and faults that name file and line."""

from __future__ import annotations

import pytest

from mixedparts.errors import InputError, UsageError
from mixedparts.sources.manifest_parsing import parse_groups, parse_manifest, with_groups
from mixedparts.sources.manifest_types import plain_name
from mixedparts.sources.manifests import ComparableGroup, PartClass, load_manifest, manifests_digest
from mixedparts.sources.yaml_entries import load_yaml
from tests.factories.manifests import GROUPED, LISTED


def test_listed_classes_keep_upstream_ids_and_native_names() -> None:
    manifest = parse_manifest(LISTED, "zoo.yaml")
    assert list(manifest.objects) == ["owl", "barn_owl", "bat", "stone"]
    owl = manifest.objects["owl"]
    assert (owl.id, owl.name, owl.superclass) == (7, "owl", "")
    assert owl.parts == (PartClass(1, "Beek", "beek"), PartClass(2, "left_wing", "left wing"))
    assert manifest.objects["barn_owl"].name == "barn owl"
    assert manifest.objects["stone"].parts == ()
    assert manifest.part_names("owl") == ("beek", "left wing")
    assert manifest.part_names() == ("beek", "left wing", "tail")
    assert manifest.part_names("no such class") == ()


def test_grouped_classes_are_numbered_by_sorted_key() -> None:
    manifest = parse_manifest(GROUPED, "zoo.yaml")
    found = [(o.key, o.id, o.native, o.superclass, o.owner) for o in manifest.objects.values()]
    assert found == [
        ("n1", 0, "eagle owl", "Bird", "Bird"),
        ("n2", 1, "barn owl", "Bird", "Bird"),
        ("n3", 2, "hen", "Bird", "Bird"),
    ]
    assert manifest.objects["n3"].parts[1] == PartClass(1, "Side Wing", "side wing")


def test_classes_can_be_those_of_another_source() -> None:
    text = GROUPED.replace("superclasses:", "names_of: zoo\nsuperclasses:")
    text = text.replace("    classes: [n2 barn owl, n1 eagle owl, n3 hen]\n", "")
    text = text.replace("source: zoo", "source: aviary").replace("Beek: 0", "Beak: 5")
    other = parse_manifest(text, "aviary.yaml", lambda _: parse_manifest(GROUPED, "zoo.yaml"))
    assert other.names_of == "zoo"
    assert [(o.key, o.native) for o in other.objects.values()] == [
        ("n1", "eagle owl"), ("n2", "barn owl"), ("n3", "hen"),
    ]  # fmt: skip
    assert other.objects["n1"].parts[0] == PartClass(5, "Beak", "beak")
    with pytest.raises(InputError, match="zoo has no superclass 'Fish'"):
        parse_manifest(
            text.replace("  Bird:", "  Fish:"), "a", lambda _: parse_manifest(GROUPED, "zoo.yaml")
        )
    with pytest.raises(InputError, match="no other source"):
        parse_manifest(text, "aviary.yaml")


def test_comparable_needs_a_shared_group_and_a_shared_part() -> None:
    flyers = ComparableGroup("flyers", "they fly", ("owl", "bat", "stone"))
    manifest = with_groups(parse_manifest(LISTED, "zoo.yaml"), (flyers,))
    assert manifest.comparable("owl", "bat")
    assert manifest.comparable("bat", "owl")
    assert manifest.comparable("stone", "stone")
    assert not manifest.comparable("owl", "stone")  # one group, no part in common
    apart = with_groups(parse_manifest(LISTED, "zoo.yaml"), ())
    assert not apart.comparable("owl", "bat")  # a part in common, no group


def test_groups_span_sources() -> None:
    flyers = ComparableGroup("flyers", "they fly", ("owl", "bat", "kite"))
    swimmers = ComparableGroup("swimmers", "they swim", ("seal", "whale"))
    zoo = with_groups(parse_manifest(LISTED, "zoo.yaml"), (flyers, swimmers))
    text = LISTED.replace("source: zoo", "source: park").replace("key: owl", "key: kite")
    park = with_groups(parse_manifest(text, "park.yaml"), (flyers, swimmers))
    assert zoo.groups == (flyers,)
    assert zoo.members(flyers) == ("bat", "owl")
    assert zoo.comparable("owl", "kite", park)
    assert park.comparable("kite", "owl", zoo)
    assert zoo.comparable("stone", "stone", park)
    assert not zoo.comparable("barn owl", "kite", park)


def test_plain_names() -> None:
    assert plain_name("tape_(sticky_cloth_or_paper)") == "tape"
    assert plain_name("inner_body") == "inner body"
    assert plain_name("Side Mirror") == "side mirror"


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("title: Zoo", "titel: Zoo", 2, "unknown key 'titel'"),
        ("title: Zoo", "title: 3", 2, "'title' must be text"),
        ("version: v1\n", "", 1, "'version' is missing"),
        ("evidence: documented", "evidence: hearsay", 10, "evidence is one of"),
        ("images: 3", "images: many", 12, "'images' must be a whole number"),
        ("  train:", "  trian:", 12, "unknown key 'trian'"),
        ("id: 8", "id: -8", 15, "'id' must be a whole number"),
        ("key: barn_owl", "key: owl", 15, "class 'owl' is listed twice"),
        ("{tail: 3}", "[tail]", 15, "keys and values are expected here"),
        ("{tail: 3}", "{tail: 3, no: 4}", 15, "put it in quotes"),
        ("{tail: 3}", "{tail: 3, tail: 4}", 15, "'tail' is written twice"),
        ("{tail: 3}}", "{tail: 3}", 16, ""),
    ],
)
def test_a_fault_names_file_and_line(old: str, new: str, line: int, words: str) -> None:
    assert LISTED.count(old) == 1
    with pytest.raises(InputError) as caught:
        parse_manifest(LISTED.replace(old, new), "zoo.yaml")
    assert caught.value.message.startswith(f"zoo.yaml:{line}: ")
    assert words in caught.value.message
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("n3 hen", "n2 hen", "listed twice"),
        ("n3 hen", "n3", "lacks its name"),
        ("[n2 barn owl, n1 eagle owl, n3 hen]", "n3 hen", "a list is expected here"),
    ],
)
def test_faults_of_grouped_classes(old: str, new: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_manifest(GROUPED.replace(old, new), "zoo.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{groups: {a: {why: x, classes: [owl]}}, alone: {}}", "two or more classes"),
        ("{groups: {a: {why: x, classes: [owl, owl]}}, alone: {}}", "each once"),
        ("{groups: {a: {classes: [owl, bat]}}, alone: {}}", "'why' is missing"),
        ("{groups: {a: {why: ' ', classes: [owl, bat]}}, alone: {}}", "'why' must be text"),
        ("{groups: {}, alone: {owl: }}", "'owl' must be text"),
        ("{alone: {}}", "'groups' is missing"),
    ],
)
def test_faults_of_groups(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_groups(text, "groups.yaml")


def test_alone_may_be_left_out() -> None:
    (group,) = parse_groups("{groups: {a: {why: x, classes: [owl, bat]}}}", "groups.yaml")
    assert group.classes == ("owl", "bat")


def test_text_that_is_no_yaml_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"x\.yaml:2: "):
        load_yaml("a: 1\nb: ]\n", "x.yaml")
    with pytest.raises(InputError, match=r"x\.yaml"):
        load_yaml("a: \x00", "x.yaml")


def test_unknown_source_is_a_usage_error_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="Did you mean 'paco'") as caught:
        load_manifest("pacoo")
    assert caught.value.exit_code == 2
    assert "ade20k, ade20k_full, paco, partimagenet" in str(caught.value)


def test_manifests_are_read_once() -> None:
    assert load_manifest("paco") is load_manifest("paco")


def test_digest_follows_every_byte_of_every_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mixedparts.sources import manifests as taxonomy

    files = {"a.yaml": b"one", "b.yaml": b"two"}
    monkeypatch.setattr(taxonomy, "_files", lambda: tuple(sorted(files)))
    monkeypatch.setattr(taxonomy, "_read", lambda name: files[name])
    before = manifests_digest()
    files["b.yaml"] = b"twO"
    after = manifests_digest()
    files["b.yaml"], files["a.yaml"] = b"", b"onetwO"
    assert len({before, after, manifests_digest()}) == 3
    assert len(before) == 64
