"""Load the manifests of the sources: classes, parts, names, and comparable groups.

The package `manifests` has one YAML file a source with its upstream content (spellings as
`native`), and three files for all sources: `names.yaml`, the table of all renames; `groups.yaml`,
the comparable classes; `profiles.yaml`, the classes and names of a build.
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
    """Return the manifest of a source with the names and classes of a profile.

    Raises:
        UsageError: the source has no manifest, or there is no such profile.
        InputError: its file, or a file for all sources, is broken, with file and line.
    """
    names = manifest_names()
    if source not in names:
        raise UsageError(
            f"there is no manifest for source '{source}'.{near_names(source, names)}",
            f"Sources with a manifest: {', '.join(names)}",
        )
    view = profile_for(source, profile)
    manifest = _upstream(source)
    renames = renames_of(_names(), manifest)
    # Groups list the canonical names of all renames. A profile may use other names for the same
    # classes, so its classes find their groups by key.
    canonical = {key: item.name for key, item in renamed(manifest, renames).objects.items()}
    return with_groups(in_profile(manifest, renames, view), groups(), canonical)


def manifest_of(name: str, root: Path | None = None, profile: str = FULL) -> Manifest | None:
    """Return the manifest of any source, or None for a source without one.

    Args:
        name: registered name of the source.
        root: folder that the source's layout starts from; needed for a source whose manifest is a
            file there.
        profile: selects names and classes of a built-in source; others have no profiles.

    Returns:
        The manifest. None if the source is not installed here, or describes itself in no way.

    Raises:
        InputError: the description of the source is missing or broken.
    """
    try:
        source = get_source(name)
    # A build can be verified without the package that has read one of its sources.
    except UsageError:
        return None
    if isinstance(source, SelfDescribed):
        return source.manifest(root)
    return load_manifest(name, profile) if name in manifest_names() else None


def profile_for(source: str, profile: str) -> Profile:
    """Return a profile after checking that it covers a source.

    Raises:
        UsageError: there is no such profile, or it does not cover the source.
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
    """Return the comparable groups in the order of the file; some have a single class.

    Raises:
        InputError: `groups.yaml` is broken, with file and line.
    """
    return parse_groups(_text(_GROUPS), f"manifests/{_GROUPS}")


@cache
def profiles() -> Mapping[str, Profile]:
    """Return the profiles by name.

    Raises:
        InputError: `profiles.yaml` is broken, with file and line.
    """
    return parse_profiles(_text(_PROFILES), f"manifests/{_PROFILES}")


def names_kept_apart() -> tuple[KeptApart, ...]:
    """Return the names that look alike and stay different, with the reason.

    Raises:
        InputError: `names.yaml` is broken, with file and line.
    """
    return kept_apart(_names())


@cache
def _upstream(source: str) -> Manifest:
    """Return the manifest of a source with its upstream names in plain form."""
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
    # Part of the build id: an edit of a manifest makes another build. Name and length come before
    # the bytes of a file, so that no two sets of files give the same stream.
    digest = hashlib.sha256()
    for name in _files():
        data = _read(name)
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


@cache
def _files() -> tuple[str, ...]:
    # A folder `manifests` in the current directory is imported instead of the package. Without
    # `__init__.py` it is a namespace package, which has no file.
    if manifests.__file__ is None:
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
