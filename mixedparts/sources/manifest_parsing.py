"""Parse the manifest files into typed values; every error names file and line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from mixedparts.records import SPLITS
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
_EVIDENCE = ("documented", "third party", "unverified")


def parse_manifest(
    text: str, file: str, other: Callable[[str], Manifest] | None = None
) -> Manifest:
    """Return the manifest in the YAML of one source, with plain names and without groups.

    Args:
        text: content of the file.
        file: its name, for messages.
        other: returns the manifest of another source with plain names, for `names_of`.

    Returns:
        The manifest; names are upstream's in plain form, before any rename.

    Raises:
        InputError: the text is broken, with file and line.
    """
    return read_manifest(load_yaml(text, file), other)


def read_manifest(
    top: Entry, other: Callable[[str], Manifest] | None = None, extra: Sequence[str] = ()
) -> Manifest:
    """Return the manifest in a parsed YAML; see `parse_manifest`.

    Args:
        top: the top entry of the YAML.
        other: as in `parse_manifest`.
        extra: further keys that the file may have; the caller reads them.

    Returns:
        The manifest, with plain names and without groups.

    Raises:
        InputError: the file is broken, with file and line.
    """
    content = ("files", "counts", "names_of", "objects", "superclasses")
    top.only(*_IDENTITY, *_TERMS, *content, *extra)
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
    """Return upstream numbers and their evidence by split."""
    entry.only(*SPLITS)
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
    """Return how well a value is known."""
    evidence = entry.string("evidence")
    if evidence not in _EVIDENCE:
        entry.at("evidence").fault(f"evidence is one of {', '.join(_EVIDENCE)}")
    return evidence


def _listed_classes(top: Entry) -> list[ObjectClass]:
    """Return the classes under `objects`, each with its own parts."""
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
    """Return the classes under `superclasses`, in the order of their synsets.

    The classes of a super-category share its parts. Without `classes`, they are those of the
    source `like`.
    """
    # Synset -> the arguments of ObjectClass after key and id.
    fields: dict[str, tuple[str, str, str, tuple[PartClass, ...]]] = {}
    for superclass, entry in top.at("superclasses").items():
        entry.only("parts", "classes")
        parts = _parts(entry.at("parts"))
        for key, native in _members(entry, superclass, like):
            if key in fields or not native:
                entry.fault(f"'{key} {native}' is listed twice or lacks its name")
            fields[key] = (native, plain_name(native), superclass, parts)
    # The id is the position in sorted order; PartImageNet's label maps are inferred to use it.
    return [ObjectClass(key, position, *fields[key]) for position, key in enumerate(sorted(fields))]


def _members(entry: Entry, superclass: str, like: Manifest | None) -> Iterator[tuple[str, str]]:
    """Yield the synset and the native name of every class of a super-category."""
    # An entry is `n02085620 chihuahua`: the synset, then its first ImageNet name.
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
    """Return the parts in a mapping of native name -> upstream id, or list of ids."""
    parts = []
    for native, value in entry.items():
        listed = value.integers() if isinstance(value.value, list) else ()
        number = listed[0] if listed else entry.integer(native)
        parts.append(PartClass(number, native, plain_name(native), listed[1:]))
    return tuple(parts)


def parse_groups(text: str, file: str) -> tuple[ComparableGroup, ...]:
    """Return the groups in a groups file: `groups` with classes, `alone` with reasons.

    Raises:
        InputError: the text is broken, with file and line.
    """
    top = load_yaml(text, file)
    top.only(*GROUPS)
    return read_groups(top)


def read_groups(top: Entry) -> tuple[ComparableGroup, ...]:
    """Return the groups under `groups` and `alone` of an entry.

    Raises:
        InputError: `groups` is missing or one of them is broken, with file and line.
    """
    groups: list[ComparableGroup] = []
    for name, entry in top.at("groups").items():
        entry.only("why", "classes")
        classes = entry.at("classes").strings()
        if len(set(classes)) < max(2, len(classes)):
            entry.fault(f"group '{name}' needs two or more classes, each once")
        groups.append(ComparableGroup(name, entry.string("why"), classes))
    # A class that is listed nowhere is compared with itself only, as one under `alone` is.
    if top.has("alone"):
        alone = top.at("alone")
        groups += [ComparableGroup(name, alone.string(name), (name,)) for name, _ in alone.items()]
    return tuple(groups)


def described_groups(top: Entry, manifest: Manifest) -> Manifest:
    """Return the manifest of a source outside of this package, with its own groups.

    Raises:
        InputError: a group is broken or names no class of the source, with file and line.
    """
    if not any(top.has(key) for key in GROUPS):
        return with_groups(manifest, ())
    groups = read_groups(top)
    for group in groups:
        for name in group.classes:
            if name not in manifest.by_name:
                known = ", ".join(sorted(manifest.by_name))
                top.fault(
                    f"group '{group.name}': no class is called '{name}';"
                    f" groups have canonical names, here: {known}"
                )
    return with_groups(manifest, groups)


def with_groups(
    manifest: Manifest,
    groups: Sequence[ComparableGroup],
    canonical: Mapping[str, str] | None = None,
) -> Manifest:
    """Return the manifest with the groups that have one of its classes.

    Args:
        manifest: the manifest.
        groups: groups of all sources.
        canonical: key of a class -> its name in the groups; by default the name in the manifest.

    Returns:
        The manifest with `groups` and `groups_of`.
    """
    groups_of: dict[str, set[str]] = {name: set() for name in manifest.by_name}
    used = set()
    for key, item in manifest.objects.items():
        name = canonical[key] if canonical else item.name
        for group in groups:
            if name in group.classes:
                groups_of[item.name].add(group.name)
                used.add(group.name)
    return replace(
        manifest,
        groups=tuple(group for group in groups if group.name in used),
        groups_of={name: frozenset(names) for name, names in groups_of.items()},
    )
