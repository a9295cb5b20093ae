"""Check the rules that hold between the manifest files; a fault is a sentence.

A fault inside one file (a missing reason, a rename that matches no part) is an error when the file
is read, with its line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from mixedparts.errors import near_names
from mixedparts.sources.manifest_types import ComparableGroup, KeptApart, Manifest, Profile, selects
from mixedparts.sources.manifests import (
    groups,
    load_manifest,
    manifest_names,
    names_kept_apart,
    profiles,
)


def manifest_faults() -> list[str]:
    """Return a sentence for every fault between the manifests; empty if there is none.

    Raises:
        InputError: a file cannot be read, with file and line.
    """
    # All faults at once, so that one run shows every effect of an edit.
    manifests = [load_manifest(name) for name in manifest_names()]
    return [
        *_coverage(manifests, groups()),
        *_unshared(manifests, groups()),
        *_mixed_names(manifests),
        *_unknown_apart(manifests, names_kept_apart()),
        *(fault for view in profiles().values() for fault in _idle_entries(manifests, view)),
    ]


def _coverage(manifests: Sequence[Manifest], every: Sequence[ComparableGroup]) -> Iterator[str]:
    """Find classes that are in no group, in a group and alone at once, or in no source."""
    # Every class needs a decision: a class in neither list is more likely forgotten than unique.
    grouped = {name for group in every if len(group.classes) > 1 for name in group.classes}
    alone = {group.classes[0] for group in every if len(group.classes) == 1}
    names = {name for manifest in manifests for name in manifest.by_name}
    for name in sorted(names - grouped - alone):
        yield f"groups.yaml: class '{name}' is in no group and not listed under alone"
    for name in sorted(grouped & alone):
        yield f"groups.yaml: class '{name}' is listed under alone, yet it is in a group"
    for name in sorted((grouped | alone) - names):
        yield f"groups.yaml: no source has a class '{name}'.{near_names(name, sorted(names))}"


def _unshared(manifests: Sequence[Manifest], every: Sequence[ComparableGroup]) -> Iterator[str]:
    """Find pairs of a group that share no part, in a source of both or in any two sources."""
    # Two classes without a common part make no sample of parts. A source that annotates no parts of
    # a class cannot show whether it shares any, so it is left out.
    parts = [{n: {*m.part_names(n)} for n in m.by_name if m.part_names(n)} for m in manifests]
    for group in every:
        for first, second in combinations(group.classes, 2):
            for manifest, own in zip(manifests, parts, strict=True):
                if first in own and second in own and not own[first] & own[second]:
                    yield (
                        f"groups.yaml: '{first}' and '{second}' of group '{group.name}' share no"
                        f" part in {manifest.source}"
                    )
            # Across sources: each source that has the class may name its parts differently.
            firsts = [own[first] for own in parts if first in own]
            seconds = [own[second] for own in parts if second in own]
            if firsts and seconds and not any(a & b for a in firsts for b in seconds):
                yield (
                    f"groups.yaml: '{first}' and '{second}' of group '{group.name}' share no part"
                    " in any source"
                )


def _mixed_names(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Find names that several super-categories share."""
    # A snake and a car under one name would make pairs whose parts cannot be compared.
    for manifest in manifests:
        for name, items in manifest.by_name.items():
            kinds = sorted({item.superclass for item in items})
            if len(kinds) > 1:
                yield f"names.yaml: {manifest.source}: '{name}' mixes {' and '.join(kinds)}"


def _unknown_apart(manifests: Sequence[Manifest], apart: Sequence[KeptApart]) -> Iterator[str]:
    """Find names under `kept_apart` that no source has."""
    names_by_level = {
        "object": {name for m in manifests for name in m.by_name},
        "part": {name for m in manifests for name in m.part_names()},
    }
    for entry in apart:
        for name in entry.names:
            if name not in names_by_level[entry.level]:
                near = near_names(name, sorted(names_by_level[entry.level]))
                yield f"names.yaml: kept_apart: no {entry.level} is called '{name}'.{near}"


def _idle_entries(manifests: Sequence[Manifest], profile: Profile) -> Iterator[str]:
    """Find entries of a profile that match nothing."""
    # Usually a misspelt name, which would silently leave the class in.
    where = f"profiles.yaml: {profile.name}"
    superclasses = {(m.source, item.superclass) for m in manifests for item in m.objects.values()}
    renames = [rename for manifest in manifests for rename in manifest.renames]
    sources = [manifest.source for manifest in manifests]
    for source in profile.sources or ():
        if source not in sources:
            yield f"{where}: there is no source '{source}'.{near_names(source, sources)}"
    for drop in profile.drop:
        for name in drop.superclasses:
            if not name or (drop.source, name) not in superclasses:
                yield f"{where}: {drop.source} has no superclass '{name}'"
    for entry in profile.names or ():
        owners = {rename.owner for rename in renames if selects(entry, rename)}
        if not owners or not {*entry.owners} <= owners:
            yield (
                f"{where}: names.yaml has no rename of '{entry.part or 'objects'}' of"
                f" {entry.source}" + (f" for {', '.join(entry.owners)}" if entry.owners else "")
            )
