"""Check the shape of a build's manifest, and name the command that helps with an unusable one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from mixedparts.settings.local_paths import typed
from mixedparts.storage.schema import SCHEMA_VERSION
from mixedparts.storage.shards import WrittenFile


class _Configuration(msgspec.Struct):
    """The part of the configuration that readers rely on."""

    min_object_area: float
    min_part_area: float
    images: str
    profile: str = "full"
    source_roots: dict[str, str] = {}


class _Source(msgspec.Struct):
    """What a manifest has about a source; one without a manifest of its own has less."""

    version: str = ""
    splits: list[str] = []
    synthetic: bool = False
    title: str = ""
    homepage: str = ""
    licence: str = ""
    image_licence: str = ""
    citation: str = ""
    comparable: dict[str, list[str]] = {}


class _Benchmark(msgspec.Struct):
    """The rows of the benchmark by source and task, and the cells that have none."""

    counts: dict[str, dict[str, int]] = {}
    empty_cells: list[tuple[str, str]] = []


class _Warning(msgspec.Struct):
    """A warning of the build."""

    text: str


class _ManifestShape(msgspec.Struct):
    """The part of a manifest that readers rely on; a manifest may contain more."""

    build_id: str
    schema_version: int
    synthetic: bool
    configuration: _Configuration
    sources: dict[str, _Source]
    counts: dict[str, dict[str, dict[str, int]]]
    benchmark: _Benchmark
    rejects: dict[str, int]
    shards: list[WrittenFile]
    code_version: str = ""
    filtered: dict[str, dict[str, dict[str, int]]] = {}
    warnings: list[_Warning] = []


def manifest_faults(manifest: Mapping[str, Any]) -> list[str]:
    """Return a sentence for everything that makes a manifest unusable."""
    # The version comes first: a manifest of another schema version may have any shape.
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        return [f"schema version {version}, this program reads version {SCHEMA_VERSION}"]
    try:
        shape = msgspec.convert(dict(manifest), _ManifestShape)
    except msgspec.ValidationError as error:
        return [f"not as a build writes it: {error}"]
    # A manifest can come from anywhere, and readers join these paths to the folder.
    return [
        f"names a file outside the build: {shard.path}"
        for shard in shape.shards
        if PurePosixPath(shard.path).is_absolute() or ".." in PurePosixPath(shard.path).parts
    ]


def manifest_hint(path: Path, manifest: Mapping[str, Any]) -> str:
    """Return the command that helps with a manifest that cannot be used."""
    version = manifest.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        return "A newer mixedparts wrote it: pip install --upgrade mixedparts (checkout: git pull)"
    if version == SCHEMA_VERSION:
        return f"See what else is wrong: mixedparts verify {typed(path)}"
    sources = manifest.get("sources")
    names = " ".join(sorted(sources)) if isinstance(sources, dict) and sources else "NAME"
    return f"Build it again: mixedparts build --sources {names} --out {typed(path)} --overwrite"
