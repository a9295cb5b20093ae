"""Typed values of the manifests: what is known about a source, its classes and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
        name: everyday display name; several classes can share it.
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


@dataclass(frozen=True, slots=True)
class Rename:
    """A name that differs from the upstream name by more than case, underscores and prefixes.

    Attributes:
        level: `object` or `part`.
        owner: key of the object class; for parts empty where it holds for every class.
    """

    source: str
    level: str
    owner: str
    native: str
    name: str
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
class Group:
    """Display classes of one source that a person would sensibly compare with each other.

    A group of one class says why that class stands alone.
    """

    source: str
    name: str
    reason: str
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything known about one source.

    Attributes:
        objects: classes by key, in upstream order.
        by_name: the classes that share a display name.
        counts: upstream numbers by split, as {"images": n, …, "evidence": text}.
        groups: comparable groups of this source.
        neighbours: the other display names that a display name is comparable with.
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
    renames: tuple[Rename, ...]
    groups: tuple[Group, ...] = ()
    by_name: Mapping[str, tuple[ObjectClass, ...]] = field(default_factory=dict)
    neighbours: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def part_names(self, name: str | None = None) -> tuple[str, ...]:
        """Return the normalised part names of a display class, or of the whole source, sorted."""
        classes = self.objects.values() if name is None else self.by_name.get(name, ())
        return tuple(sorted({part.name for item in classes for part in item.parts}))

    def comparable(self, first: str, second: str) -> bool:
        """Say whether two display names may form a pair: the same, or neighbours."""
        return first == second or second in self.neighbours.get(first, frozenset())
