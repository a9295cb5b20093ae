"""Typed values of the manifests: the metadata, classes and parts of a source."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# The marks of an answer, see `mixedparts.text.answers`; names are in lower case.
_MARKS = re.compile(r"</?p>|\[seg\]|\(image\d+\)", re.IGNORECASE)


def plain_name(native: str) -> str:
    """Return an upstream name in lower case with spaces, without the suffix `_(…)` of LVIS."""
    return " ".join(native.split("_(")[0].replace("_", " ").lower().split())


def name_fault(name: str) -> str | None:
    """Return why an answer cannot contain the name of a class or part; None if it can."""
    if mark := _MARKS.search(name):
        return f"'{mark.group()}' marks a region in an answer"
    # Control characters, invisible ones, and those that change the direction of the text.
    if not name.isprintable():
        return "a character that is not printable"
    return None


@dataclass(frozen=True, slots=True)
class PartClass:
    """One part of one object class.

    Attributes:
        id: upstream id: category id of `object:part` (PACO), of `Superclass Part`
            (PartImageNet), the value in the part PNG (ADE20K), or name_ndx (full ADE20K).
        native: name as upstream (`inner_body`, `Side Mirror`, `arm`).
        name: canonical name; parts of a class with the same name are one part.
        also: further upstream ids of the same part.
    """

    id: int
    native: str
    name: str
    also: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ObjectClass:
    """One object class of a source.

    Attributes:
        key: value of `ObjectInstance.category`: LVIS name (PACO), WordNet id (PartImageNet),
            class name (ADE20K).
        id: upstream category id; PartImageNet: position of the synset in sorted order (inferred).
        native: name as upstream; PartImageNet: the synset's first ImageNet name.
        name: canonical name; several classes can share it.
        superclass: super-category (PartImageNet), else empty.
        parts: the parts that upstream annotates for this class.
        synset: WordNet name of the class in PACO (`ashcan.n.01`), else empty.
        instances: annotated objects in upstream train if its file has the number, else 0.
        also: further upstream ids of the same class.
    """

    key: str
    id: int
    native: str
    name: str
    superclass: str
    parts: tuple[PartClass, ...]
    synset: str = ""
    instances: int = 0
    also: tuple[int, ...] = ()

    @property
    def owner(self) -> str:
        """Return the upstream owner of the parts: the super-category, or the key without one."""
        return self.superclass or self.key


def by_name(objects: Iterable[ObjectClass]) -> dict[str, tuple[ObjectClass, ...]]:
    """Return the classes of each canonical name, in the order of their first class."""
    classes: dict[str, list[ObjectClass]] = {}
    for item in objects:
        classes.setdefault(item.name, []).append(item)
    return {name: tuple(items) for name, items in classes.items()}


@dataclass(frozen=True, slots=True)
class Rename:
    """A name that differs from the upstream name by more than case, underscores and prefixes.

    Attributes:
        source: name of the source.
        level: `object` or `part`.
        owner: key of the object class; for parts of PartImageNet its super-category. Empty for a
            part that has the name in every class.
        native: name as upstream.
        name: canonical name.
        reason: why the name is another one, for people.
    """

    source: str
    level: str
    owner: str
    native: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class KeptApart:
    """Names that look alike and stay different, with the reason; `level` as in `Rename`."""

    level: str
    names: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that upstream offers for download; unknown values are empty or 0."""

    name: str
    url: str
    revision: str
    sha256: str
    bytes: int
    evidence: str


@dataclass(frozen=True, slots=True)
class ComparableGroup:
    """Canonical names, of any source, that a person would compare with each other.

    A group with one name records why that class is compared with no other.

    Attributes:
        name: of the group.
        reason: why its classes are comparable, for people.
        classes: canonical names in the profile `full`.
    """

    name: str
    reason: str
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dropped:
    """Super-categories that a profile leaves out; evidence is `known` or `inferred`."""

    source: str
    superclasses: tuple[str, ...]
    evidence: str
    reason: str


@dataclass(frozen=True, slots=True)
class SelectedRenames:
    """Renames that a profile uses.

    Attributes:
        source: name of the source.
        part: native name of the renamed part; empty for all renamed objects of the source.
        owners: classes or super-categories with the renamed part; empty for all.
        evidence: `known` or `inferred`.
        reason: why the profile uses them, for people.
    """

    source: str
    part: str
    owners: tuple[str, ...]
    evidence: str
    reason: str


@dataclass(frozen=True, slots=True)
class Profile:
    """Which classes and names a build uses.

    Attributes:
        name: of the profile.
        about: a description, for people.
        sources: the sources that it covers; None for all.
        drop: the super-categories that it leaves out.
        names: the renames that it uses; None for all.
        unknown: properties of the bundle that the profile cannot reproduce.
    """

    name: str
    about: str
    sources: tuple[str, ...] | None = None
    drop: tuple[Dropped, ...] = ()
    names: tuple[SelectedRenames, ...] | None = None
    unknown: tuple[str, ...] = ()

    def drops(self, source: str, item: ObjectClass) -> bool:
        """Return whether the profile leaves a class out."""
        return any(d.source == source and item.superclass in d.superclasses for d in self.drop)

    def keeps(self, rename: Rename) -> bool:
        """Return whether the profile uses a rename."""
        if self.names is None:
            return True
        return any(selects(entry, rename) for entry in self.names)


def selects(entry: SelectedRenames, rename: Rename) -> bool:
    """Return whether an entry of a profile selects a rename."""
    if entry.source != rename.source:
        return False
    # `objects: all` in the YAML has no part.
    if not entry.part:
        return rename.level == "object"
    same_part = rename.level == "part" and entry.part == rename.native
    return same_part and (not entry.owners or rename.owner in entry.owners)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The metadata of one source.

    Attributes:
        source: registered name.
        title: full name.
        version: upstream version.
        homepage: URL.
        download: URL.
        licence: of the annotations.
        image_licence: of the images.
        citation: reference of the paper.
        files: files that upstream offers for download.
        counts: upstream numbers by split, as {"images": n, …, "evidence": text}.
        objects: classes by key, in upstream order.
        renames: the renames that are applied.
        groups: comparable groups with a class of this source.
        by_name: the classes of each canonical name.
        groups_of: names of the groups of each canonical name.
        names_of: another source whose canonical names apply here too.
        profile: the profile of names and classes.
        left_out: keys of the classes that the profile drops; `objects` does not have them.
    """

    source: str
    title: str
    version: str
    homepage: str
    download: str
    licence: str
    image_licence: str
    citation: str
    files: tuple[SourceFile, ...]
    counts: Mapping[str, Mapping[str, int | str]]
    objects: Mapping[str, ObjectClass]
    renames: tuple[Rename, ...] = ()
    groups: tuple[ComparableGroup, ...] = ()
    by_name: Mapping[str, tuple[ObjectClass, ...]] = field(default_factory=dict)
    groups_of: Mapping[str, frozenset[str]] = field(default_factory=dict)
    names_of: str = ""
    profile: str = "full"
    left_out: frozenset[str] = frozenset()

    def part_names(self, name: str | None = None) -> tuple[str, ...]:
        """Return the canonical part names of a canonical class, or of the source, sorted."""
        classes = self.objects.values() if name is None else self.by_name.get(name, ())
        return tuple(sorted({part.name for item in classes for part in item.parts}))

    def comparable(self, first: str, second: str, other: Manifest | None = None) -> bool:
        """Return whether two canonical names may form a pair.

        They may if they are equal, or if they are in one group and share a part name.

        Args:
            first: canonical name in this source.
            second: canonical name in `other`.
            other: the manifest of another source; this one by default.

        Returns:
            True if the names are comparable.
        """
        other = other or self
        if first == second:
            return True
        grouped = self.groups_of.get(first, frozenset()) & other.groups_of.get(second, frozenset())
        return bool(grouped) and bool({*self.part_names(first)} & {*other.part_names(second)})

    def neighbours(self) -> dict[str, tuple[str, ...]]:
        """Return for each canonical name the other comparable names of this source."""
        return {
            name: tuple(n for n in sorted(self.by_name) if n != name and self.comparable(name, n))
            for name in self.by_name
        }

    def members(self, group: ComparableGroup) -> tuple[str, ...]:
        """Return the canonical names of this source in a group, sorted."""
        return tuple(sorted(n for n, groups in self.groups_of.items() if group.name in groups))
