"""What the manifests say about each source: classes, parts, names, and what can be compared.

The package `manifests` holds one YAML file a source with what is so upstream (spellings kept as
`native`), and three that hold for all sources: `names.yaml`, the one table of renames;
`groups.yaml`, what is comparable; `profiles.yaml`, which classes and names a build uses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

import manifests
from mixedparts.errors import InputError, UsageError, near_names
from mixedparts.sources.contract import SelfDescribed, get_source
from mixedparts.sources.manifest_parsing import parse_groups, parse_manifest, with_groups
from mixedparts.sources.manifest_types import (
    ComparableGroup,
    KeptApart,
    Manifest,
    ObjectClass,
    PartClass,
    Profile,
    Rename,
    SourceFile,
)
from mixedparts.sources.renames import (
    in_profile,
    kept_apart,
    parse_names,
    parse_profiles,
    renamed,
    renames_of,
)
from mixedparts.sources.yaml_entries import Entry

__all__ = [
    "FULL",
    "ComparableGroup",
    "KeptApart",
    "Manifest",
    "ObjectClass",
    "PartClass",
    "Profile",
    "Rename",
    "SourceFile",
    "groups",
    "load_manifest",
    "manifest_names",
    "manifest_of",
    "manifests_digest",
    "names_kept_apart",
    "profile_for",
    "profiles",
]

FULL = "full"
_GROUPS, _NAMES, _PROFILES = _SHARED = ("groups.yaml", "names.yaml", "profiles.yaml")


@cache
def load_manifest(source: str, profile: str = FULL) -> Manifest:
    """Return the manifest of a source, its names and classes as in a profile.

    Raises:
        UsageError: there is none of that name, or no such profile.
        InputError: its file, or one that holds for all sources, is broken, with file and line.
    """
    known = manifest_names()
    if source not in known:
        raise UsageError(
            f"there is no manifest for source '{source}'.{near_names(source, known)}",
            f"Sources with a manifest: {', '.join(known)}",
        )
    view = profile_for(source, profile)
    manifest = _upstream(source)
    renames = renames_of(_names(), manifest)
    canonical = {key: item.name for key, item in renamed(manifest, renames).objects.items()}
    return with_groups(in_profile(manifest, renames, view), groups(), canonical)


def manifest_of(name: str, root: Path | None = None, profile: str = FULL) -> Manifest | None:
    """Return what is known of a source; None for a source of someone else's that says nothing.

    Args:
        root: folder that the source's layout starts from, for those that are described there.
        profile: whose names and classes it gives; what a source brings along is in none.

    Raises:
        InputError: its description is missing or broken.
    """
    try:
        source = get_source(name)
    except UsageError:  # of someone else's, and not installed here
        return None
    if isinstance(source, SelfDescribed):
        return source.manifest(root)
    return load_manifest(name, profile) if name in manifest_names() else None


def profile_for(source: str, profile: str) -> Profile:
    """Return a profile, for use with a source.

    Raises:
        UsageError: there is none of that name, or it says nothing of the source.
    """
    if profile not in profiles():
        raise UsageError(
            f"there is no profile '{profile}'.{near_names(profile, profiles())}",
            f"Profiles: {', '.join(profiles())}",
        )
    covered = profiles()[profile].sources
    if covered is not None and source not in covered:
        raise UsageError(
            f"profile '{profile}' does not cover source '{source}'",
            f"It covers {', '.join(covered)}; use --profile {FULL} for others.",
        )
    return profiles()[profile]


@cache
def groups() -> tuple[ComparableGroup, ...]:
    """Return the comparable groups, in the order of the file; those of one class stand alone.

    Raises:
        InputError: the groups file is broken, with file and line.
    """
    return parse_groups(_text(_GROUPS), f"manifests/{_GROUPS}")


@cache
def profiles() -> Mapping[str, Profile]:
    """Return the profiles by name.

    Raises:
        InputError: the file of profiles is broken, with file and line.
    """
    return parse_profiles(_text(_PROFILES), f"manifests/{_PROFILES}")


def names_kept_apart() -> tuple[KeptApart, ...]:
    """Return the names that look alike and are not made one.

    Raises:
        InputError: the table of names is broken, with file and line.
    """
    return kept_apart(_names())


@cache
def _upstream(source: str) -> Manifest:
    """Return what is so upstream, every name in its plain form."""
    file = f"{source}.yaml"
    return parse_manifest(_text(file), f"manifests/{file}", _upstream)


@cache
def _names() -> Entry:
    return parse_names(_text(_NAMES), f"manifests/{_NAMES}", manifest_names())


@cache
def manifest_names() -> tuple[str, ...]:
    """Return the names of the sources that have a manifest, sorted."""
    return tuple(name[: -len(".yaml")] for name in _files() if name not in _SHARED)


def manifests_digest() -> str:
    """Return one SHA-256 (hex) over the names and bytes of all manifest files."""
    digest = hashlib.sha256()
    for name in _files():
        data = _read(name)
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


@cache
def _files() -> tuple[str, ...]:
    if manifests.__file__ is None:  # a folder without __init__.py won the import
        raise InputError(
            f"the folder {next(iter(manifests.__path__))} hides the package 'manifests'",
            "Run from another folder, or rename that one.",
        )
    folder = resources.files("manifests")
    return tuple(sorted(item.name for item in folder.iterdir() if item.name.endswith(".yaml")))


def _text(name: str) -> str:
    return _read(name).decode("utf-8")


def _read(name: str) -> bytes:
    return resources.files("manifests").joinpath(name).read_bytes()
