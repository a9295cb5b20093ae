"""What a build will do, written before it does anything: inputs, choices, read shards, build id.

Same plan, same bytes: the build id is a hash of the configuration, the schema and code versions,
the inputs' digests and the manifests' digest.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from mixedparts._version import __version__
from mixedparts.errors import InputError, UsageError
from mixedparts.pipeline.config import BuildConfig, unknown_name
from mixedparts.sources.contract import SPLITS, ReadShard, SelfDescribed, Source, get_source
from mixedparts.sources.manifests import Manifest, manifest_of, manifests_digest
from mixedparts.storage.build_folder import PLAN, stored_plan
from mixedparts.storage.schema import SCHEMA_VERSION
from mixedparts.storage.shards import sha256_of, write_json

_ANNOTATIONS = (".json", ".mat")
SYNTHETIC_MARK = "SYNTHETIC.md"


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """One source of a build.

    Attributes:
        splits: those that are there, in the order train, validation, test.
        synthetic: made by `mixedparts sample`, said wherever the data shows.
        inputs: digest of every annotation file and folder, by path relative to the root.
        described: digest of the manifest that the source brings along, else empty.
    """

    name: str
    version: str
    splits: tuple[str, ...]
    synthetic: bool
    inputs: dict[str, str]
    described: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Identity of a build and its read shards; what follows from reading is planned later.

    Attributes:
        manifests: what is known of each source, by name.
    """

    build_id: str
    identity: dict[str, Any]
    sources: tuple[SourcePlan, ...]
    manifests: Mapping[str, Manifest | None] = field(default_factory=dict)

    @property
    def synthetic(self) -> bool:
        """Whether any source is synthetic."""
        return any(source.synthetic for source in self.sources)

    @property
    def profile(self) -> str:
        """Which classes and names are used."""
        return str(self.identity["configuration"]["profile"])


def make_plan(config: BuildConfig) -> Plan:
    """Look at the inputs and fix what the build is.

    Raises:
        InputError: a source has no split at all, or a folder of a split is missing.
        UsageError: a class is asked for that none of the sources has.
    """
    names = sorted(config.sources)
    sources = tuple(_plan_source(config, name) for name in names)
    known = {name: manifest_of(name, config.source_root(name), config.profile) for name in names}
    _check_classes(config, list(known.values()))
    identity = {
        "configuration": config.identity(),
        "schema_version": SCHEMA_VERSION,
        "code_version": f"{__version__}+{code_digest()[:12]}",
        "manifests": manifests_digest(),
        "sources": {source.name: asdict(source) for source in sources},
    }
    text = json.dumps(identity, sort_keys=True)
    build_id = hashlib.sha256(text.encode()).hexdigest()[:32]
    return Plan(build_id, json.loads(text), sources, known)


def _check_classes(config: BuildConfig, manifests: list[Manifest | None]) -> None:
    """Refuse class names that no source has; a source without a manifest may have any."""
    known = [manifest for manifest in manifests if manifest is not None]
    if len(known) < len(manifests):
        return
    names = sorted({name for manifest in known for name in manifest.by_name})
    faults = [unknown_name("class", name, names) for name in config.classes if name not in names]
    if faults:
        hint = f"List the classes with: mixedparts sources show {config.sources[0]}"
        raise UsageError("\n".join(faults), hint)


@cache
def code_digest() -> str:
    """Return one SHA-256 (hex) over the code that makes a build; a version alone can lag behind."""
    digest = hashlib.sha256()
    for package in ("mixedparts", "builders"):
        folder = Path(str(resources.files(package)))
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _plan_source(config: BuildConfig, name: str) -> SourcePlan:
    source, root = get_source(name), config.source_root(name)
    splits = source.splits(root)
    if not splits:
        raise missing_source(source, root)
    required = {path: None for split in splits for path in source.required_files(root, split)}
    inputs = digests_below(root, required)
    described = _described(source, root)
    return SourcePlan(name, source.version, splits, is_synthetic(root, required), inputs, described)


def _described(source: Source, root: Path) -> str:
    """Return one SHA-256 (hex) over the manifest that a source brings along, else nothing."""
    known = source.manifest(root) if isinstance(source, SelfDescribed) else None
    if known is None:
        return ""
    text = json.dumps(asdict(known), sort_keys=True, default=sorted)  # sets of names
    return hashlib.sha256(text.encode()).hexdigest()


def missing_source(source: Source, root: Path) -> InputError:
    """Return the error for a source of which nothing is there."""
    try:
        manifest = manifest_of(source.name, root)
    except InputError:  # what would say it is among the missing files
        manifest = None
    lines = [f"source '{source.name}': no annotation file under {root}. Looked for:"]
    lines += [f"  {line}" for line in source.layout(root).splitlines()]
    if manifest:
        lines += [f"Download: {manifest.download}", f"Licence: {manifest.licence}"]
    hint = (
        f"Unpack it there, or point elsewhere with --source-root {source.name}=DIR;"
        " `mixedparts sample --out sources` makes synthetic sources to try."
    )
    return InputError("\n".join(lines), hint)


def is_synthetic(root: Path, paths: Iterable[str]) -> bool:
    tops = {Path(path).parts[0] for path in paths}
    return any((root / top / SYNTHETIC_MARK).is_file() for top in tops)


def digests_below(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """Return the digest of each file's bytes, or of each folder's list of names and sizes.

    In a folder, annotation files that stand for one image each count by their bytes.
    """
    names = sorted(paths)
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(names, pool.map(lambda name: _digest(root / name), names), strict=True))


def _digest(path: Path) -> str:
    if path.is_file():
        return sha256_of(path)
    digest = hashlib.sha256()
    for folder, inner, files in os.walk(path, followlinks=True):
        inner.sort()
        inside = os.path.relpath(folder, path)
        for name in sorted(files):
            if not name.startswith("."):
                inner_path = Path(folder, name)
                is_note = name.endswith(_ANNOTATIONS)
                fact = sha256_of(inner_path) if is_note else inner_path.stat().st_size
                digest.update(f"{inside}/{name}\0{fact}\n".encode("utf-8", "surrogateescape"))
    return "listing:" + digest.hexdigest()


def read_shards(config: BuildConfig, plan: Plan) -> list[ReadShard]:
    """Divide every split of every source into read shards."""
    shards = []
    for item in plan.sources:
        source, root = get_source(item.name), config.source_root(item.name)
        for split in item.splits:
            shards += source.plan(root, split, config.read_shard_images, config.variant(item.name))
    return shards


def absent_splits(plan: Plan) -> list[tuple[str, str]]:
    """Return (source, split) of every split that a source does not have here."""
    return [(s.name, split) for s in plan.sources for split in SPLITS if split not in s.splits]


def store_plan(build: Path, plan: Plan, shards: list[ReadShard]) -> None:
    """Write the plan; roots stay out of it, so that two machines write the same bytes."""
    reads = [
        {"task": read_task(shard), "file": shard.file, "images": [shard.start, shard.stop]}
        for shard in shards
    ]
    value = {"build_id": plan.build_id, "identity": plan.identity, "read": reads}
    if stored_plan(build) != value:
        write_json(build / PLAN, value)


def read_task(shard: ReadShard) -> str:
    """Return the name of a read shard's task."""
    return f"read-{shard.source}-{shard.split}-{shard.start:08d}"


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Return a line for every leaf in which two JSON values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted(set(old) | set(new)):
            lines += differences(old.get(key), new.get(key), f"{where}.{key}" if where else key)
        return lines
    return [] if old == new else [f"{where}: {json.dumps(old)} -> {json.dumps(new)}"]
