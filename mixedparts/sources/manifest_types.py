"""Typed values of the manifests: what is known about a source, its classes and its parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


def plain_name(native: str) -> str:
    """Normalise an upstream name: lower case, spaces, without LVIS's explanation `_(…)`."""
    return " ".join(native.split("_(")[0].replace("_", " ").lower().split())


@dataclass(frozen=True, slots=True)
class PartClass:
    """One part of one object class.

    Attributes:
        id: upstream id: category id of `object:part` (PACO), of `Superclass Part`
            (PartImageNet), the value in the part PNG (ADE20K), or name_ndx (full ADE20K).
        native: name as upstream (`inner_body`, `Side Mirror`, `arm`).
        name: normalised name; two parts of a class can share it and are then one.
        also: further upstream ids that mean the same.
    """

    id: int
    native: str
    name: str
    also: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ObjectClass:
    """One object class of a source.

    Attributes:
        key: what `ObjectInstance.category` holds: LVIS name (PACO), WordNet id (PartImageNet),
            class name (ADE20K).
        id: upstream category id; PartImageNet: position of the synset in sorted order (inferred).
        native: name as upstream; PartImageNet: the synset's first ImageNet name.
        name: canonical display name; several classes can share it.
        superclass: PartImageNet's super-category, else empty.
        synset: WordNet name of the class in PACO (`ashcan.n.01`), else empty.
        instances: annotated objects in upstream train where its file says so, else 0.
        also: further upstream ids that mean the same.
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
        """Who the parts belong to upstream: the super-category where there is one, else the key."""
        return self.superclass or self.key


def by_name(objects: Iterable[ObjectClass]) -> dict[str, tuple[ObjectClass, ...]]:
    """Return the classes of each display name, in the order in which the names come up."""
    found: dict[str, list[ObjectClass]] = {}
    for item in objects:
        found.setdefault(item.name, []).append(item)
    return {name: tuple(items) for name, items in found.items()}


@dataclass(frozen=True, slots=True)
class Rename:
    """A name that differs from the upstream name by more than case, underscores and prefixes.

    Attributes:
        level: `object` or `part`.
        owner: key of the object class, for parts of PartImageNet its super-category; for parts
            empty where it holds for every class.
    """

    source: str
    level: str
    owner: str
    native: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class KeptApart:
    """Names that look alike and are not made one, with the reason; `level` as in `Rename`."""

    level: str
    names: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that upstream offers for download; unknown facts are empty or 0."""

    name: str
    url: str
    revision: str
    sha256: str
    bytes: int
    evidence: str


@dataclass(frozen=True, slots=True)
class ComparableGroup:
    """Everyday names, of any source, that a person would sensibly compare with each other.

    A group of one name says why that class stands alone.
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
    """Renames that hold in a profile.

    Attributes:
        part: native name of the renamed part; empty: all renamed objects of the source.
        owners: for which classes or super-categories; empty: all.
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
        sources: those that it covers; None: all there are.
        names: the renames that hold; None: all of them.
        unknown: what of its model nobody outside can reproduce.
    """

    name: str
    about: str
    sources: tuple[str, ...] | None = None
    drop: tuple[Dropped, ...] = ()
    names: tuple[SelectedRenames, ...] | None = None
    unknown: tuple[str, ...] = ()

    def drops(self, source: str, item: ObjectClass) -> bool:
        """Say whether the profile leaves a class out."""
        return any(d.source == source and item.superclass in d.superclasses for d in self.drop)

    def keeps(self, rename: Rename) -> bool:
        """Say whether a rename holds in the profile."""
        if self.names is None:
            return True
        return any(selects(entry, rename) for entry in self.names)


def selects(entry: SelectedRenames, rename: Rename) -> bool:
    """Say whether an entry of a profile means this rename."""
    if entry.source != rename.source:
        return False
    if not entry.part:
        return rename.level == "object"
    same_part = rename.level == "part" and entry.part == rename.native
    return same_part and (not entry.owners or rename.owner in entry.owners)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything known about one source.

    Attributes:
        objects: classes by key, in upstream order.
        by_name: the classes that share a display name.
        counts: upstream numbers by split, as {"images": n, …, "evidence": text}.
        groups: comparable groups that hold a class of this source.
        groups_of: names of the groups that a display name stands in.
        names_of: another source whose canonical names hold here too.
        profile: under which the names are given.
        left_out: keys of the classes that the profile drops; `objects` does not hold them.
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
        """Return the normalised part names of a display class, or of the whole source, sorted."""
        classes = self.objects.values() if name is None else self.by_name.get(name, ())
        return tuple(sorted({part.name for item in classes for part in item.parts}))

    def comparable(self, first: str, second: str, other: Manifest | None = None) -> bool:
        """Say whether two display names may form a pair.

        They may if they are the same, or stand together in a group and share a part name.

        Args:
            first: display name in this source.
            second: display name in `other`, or in this source where no other is given.
        """
        other = other or self
        if first == second:
            return True
        grouped = self.groups_of.get(first, frozenset()) & other.groups_of.get(second, frozenset())
        return bool(grouped) and bool({*self.part_names(first)} & {*other.part_names(second)})

    def neighbours(self) -> dict[str, tuple[str, ...]]:
        """Return for each display name the others of this source that it is comparable with."""
        return {
            name: tuple(n for n in sorted(self.by_name) if n != name and self.comparable(name, n))
            for name in self.by_name
        }

    def members(self, group: ComparableGroup) -> tuple[str, ...]:
        """Return the display names of this source that stand in a group, sorted."""
        return tuple(sorted(n for n, groups in self.groups_of.items() if group.name in groups))
