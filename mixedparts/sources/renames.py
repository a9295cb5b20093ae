"""The table of names and the profiles: replace upstream names by canonical names.

`renames_of` reads the renames of a source from `names.yaml`; `renamed` applies them. No other code
changes a name.
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
    """Return the table of names; `renames_of` reads the entries of one source from it.

    Args:
        text: content of the file.
        file: its name, for messages.
        sources: names of the sources that have a manifest.

    Returns:
        The top entry of the table.

    Raises:
        InputError: the text is broken, with file and line.
    """
    return check_names(load_yaml(text, file), sources)


def check_names(top: Entry, sources: Sequence[str]) -> Entry:
    """Return the table of names after checking its keys and sources.

    Raises:
        InputError: there is an unknown key or source, with file and line.
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
    """Return the renames of a source, in the order of the table.

    A source with `names_of` also takes the entries of that other source that match it.

    Raises:
        InputError: an entry matches no class or part, changes nothing, or repeats another one,
            with file and line.
    """
    # Key: level, owner ("" for every class) and native name.
    renames: dict[tuple[str, str, str], Rename] = {}
    for rename, entry in (*_object_renames(names, manifest), *_part_renames(names, manifest)):
        place = (rename.level, rename.owner, rename.native)
        if place in renames or (rename.level, "", rename.native) in renames:
            entry.fault(f"'{rename.native}' gets a name twice")
        renames[place] = rename
    return tuple(renames.values())


def _object_renames(names: Entry, manifest: Manifest) -> Iterator[tuple[Rename, Entry]]:
    """Yield the renames of classes with their entries in the table."""
    keys = {item.native: item.key for item in manifest.objects.values()}
    for name, entry in names.at("objects").items():
        reason = entry.string("reason")
        _refuse_unplain(entry, name)
        for source in filter(entry.has, (manifest.source, manifest.names_of)):
            given = entry.at(source)
            natives = given.strings()
            for native in natives:
                # An entry for one class must change it. In a list of several classes with one name,
                # one of them may have that name already.
                if len(natives) == 1 and plain_name(native) == name:
                    given.fault(f"'{native}' is called so without an entry")
                if native in keys:
                    rename = Rename(manifest.source, "object", keys[native], native, name, reason)
                    yield rename, given
                # Entries of the other source may be about classes that this one does not have.
                elif source == manifest.source:
                    given.fault(f"{source} has no class '{native}'")


def _part_renames(names: Entry, manifest: Manifest) -> Iterator[tuple[Rename, Entry]]:
    """Yield the renames of parts with their entries in the table."""
    # Native name -> the owners that have such a part, and "" for an entry without `of`.
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
    """Raise InputError for a canonical name that is not lower case with single spaces."""
    if name != plain_name(name):
        entry.fault(f"a name is lower case with single spaces, not '{name}'")


def renamed(manifest: Manifest, renames: Sequence[Rename]) -> Manifest:
    """Return the manifest with the renames applied to its classes and parts."""
    objects = {r.owner: r.name for r in renames if r.level == "object"}
    parts = {(r.owner, r.native): r.name for r in renames if r.level == "part"}

    def part_of(item: ObjectClass, part: PartClass) -> PartClass:
        # A rename for one owner has precedence over one for every class.
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
    """Return the manifest with the names and classes of a profile.

    Args:
        manifest: with plain names.
        renames: all renames of the source.
        profile: selects the renames, and the classes to leave out.

    Returns:
        The manifest; `left_out` has the keys of the classes that it lacks.
    """
    left_out = {k for k, item in manifest.objects.items() if profile.drops(manifest.source, item)}
    selected = {key: item for key, item in manifest.objects.items() if key not in left_out}
    return renamed(
        replace(manifest, objects=selected, profile=profile.name, left_out=frozenset(left_out)),
        [r for r in renames if profile.keeps(r) and r.owner not in left_out],
    )


def kept_apart(names: Entry) -> tuple[KeptApart, ...]:
    """Return the names that look alike and stay different, with the reason.

    Raises:
        InputError: an entry is broken, with file and line.
    """
    entries = []
    section = names.at("kept_apart")
    section.only("parts", "objects")
    for level in ("part", "object"):
        for entry in section.at(f"{level}s").elements():
            entry.only("names", "reason")
            apart = entry.at("names").strings()
            if len(set(apart)) < max(2, len(apart)):
                entry.fault("two or more names are expected here, each once")
            entries.append(KeptApart(level, apart, entry.string("reason")))
    return tuple(entries)


def parse_profiles(text: str, file: str) -> dict[str, Profile]:
    """Return the profiles by name.

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
        entry.fault("an entry names one part, or has 'objects: all'")
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
