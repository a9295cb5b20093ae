"""From the text of the manifest files to their typed values, every fault with file and line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from mixedparts.sources.manifest_types import (
    ComparableGroup,
    Manifest,
    ObjectClass,
    PartClass,
    SourceFile,
    by_name,
    plain_name,
)
from mixedparts.sources.yaml_entries import Entry, load_yaml

_IDENTITY = ("source", "title", "version", "homepage", "download")
_TERMS = ("licence", "image_licence", "citation")
GROUPS = ("groups", "alone")
_SPLITS = ("train", "validation", "test")
_EVIDENCE = ("documented", "third party", "unverified")


def parse_manifest(
    text: str, file: str, other: Callable[[str], Manifest] | None = None
) -> Manifest:
    """Read one source's YAML; names are plain, comparable groups are not part of it.

    Args:
        other: returns another source's manifest with plain names, for `names_of`.

    Raises:
        InputError: the text is broken, with file and line.
    """
    return read_manifest(load_yaml(text, file), other)


def read_manifest(
    top: Entry, other: Callable[[str], Manifest] | None = None, extra: Sequence[str] = ()
) -> Manifest:
    """Read what is so upstream.

    Args:
        other: as in `parse_manifest`.
        extra: keys that stand in the same file and are read by others.

    Raises:
        InputError: the file is broken, with file and line.
    """
    facts = ("files", "counts", "names_of", "objects", "superclasses")
    top.only(*_IDENTITY, *_TERMS, *facts, *extra)
    like = None
    if top.has("names_of"):
        if other is None:
            top.at("names_of").fault("there is no other source here")
        like = other(top.string("names_of"))
    objects = _grouped_classes(top, like) if top.has("superclasses") else _listed_classes(top)
    return Manifest(
        source=top.string("source"),
        title=top.string("title"),
        version=top.string("version"),
        homepage=top.string("homepage"),
        download=top.string("download"),
        licence=top.string("licence"),
        image_licence=top.string("image_licence"),
        citation=top.string("citation"),
        files=tuple(_source_file(entry) for entry in top.at("files").elements()),
        counts=_counts(top.at("counts")),
        objects={item.key: item for item in objects},
        names_of=like.source if like else "",
        by_name=by_name(objects),
    )


def _counts(entry: Entry) -> dict[str, dict[str, int | str]]:
    entry.only(*_SPLITS)
    counts: dict[str, dict[str, int | str]] = {}
    for split, numbers in entry.items():
        numbers.only("images", "objects", "parts", "evidence")
        counts[split] = {"evidence": _evidence(numbers)}
        for key, _ in numbers.items():
            if key != "evidence":
                counts[split][key] = numbers.integer(key)
    return counts


def _source_file(entry: Entry) -> SourceFile:
    entry.only("name", "url", "revision", "sha256", "bytes", "evidence")
    return SourceFile(
        name=entry.string("name"),
        url=entry.string("url", ""),
        revision=entry.string("revision", ""),
        sha256=entry.string("sha256", ""),
        bytes=entry.integer("bytes", 0),
        evidence=_evidence(entry),
    )


def _evidence(entry: Entry) -> str:
    evidence = entry.string("evidence")
    if evidence not in _EVIDENCE:
        entry.at("evidence").fault(f"evidence is one of {', '.join(_EVIDENCE)}")
    return evidence


def _listed_classes(top: Entry) -> list[ObjectClass]:
    """Read `objects`: one class an entry, each with its own parts."""
    objects: dict[str, ObjectClass] = {}
    for entry in top.at("objects").elements():
        entry.only("key", "id", "also", "synset", "instances", "parts")
        key = entry.string("key")
        if key in objects:
            entry.fault(f"class '{key}' is listed twice")
        objects[key] = ObjectClass(
            key=key,
            id=entry.integer("id"),
            native=key,
            name=plain_name(key),
            superclass="",
            parts=_parts(entry.at("parts")),
            synset=entry.string("synset", ""),
            instances=entry.integer("instances", 0),
            also=entry.at("also").integers() if entry.has("also") else (),
        )
    return list(objects.values())


def _grouped_classes(top: Entry, like: Manifest | None) -> list[ObjectClass]:
    """Read `superclasses`: shared parts, and synsets with their first ImageNet name.

    Without `classes` they are those of the source whose names hold here too. Classes come back
    in the order of their synsets; the position is the id.
    """
    found: dict[str, tuple[str, str, str, tuple[PartClass, ...]]] = {}
    for superclass, entry in top.at("superclasses").items():
        entry.only("parts", "classes")
        parts = _parts(entry.at("parts"))
        for key, native in _members(entry, superclass, like):
            if key in found or not native:
                entry.fault(f"'{key} {native}' is listed twice or lacks its name")
            found[key] = (native, plain_name(native), superclass, parts)
    return [ObjectClass(key, position, *found[key]) for position, key in enumerate(sorted(found))]


def _members(entry: Entry, superclass: str, like: Manifest | None) -> Iterator[tuple[str, str]]:
    """Yield the synset and the native name of every class of a super-category."""
    if like is None or entry.has("classes"):
        for text in entry.at("classes").strings():
            key, _, native = text.partition(" ")
            yield key, native
        return
    same = [item for item in like.objects.values() if item.superclass == superclass]
    if not same:
        entry.fault(f"{like.source} has no superclass '{superclass}'")
    yield from ((item.key, item.native) for item in same)


def _parts(entry: Entry) -> tuple[PartClass, ...]:
    parts = []
    for native, value in entry.items():
        listed = value.integers() if isinstance(value.value, list) else ()
        number = listed[0] if listed else entry.integer(native)
        parts.append(PartClass(number, native, plain_name(native), listed[1:]))
    return tuple(parts)


def parse_groups(text: str, file: str) -> tuple[ComparableGroup, ...]:
    """Read the groups file: `groups` with their classes, and `alone` with reasons.

    Raises:
        InputError: the text is broken, with file and line.
    """
    top = load_yaml(text, file)
    top.only(*GROUPS)
    return read_groups(top)


def read_groups(top: Entry) -> tuple[ComparableGroup, ...]:
    """Read `groups` and `alone`, wherever they stand.

    Raises:
        InputError: one of them is missing or broken, with file and line.
    """
    found: list[ComparableGroup] = []
    for name, entry in top.at("groups").items():
        entry.only("why", "classes")
        classes = entry.at("classes").strings()
        if len(set(classes)) < max(2, len(classes)):
            entry.fault(f"group '{name}' needs two or more classes, each once")
        found.append(ComparableGroup(name, entry.string("why"), classes))
    alone = top.at("alone")
    found += [ComparableGroup(name, alone.string(name), (name,)) for name, _ in alone.items()]
    return tuple(found)


def described_groups(top: Entry, manifest: Manifest) -> Manifest:
    """Return the manifest with the groups that a source of someone else's brings along.

    Raises:
        InputError: a group is broken or names no class of the source, with file and line.
    """
    if not any(top.has(key) for key in GROUPS):
        return with_groups(manifest, ())
    groups = read_groups(top)
    for group in groups:
        for name in group.classes:
            if name not in manifest.by_name:
                top.fault(f"group '{group.name}': no class is called '{name}'")
    return with_groups(manifest, groups)


def with_groups(
    manifest: Manifest,
    groups: Sequence[ComparableGroup],
    canonical: Mapping[str, str] | None = None,
) -> Manifest:
    """Return the manifest with those groups that hold one of its classes.

    Args:
        everyday: by key, the name that a class bears in the groups; by default its own.
    """
    of: dict[str, set[str]] = {name: set() for name in manifest.by_name}
    known = {}
    for key, item in manifest.objects.items():
        name = canonical[key] if canonical else item.name
        for group in groups:
            if name in group.classes:
                of[item.name].add(group.name)
                known[group.name] = group
    mine = tuple(group for group in groups if group.name in known)
    return replace(
        manifest, groups=mine, groups_of={name: frozenset(names) for name, names in of.items()}
    )
