"""From the text of the manifest files to their typed values, every fault with file and line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mixedparts.manifest_types import (
    Group,
    Manifest,
    ObjectClass,
    PartClass,
    Rename,
    SourceFile,
)
from mixedparts.yaml_entries import Entry, load_yaml

_IDENTITY = ("source", "title", "version", "homepage", "download")
_TERMS = ("licence", "image_licence", "citation")
_GROUPS = ("groups", "alone")
_SPLITS = ("train", "validation", "test")
_EVIDENCE = ("documented", "third party", "unverified")
_HOUSEHOLD = "the everyday name"


def plain_name(native: str) -> str:
    """Normalise an upstream name: lower case, spaces, without LVIS's explanation `_(…)`."""
    return " ".join(native.split("_(")[0].replace("_", " ").lower().split())


def parse_manifest(
    text: str, file: str, other: Callable[[str], Manifest] | None = None
) -> Manifest:
    """Read one source's YAML; comparable groups are not part of it.

    Args:
        other: returns the manifest of another source, for `classes_of`.

    Raises:
        InputError: the text is broken, with file and line.
    """
    top = load_yaml(text, file)
    tables = ("files", "counts", "renames", "reasons", "objects", "superclasses")
    top.only(*_IDENTITY, *_TERMS, *tables, *_GROUPS)
    source = top.string("source")
    part_renames = _renames(top, source)
    if top.has("superclasses"):
        objects = _grouped_classes(top, part_renames, other)
    else:
        objects = _listed_classes(top, part_renames)
    by_name: dict[str, list[ObjectClass]] = {}
    for item in objects:
        by_name.setdefault(item.name, []).append(item)
    return Manifest(
        source=source,
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
        renames=(*part_renames, *_object_renames(top, source, objects)),
        by_name={name: tuple(items) for name, items in by_name.items()},
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


def _renames(top: Entry, source: str) -> tuple[Rename, ...]:
    renames = []
    for entry in top.at("renames").elements():
        entry.only("class", "part", "name", "reason")
        owner, native, name = entry.string("class", ""), entry.string("part"), entry.string("name")
        renames.append(Rename(source, "part", owner, native, name, entry.string("reason")))
    return tuple(renames)


def _listed_classes(top: Entry, renames: Sequence[Rename]) -> list[ObjectClass]:
    """Read `objects`: one class an entry, each with its own parts."""
    objects: dict[str, ObjectClass] = {}
    for entry in top.at("objects").elements():
        entry.only("key", "name", "id", "also", "synset", "instances", "parts")
        key = entry.string("key")
        if key in objects:
            entry.fault(f"class '{key}' is listed twice")
        objects[key] = ObjectClass(
            key=key,
            id=entry.integer("id"),
            native=key,
            name=entry.string("name"),
            superclass="",
            parts=_parts(entry.at("parts"), key, renames),
            synset=entry.string("synset", ""),
            instances=entry.integer("instances", 0),
            also=entry.at("also").integers() if entry.has("also") else (),
        )
    _refuse_idle(top, renames, objects)
    return list(objects.values())


def _grouped_classes(
    top: Entry, renames: Sequence[Rename], other: Callable[[str], Manifest] | None
) -> list[ObjectClass]:
    """Read `superclasses`: shared parts, and everyday names with the synsets that bear them.

    `classes_of: SOURCE` stands for the classes and names of that source's superclass. Classes
    come back in the order of their synsets; the position is the id.
    """
    found: dict[str, tuple[str, str, str, tuple[PartClass, ...]]] = {}
    for superclass, entry in top.at("superclasses").items():
        entry.only("parts", "classes", "classes_of")
        parts = _parts(entry.at("parts"), "", renames)
        if entry.has("classes_of") and other is not None:
            like = [
                item
                for item in other(entry.string("classes_of")).objects.values()
                if item.superclass == superclass
            ]
            if not like:
                entry.at("classes_of").fault(f"that source has no superclass '{superclass}'")
            found |= {item.key: (item.native, item.name, superclass, parts) for item in like}
            continue
        for name, members in entry.at("classes").items():
            for text in members.strings():
                key, _, native = text.partition(" ")
                if key in found or not native:
                    members.fault(f"'{text}' is listed twice or lacks its name")
                found[key] = (native, name, superclass, parts)
    objects = {
        key: ObjectClass(key, position, *found[key]) for position, key in enumerate(sorted(found))
    }
    _refuse_idle(top, renames, objects)
    return list(objects.values())


def _parts(entry: Entry, owner: str, renames: Sequence[Rename]) -> tuple[PartClass, ...]:
    names = {r.native: r.name for r in renames if r.owner in ("", owner)}
    parts = []
    for native, value in entry.items():
        listed = value.integers() if isinstance(value.value, list) else ()
        number = listed[0] if listed else entry.integer(native)
        name = names.get(native, plain_name(native))
        parts.append(PartClass(number, native, name, listed[1:]))
    return tuple(parts)


def _refuse_idle(top: Entry, renames: Sequence[Rename], objects: dict[str, ObjectClass]) -> None:
    """Refuse a rename that meets no part: its class or part is misspelt."""
    for entry, rename in zip(top.at("renames").elements(), renames, strict=True):
        owners = [o for o in objects.values() if rename.owner in ("", o.key)]
        if not any(part.native == rename.native for o in owners for part in o.parts):
            entry.fault(f"no class '{rename.owner or 'at all'}' has a part '{rename.native}'")


def _object_renames(top: Entry, source: str, objects: Sequence[ObjectClass]) -> list[Rename]:
    """Return the classes whose display name is more than the plain form of the upstream name."""
    reasons: dict[str, str] = {}
    names = {item.name for item in objects}
    if top.has("reasons"):
        given = top.at("reasons")
        for name, entry in given.items():
            if name not in names:
                entry.fault(f"no class is called '{name}'")
            reasons[name] = given.string(name)
    return [
        Rename(source, "object", o.key, o.native, o.name, reasons.get(o.name, _HOUSEHOLD))
        for o in objects
        if o.name != plain_name(o.native)
    ]


def parse_groups(text: str, file: str) -> tuple[Group, ...]:
    """Read the groups file: by source, `groups` with their classes and `alone` with reasons.

    `same_as: SOURCE` takes over what stands above for a source with the same class names.

    Raises:
        InputError: the text is broken, with file and line.
    """
    found: list[Group] = []
    for source, section in load_yaml(text, file).items():
        section.only(*_GROUPS, "same_as")
        if section.has("same_as"):
            model = section.string("same_as")
            same = [replace(group, source=source) for group in found if group.source == model]
            if not same:
                section.at("same_as").fault(f"no groups of '{model}' stand above")
            found += same
            continue
        found += read_groups(section, source)
    return tuple(found)


def read_groups(section: Entry, source: str) -> list[Group]:
    """Read `groups` and `alone` of one source."""
    found = []
    for name, entry in section.at("groups").items():
        entry.only("why", "classes")
        classes = entry.at("classes").strings()
        if len(set(classes)) < max(2, len(classes)):
            entry.fault(f"group '{name}' needs two or more classes, each once")
        found.append(Group(source, name, entry.string("why"), classes))
    alone = section.at("alone")
    return found + [Group(source, name, alone.string(name), (name,)) for name, _ in alone.items()]


def describe(text: str, file: str) -> Manifest:
    """Read the YAML that a source of someone else's brings along, its groups in the same file.

    It is written like a file in `manifests/`, with `groups` and `alone` as in `groups.yaml`.

    Raises:
        InputError: the text is broken, with file and line.
    """
    top = load_yaml(text, file)
    known = parse_manifest(text, file)
    groups = read_groups(top, known.source) if top.has("groups") else []
    return with_groups(known, _of_known_classes(top, groups, known))


def _of_known_classes(top: Entry, groups: Sequence[Group], known: Manifest) -> Sequence[Group]:
    """Refuse a group that names no class of the source: it is misspelt."""
    for group in groups:
        for name in group.classes:
            if name not in known.by_name:
                top.fault(f"group '{group.name}': no class is called '{name}'")
    return groups


def with_groups(manifest: Manifest, groups: Sequence[Group]) -> Manifest:
    """Return the manifest with its groups and the neighbours that follow from them.

    Two display names are neighbours where some group holds both and they share a part name.
    """
    parts = {name: frozenset(manifest.part_names(name)) for name in manifest.by_name}
    neighbours: dict[str, set[str]] = {name: set() for name in parts}
    for group in groups:
        known = [name for name in group.classes if name in parts]
        for first in known:
            neighbours[first].update(
                second for second in known if second != first and parts[first] & parts[second]
            )
    return replace(
        manifest,
        groups=tuple(groups),
        neighbours={name: frozenset(others) for name, others in neighbours.items()},
    )
