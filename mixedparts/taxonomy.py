"""What the manifests say about each source: classes, parts, names, and what can be compared.

The package `manifests` holds one YAML file a source and `groups.yaml`. Upstream spellings are kept
as `native`; a name that differs from the plain rule (lower case, spaces instead of underscores) is
a `Rename` with its reason.
"""

from __future__ import annotations

import hashlib
from difflib import get_close_matches
from functools import cache
from importlib import resources

import manifests
from mixedparts.errors import InputError, UsageError
from mixedparts.manifest_parsing import parse_groups, parse_manifest, with_groups
from mixedparts.manifest_types import (
    Group,
    Manifest,
    ObjectClass,
    PartClass,
    Rename,
    SourceFile,
)

__all__ = [
    "Group",
    "Manifest",
    "ObjectClass",
    "PartClass",
    "Rename",
    "SourceFile",
    "groups",
    "load_manifest",
    "manifest_names",
    "manifests_digest",
]

_GROUPS_FILE = "groups.yaml"


@cache
def load_manifest(source: str) -> Manifest:
    """Return the manifest of a source.

    Raises:
        UsageError: there is none of that name.
        InputError: its file or the groups file is broken, with file and line.
    """
    known = manifest_names()
    if source not in known:
        near = get_close_matches(source, known, n=1)
        guess = f" Did you mean '{near[0]}'?" if near else ""
        raise UsageError(
            f"there is no manifest for source '{source}'.{guess}",
            f"Sources with a manifest: {', '.join(known)}",
        )
    file = f"{source}.yaml"
    manifest = parse_manifest(_read(file).decode("utf-8"), f"manifests/{file}", load_manifest)
    own = tuple(group for group in groups() if group.source == source)
    return with_groups(manifest, own)


@cache
def groups() -> tuple[Group, ...]:
    """Return the comparable groups of all sources, in the order of the file.

    Raises:
        InputError: the groups file is broken, with file and line.
    """
    return parse_groups(_read(_GROUPS_FILE).decode("utf-8"), f"manifests/{_GROUPS_FILE}")


@cache
def manifest_names() -> tuple[str, ...]:
    """Return the names of the sources that have a manifest, sorted."""
    return tuple(name[: -len(".yaml")] for name in _files() if name != _GROUPS_FILE)


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


def _read(name: str) -> bytes:
    return resources.files("manifests").joinpath(name).read_bytes()
