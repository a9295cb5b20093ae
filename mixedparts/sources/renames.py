"""The table of names and the profiles: from upstream names to the ones that people read.

Every rename of every source goes through `renamed`, after the reading of `names.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from mixedparts.sources.manifest_types import (
    Dropped,
    KeptApart,
    Manifest,
    ObjectClass,
    PartClass,
    Profile,
    Rename,
    SelectedRenames,
    by_name,
    plain_name,
)
from mixedparts.sources.yaml_entries import Entry, load_yaml

_CERTAINTY = ("known", "inferred")


def parse_names(text: str, file: str, sources: Sequence[str]) -> Entry:
    """Read the table of names; what it says of a source is read by `renames_of`.

    Args:
        sources: names of those that have a manifest.

    Raises:
        InputError: the text is broken, with file and line.
    """
    return check_names(load_yaml(text, file), sources)


def check_names(top: Entry, sources: Sequence[str]) -> Entry:
    """Refuse keys that nothing reads and sources that are not there; return the entry.

    Raises:
        InputError: there is one, with file and line.
    """
    top.only("objects", "parts", "kept_apart")
    for _, entry in top.at("objects").items():
        entry.only(*sources, "reason")
    for _, entries in top.at("parts").items():
        for entry in entries.elements():
            entry.only("source", "part", "parts", "of", "reason")
            if entry.string("source") not in sources:
                entry.at("source").fault(f"source is one of {', '.join(sources)}")
    return top


def renames_of(names: Entry, manifest: Manifest) -> tuple[Rename, ...]:
    """Return what the table of names says of a source, in the order of the table.

    Where the names of another source hold here too, its entries are taken as far as they meet
    something.

    Raises:
        InputError: an entry meets no class or part, changes nothing or is said twice, with file
            and line.
    """
    found: dict[tuple[str, str, str], Rename] = {}
    for rename, entry in (*_object_renames(names, manifest), *_part_renames(names, manifest)):
        place = (rename.level, rename.owner, rename.native)
        if place in found or (rename.level, "", rename.native) in found:
            entry.fault(f"'{rename.native}' gets a name twice")
        found[place] = rename
    return tuple(found.values())


def _object_renames(names: Entry, manifest: Manifest) -> Iterator[tuple[Rename, Entry]]:
    keys = {item.native: item.key for item in manifest.objects.values()}
    for name, entry in names.at("objects").items():
        reason = entry.string("reason")
        _refuse_unplain(entry, name)
        for source in filter(entry.has, (manifest.source, manifest.names_of)):
            given = entry.at(source)
            natives = given.strings()
            for native in natives:
                if len(natives) == 1 and plain_name(native) == name:
                    given.fault(f"'{native}' is called so without an entry")
                if native in keys:
                    rename = Rename(manifest.source, "object", keys[native], native, name, reason)
                    yield rename, given
                elif source == manifest.source:
                    given.fault(f"{source} has no class '{native}'")


def _part_renames(names: Entry, manifest: Manifest) -> Iterator[tuple[Rename, Entry]]:
    owners: dict[str, set[str]] = {}
    for item in manifest.objects.values():
        for part in item.parts:
            owners.setdefault(part.native, {""}).add(item.owner)
    for name, entries in names.at("parts").items():
        for entry in entries.elements():
            source, reason = entry.string("source"), entry.string("reason")
            listed = entry.has("parts")
            natives = entry.at("parts").strings() if listed else (entry.string("part"),)
            _refuse_unplain(entry, name)
            if source not in (manifest.source, manifest.names_of):
                continue
            owners_named = entry.at("of").strings() if entry.has("of") else ("",)
            for native, owner in product(natives, owners_named):
                if owner in owners.get(native, ()):
                    yield Rename(manifest.source, "part", owner, native, name, reason), entry
                elif source == manifest.source:
                    entry.fault(f"{source} has no part '{native}' of '{owner or 'any'}'")


def _refuse_unplain(entry: Entry, name: str) -> None:
    if name != plain_name(name):
        entry.fault(f"a name is lower case with single spaces, not '{name}'")


def renamed(manifest: Manifest, renames: Sequence[Rename]) -> Manifest:
    """Return the manifest with its classes and parts under their new names."""
    objects = {r.owner: r.name for r in renames if r.level == "object"}
    parts = {(r.owner, r.native): r.name for r in renames if r.level == "part"}

    def part_of(item: ObjectClass, part: PartClass) -> PartClass:
        everywhere = parts.get(("", part.native), part.name)
        return replace(part, name=parts.get((item.owner, part.native), everywhere))

    named = {
        key: replace(
            item,
            name=objects.get(key, item.name),
            parts=tuple(part_of(item, part) for part in item.parts),
        )
        for key, item in manifest.objects.items()
    }
    return replace(manifest, objects=named, by_name=by_name(named.values()), renames=tuple(renames))


def in_profile(manifest: Manifest, renames: Sequence[Rename], profile: Profile) -> Manifest:
    """Return the manifest as a profile sees it: its names, without the classes that it drops."""
    left_out = {k for k, item in manifest.objects.items() if profile.drops(manifest.source, item)}
    kept = {key: item for key, item in manifest.objects.items() if key not in left_out}
    return renamed(
        replace(manifest, objects=kept, profile=profile.name, left_out=frozenset(left_out)),
        [r for r in renames if profile.keeps(r) and r.owner not in left_out],
    )


def kept_apart(names: Entry) -> tuple[KeptApart, ...]:
    """Return the names that the table keeps apart.

    Raises:
        InputError: an entry is broken, with file and line.
    """
    found = []
    section = names.at("kept_apart")
    section.only("parts", "objects")
    for level in ("part", "object"):
        for entry in section.at(f"{level}s").elements():
            entry.only("names", "reason")
            apart = entry.at("names").strings()
            if len(set(apart)) < max(2, len(apart)):
                entry.fault("two or more names belong here, each once")
            found.append(KeptApart(level, apart, entry.string("reason")))
    return tuple(found)


def parse_profiles(text: str, file: str) -> dict[str, Profile]:
    """Read the profiles by name.

    Raises:
        InputError: the text is broken, with file and line.
    """
    return {name: _profile(name, entry) for name, entry in load_yaml(text, file).items()}


def _profile(name: str, entry: Entry) -> Profile:
    entry.only("about", "sources", "drop", "names", "unknown")
    drop = [_dropped(item) for item in entry.at("drop").elements()] if entry.has("drop") else []
    return Profile(
        name=name,
        about=entry.string("about"),
        sources=entry.at("sources").strings() if entry.has("sources") else None,
        drop=tuple(drop),
        names=tuple(_names_kept(item) for item in entry.at("names").elements())
        if entry.has("names")
        else None,
        unknown=entry.at("unknown").strings() if entry.has("unknown") else (),
    )


def _dropped(entry: Entry) -> Dropped:
    entry.only("source", "superclasses", "evidence", "reason")
    return Dropped(
        source=entry.string("source"),
        superclasses=entry.at("superclasses").strings(),
        evidence=_certainty(entry),
        reason=entry.string("reason"),
    )


def _names_kept(entry: Entry) -> SelectedRenames:
    entry.only("source", "part", "of", "objects", "evidence", "reason")
    if entry.has("objects") and (entry.has("part") or entry.string("objects") != "all"):
        entry.fault("an entry names one part, or says 'objects: all'")
    return SelectedRenames(
        source=entry.string("source"),
        part="" if entry.has("objects") else entry.string("part"),
        owners=entry.at("of").strings() if entry.has("of") else (),
        evidence=_certainty(entry),
        reason=entry.string("reason"),
    )


def _certainty(entry: Entry) -> str:
    value = entry.string("evidence")
    if value not in _CERTAINTY:
        entry.at("evidence").fault(f"evidence is one of {', '.join(_CERTAINTY)}")
    return value
