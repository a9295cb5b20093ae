"""Deep checks shard by shard: what one process does with one file, and how a build is divided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations

from mixedparts.sources.contract import SPLITS
from mixedparts.sources.manifests import manifest_of, manifests_digest
from mixedparts.storage.build_folder import BuildFolder, shard_pattern
from mixedparts.verification.entities import Shares, check_entities
from mixedparts.verification.findings import Findings, Rule
from mixedparts.verification.images import check_images
from mixedparts.verification.pairs import ShardSummary, check_pairs

ComparableClasses = Mapping[str, Mapping[str, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class DeepTask:
    """Check the rows of one shard.

    Attributes:
        first: number of the shard's first row in its table and split.
        shares: the filters of the build.
        mode: how the build keeps pictures.
        licences: the note on each source's images.
        profile: whose groups the classes are held against; empty where the manifests here are not
            those of the build, or did not draw its pairs.
        brought: class -> comparable classes, of each source that brought its manifest along.
    """

    build: BuildFolder
    table: str
    split: str
    file: str
    rows: int
    first: int
    shares: Shares
    mode: str
    licences: tuple[tuple[str, str], ...]
    profile: str
    brought: ComparableClasses


@dataclass(frozen=True, slots=True)
class DeepResult:
    """What checking one shard gave; shards of `pairs` leave traces."""

    file: str
    found: Findings
    traces: ShardSummary | None = None


def deep_tasks(build: BuildFolder) -> list[DeepTask]:
    """Return a task for every shard of images, entities and pairs, those of a split together."""
    manifest, configuration = build.manifest, build.configuration
    shares = Shares(configuration["min_object_area"], configuration["min_part_area"])
    licences = tuple(
        (name, source.get("image_licence", ""))
        for name, source in sorted(manifest["sources"].items())
    )
    sources = manifest["sources"].items()
    brought = {name: item["comparable"] for name, item in sources if "comparable" in item}
    plan = build.plan
    same = plan is not None and plan["identity"].get("manifests") == manifests_digest()
    same = same and "imported" not in configuration  # a bundle chooses its own class pairs
    profile = configuration["profile"] if same else ""
    tasks = []
    for split in SPLITS:
        for table in ("images", "entities", "pairs"):
            first = 0
            for shard in build.table_shards(table, split):
                tasks.append(
                    DeepTask(
                        build, table, split, shard.path, shard.rows, first, shares,
                        configuration["images"], licences, profile, brought,
                    )
                )  # fmt: skip
                first += shard.rows
    return tasks


def run_deep(task: DeepTask) -> DeepResult:
    """Check one shard row by row."""
    if task.table == "images":
        licences = dict(task.licences)
        found = check_images(task.build, task.file, task.split, task.first, licences, task.mode)
        return DeepResult(task.file, found)
    if task.table == "entities":
        return DeepResult(task.file, check_entities(task.build, task.file, task.split, task.shares))
    compare = partial(_comparable, task.profile, task.brought)
    comparable = compare if task.profile else _anything
    found, traces = check_pairs(task.build, task.file, task.split, comparable)
    return DeepResult(task.file, found, traces)


def _anything(source: str, classes: Sequence[str]) -> bool:
    return True


def _comparable(
    profile: str, brought: ComparableClasses, source: str, classes: Sequence[str]
) -> bool:
    """Say whether the curated groups of a row's source, or of its two together, compare these."""
    names = source.split("+")
    return all(
        any(
            _neighbours(profile, brought, name, other, one, two)
            for name in names
            for other in names
        )
        for one, two in combinations(sorted(set(classes)), 2)
    )


def _neighbours(
    profile: str, brought: ComparableClasses, source: str, other: str, one: str, two: str
) -> bool:
    own = brought.get(source)
    return _grouped(profile, source, other, one, two) if own is None else two in own.get(one, ())


@cache
def _grouped(profile: str, source: str, other: str, one: str, two: str) -> bool:
    """Say whether classes of two sources may be compared with each other; looked up once each."""
    known, beside = (manifest_of(name, profile=profile) for name in (source, other))
    return known is not None and known.comparable(one, two, beside)


def check_repeated(build: BuildFolder, split: str) -> Findings:
    """Check that no image and no entity of a split stands there twice."""
    found = Findings()
    for table, columns in (
        ("images", ["source", "image_id"]),
        ("entities", ["source", "image_id", "category"]),
    ):
        rows = Counter(tuple(row.values()) for row in build.rows(table, split, columns))
        for key, number in rows.items():
            if number > 1:
                name = " ".join(map(str, key))
                file = shard_pattern(table, split)
                found.add(Rule.REPEATED, file, name, f"stands there {number} times")
    return found
