"""The plan of a build, fixed before any work starts: identity, build id, and read shards.

The identity is a JSON object of everything that decides the bytes of the result:

- the configuration without folders, workers and engine (`BuildConfig.identity`);
- the schema version, the version of this package, and a digest of its code;
- the digest of the manifests of all sources;
- for each source its version, its splits, and the digests of its annotation files and folders.

The build id is a hash of this object. Annotations and segmentation maps are known by their content,
images by their names and sizes (`mixedparts.pipeline.inputs`). Builds of one id have equal bytes,
provided that images of equal names and sizes are equal and the same versions of numpy and pyarrow
wrote the files. The plan is stored in the build folder. A run with another build id stops and lists
the differences, so that a folder never mixes shards of two builds.

Files can change while they are read. The plan is therefore made again after reading
(`build.check_unchanged`), which costs little because unchanged files are not read a second time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from mixedparts._version import __version__
from mixedparts.errors import InputError, UsageError
from mixedparts.pipeline.config import BuildConfig, unknown_name
from mixedparts.pipeline.inputs import source_digests
from mixedparts.progress import Progress
from mixedparts.sources.contract import SPLITS, ReadShard, SelfDescribed, Source, get_source
from mixedparts.sources.manifests import Manifest, manifest_of, manifests_digest
from mixedparts.storage.build_folder import PLAN, stored_plan
from mixedparts.storage.schema import SCHEMA_VERSION
from mixedparts.storage.shards import write_json

SYNTHETIC_MARK = "SYNTHETIC.md"


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """One source of a build.

    Attributes:
        name: registered name.
        version: version of the reader.
        splits: those whose files are present, in the order train, validation, test.
        synthetic: made by `mixedparts sample`; the manifest and the card record it.
        inputs: digest of every required file and folder, by path relative to the root.
        described: digest of the manifest of a source that describes itself, else empty.
    """

    name: str
    version: str
    splits: tuple[str, ...]
    synthetic: bool
    inputs: dict[str, str]
    described: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Identity of a build. Tasks of later stages are planned when reading has ended.

    Attributes:
        build_id: 32 hexadecimal digits, a hash of `identity`.
        identity: JSON values of everything that decides the result.
        sources: the sources in alphabetical order.
        manifests: the manifest of each source, by name; None for a source without one.
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
        """Name of the profile, which decides the classes and names."""
        return str(self.identity["configuration"]["profile"])


def make_plan(config: BuildConfig, progress: Progress | None = None) -> Plan:
    """Return the plan of a build, after digesting all of its inputs.

    Args:
        config: of the build.
        progress: shows the hashing of many files.

    Raises:
        InputError: sources have no split at all, or a folder of a split is missing; the message
            names all of them.
        UsageError: a class is in none of the sources.
    """
    names = sorted(config.sources)
    splits = _splits_of(config, names)
    sources = tuple(_plan_source(config, name, splits[name], progress) for name in names)
    roots = {name: config.source_root(name) for name in names}
    manifests = {name: manifest_of(name, root, config.profile) for name, root in roots.items()}
    _check_classes(config, list(manifests.values()))
    return plan_of(config.identity(), sources, manifests)


def plan_of(
    configuration: Mapping[str, Any],
    sources: tuple[SourcePlan, ...],
    manifests: Mapping[str, Manifest | None],
) -> Plan:
    """Return the plan whose build id is the hash of everything that the result depends on.

    Args:
        configuration: the choices that change the result, as JSON values.
        sources: with the digests of their inputs.
        manifests: source -> its manifest; None for a source without one.

    Returns:
        The plan.
    """
    identity = {
        "configuration": configuration,
        "schema_version": SCHEMA_VERSION,
        "code_version": f"{__version__}+{code_digest()[:12]}",
        "manifests": manifests_digest(),
        "sources": {source.name: asdict(source) for source in sources},
    }
    # Sorted keys give equal identities one text. The identity is read back from this text, so that
    # it compares equal to a stored one: JSON turns tuples into lists.
    text = json.dumps(identity, sort_keys=True)
    build_id = hashlib.sha256(text.encode()).hexdigest()[:32]
    return Plan(build_id, json.loads(text), sources, manifests)


def _check_classes(config: BuildConfig, manifests: list[Manifest | None]) -> None:
    """Check that each class of the configuration is in some source.

    Raises:
        UsageError: classes are in none of the sources; the message names all of them.
    """
    # A source without a manifest may have any class; only reading it would show which.
    present = [manifest for manifest in manifests if manifest is not None]
    if len(present) < len(manifests):
        return
    names = sorted({name for manifest in present for name in manifest.by_name})
    faults = [unknown_name("class", name, names) for name in config.classes if name not in names]
    if faults:
        hint = f"List the classes with: mixedparts sources show {config.sources[0]}"
        raise UsageError("\n".join(faults), hint)


def _splits_of(config: BuildConfig, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the splits of each source, before any of them is digested.

    Raises:
        InputError: some are not; one error about all of these sources.
    """
    # All together, so that downloading one source does not reveal that another is missing.
    splits: dict[str, tuple[str, ...]] = {}
    faults: list[InputError] = []
    for name in names:
        source, root = get_source(name), config.source_root(name)
        try:
            splits[name] = source.splits(root)
            if not splits[name]:
                faults.append(missing_source(source, root))
        except InputError as error:
            faults.append(error)
    if not faults:
        return splits
    if len(faults) == 1:
        raise faults[0]
    hint = (
        "Unpack them there, or point elsewhere with --source-root NAME=DIR for each;"
        " `mixedparts sample --out sources` makes synthetic sources to try."
    )
    raise InputError("\n".join(fault.message for fault in faults), hint)


@cache
def code_digest() -> str:
    """Return one SHA-256 (hex) over the code of `mixedparts` and `builders`."""
    # The version stays the same between releases while code changes; a digest does not. Names go
    # in with the contents, so that moving a module changes the digest too.
    digest = hashlib.sha256()
    for package in ("mixedparts", "builders"):
        folder = Path(str(resources.files(package)))
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _plan_source(
    config: BuildConfig, name: str, splits: tuple[str, ...], progress: Progress | None
) -> SourcePlan:
    """Return the plan of one source with these splits."""
    source, root = get_source(name), config.source_root(name)
    inputs = source_digests(source, root, splits, progress)
    described = _described(source, root)
    return SourcePlan(name, source.version, splits, is_synthetic(root, inputs), inputs, described)


def _described(source: Source, root: Path) -> str:
    """Return one SHA-256 (hex) over the manifest of a source that describes itself, else ''."""
    manifest = source.manifest(root) if isinstance(source, SelfDescribed) else None
    if manifest is None:
        return ""
    # JSON has no sets; as sorted lists, equal sets of names give one text.
    text = json.dumps(asdict(manifest), sort_keys=True, default=sorted)
    return hashlib.sha256(text.encode()).hexdigest()


def missing_source(source: Source, root: Path) -> InputError:
    """Return the error for a source without any annotation file, with its layout and download."""
    try:
        manifest = manifest_of(source.name, root)
    # A source that describes itself may have its manifest among the missing files.
    except InputError:
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
    """Return whether files below a root were made by `mixedparts sample`.

    `mixedparts sample` marks each top folder below the root with a file.
    """
    tops = {Path(path).parts[0] for path in paths}
    return any((root / top / SYNTHETIC_MARK).is_file() for top in tops)


def read_shards(config: BuildConfig, plan: Plan) -> list[ReadShard]:
    """Divide every split of every source into read shards, in the order of the plan.

    Raises:
        InputError: an annotation file cannot be read as a whole.
    """
    shards = []
    for item in plan.sources:
        source, root = get_source(item.name), config.source_root(item.name)
        of_source = [
            shard
            for split in item.splits
            for shard in source.plan(
                root, split, config.read_shard_images, config.variant(item.name)
            )
        ]
        shards += (
            of_source if config.limit_images is None else limited(of_source, config.limit_images)
        )
    return shards


def limited(shards: Sequence[ReadShard], images: int) -> list[ReadShard]:
    """Return shards with fewer images: the first ones of each, in proportion to its size.

    Args:
        shards: of one source.
        images: most images of all shards together.

    Returns:
        The shards that have images left; together they have exactly `images` images, or all of
        them if there are fewer.
    """
    total = sum(shard.stop - shard.start for shard in shards)
    chosen, before = [], 0
    for shard in shards:
        after = before + shard.stop - shard.start
        # Rounded sums: their differences add up to the limit exactly.
        count = min(images, total) * after // total - min(images, total) * before // total
        if count:
            chosen.append(replace(shard, stop=shard.start + count))
        before = after
    return chosen


def absent_splits(plan: Plan) -> list[tuple[str, str]]:
    """Return (source, split) of every split whose files are not present."""
    return [(s.name, split) for s in plan.sources for split in SPLITS if split not in s.splits]


def store_plan(build: Path, plan: Plan, shards: list[ReadShard]) -> None:
    """Write the plan into the build folder.

    Args:
        build: the build folder.
        plan: the plan.
        shards: the read shards; the roots of their sources are not written, so that two machines
            write the same bytes.
    """
    reads = [
        {"task": read_task(shard), "file": shard.file, "images": [shard.start, shard.stop]}
        for shard in shards
    ]
    value = {"build_id": plan.build_id, "identity": plan.identity, "read": reads}
    # A run that continues a build leaves the file as it is.
    if stored_plan(build) != value:
        write_json(build / PLAN, value)


def read_task(shard: ReadShard) -> str:
    """Return the name of a read shard's task."""
    return f"read-{shard.source}-{shard.split}-{shard.start:08d}"


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Return a line for every leaf in which two JSON values differ.

    Args:
        old: one value.
        new: the other value.
        where: dotted path of both in the value that contains them; empty at the top.

    Returns:
        Lines such as `configuration.seed: 0 -> 1`, in the order of the paths.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted(set(old) | set(new)):
            lines += differences(old.get(key), new.get(key), f"{where}.{key}" if where else key)
        return lines
    return [] if old == new else [f"{where}: {json.dumps(old)} -> {json.dumps(new)}"]
