"""Deep checks shard by shard: the tasks of a build, and the work of one process on one task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations

from mixedparts.sources.contract import SPLITS
from mixedparts.sources.manifests import manifest_of, manifests_digest
from mixedparts.storage.build_folder import BuildFolder, DamagedShard, shard_pattern
from mixedparts.verification.entities import Shares, check_entities
from mixedparts.verification.findings import Findings, Rule
from mixedparts.verification.images import check_images
from mixedparts.verification.pairs import ShardSummary, check_pairs

ComparableClasses = Mapping[str, Mapping[str, Sequence[str]]]  # source -> class -> classes


@dataclass(frozen=True, slots=True)
class DeepTask:
    """The check of one shard's rows.

    Attributes:
        build: the build.
        table: `images`, `entities` or `pairs`.
        split: split of the shard.
        file: path of the shard, relative to the build folder.
        rows: number of its rows.
        first: number of its first row in the table and split.
        shares: area filters of the build.
        mode: how the build stores images: `embed`, `reference` or `omit`.
        licences: (source, licence note of its images).
        profile: profile whose groups decide which classes are comparable; empty if the groups are
            not checked, because this program's manifests are not those of the build or because an
            imported bundle chose the pairs.
        own_groups: comparable classes of each source that brings its own manifest, as the build's
            manifest records them.
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
    own_groups: ComparableClasses


@dataclass(frozen=True, slots=True)
class DeepResult:
    """Result of a deep task.

    Attributes:
        file: path of the shard.
        found: problems of its rows.
        summary: for a shard of `pairs`, what the checks across shards need.
        damaged: the shard that could not be read, the task's own or one of its split, and why;
            None if all could be read.
    """

    file: str
    found: Findings
    summary: ShardSummary | None = None
    damaged: tuple[str, str] | None = None


def deep_tasks(build: BuildFolder) -> list[DeepTask]:
    """Return a task for every shard of images, entities and pairs, split by split.

    The tasks of a split are neighbours, so that each process builds the split's index once.
    """
    manifest, configuration = build.manifest, build.configuration
    shares = Shares(configuration["min_object_area"], configuration["min_part_area"])
    licences = tuple(
        (name, source.get("image_licence", ""))
        for name, source in sorted(manifest["sources"].items())
    )
    sources = manifest["sources"].items()
    own_groups = {name: item["comparable"] for name, item in sources if "comparable" in item}
    # The groups of another version of the manifests would report sound pairs. The authors of a
    # bundle paired classes by groups of their own.
    plan = build.plan
    same = plan is not None and plan["identity"].get("manifests") == manifests_digest()
    same = same and "imported" not in configuration
    profile = configuration["profile"] if same else ""
    tasks = []
    for split in SPLITS:
        for table in ("images", "entities", "pairs"):
            # The rows of a split are numbered across its shards.
            first = 0
            for shard in build.table_shards(table, split):
                tasks.append(
                    DeepTask(
                        build, table, split, shard.path, shard.rows, first, shares,
                        configuration["images"], licences, profile, own_groups,
                    )
                )  # fmt: skip
                first += shard.rows
    return tasks


def run_deep(task: DeepTask) -> DeepResult:
    """Check the rows of one shard, in this or in a worker process."""
    try:
        return _checked(task)
    except DamagedShard as error:
        return DeepResult(task.file, Findings(), damaged=(error.shard, error.reason))


def _checked(task: DeepTask) -> DeepResult:
    # A task is sent to a worker process, so it has tuples and plain values instead of functions.
    if task.table == "images":
        licences = dict(task.licences)
        found = check_images(task.build, task.file, task.split, task.first, licences, task.mode)
        return DeepResult(task.file, found)
    if task.table == "entities":
        return DeepResult(task.file, check_entities(task.build, task.file, task.split, task.shares))
    compare = partial(_comparable, task.profile, task.own_groups)
    comparable = compare if task.profile else _anything
    found, summary = check_pairs(task.build, task.file, task.split, comparable)
    return DeepResult(task.file, found, summary)


def _anything(source: str, classes: Sequence[str]) -> bool:
    return True


def _comparable(
    profile: str, own_groups: ComparableClasses, source: str, classes: Sequence[str]
) -> bool:
    """Return whether the groups of a row's source, or of its two sources, compare the classes."""
    names = source.split("+")
    # A row does not say which class is of which source, so any assignment of sources will do.
    return all(
        any(
            _neighbours(profile, own_groups, name, other, first, second)
            for name in names
            for other in names
        )
        for first, second in combinations(sorted(set(classes)), 2)
    )


def _neighbours(
    profile: str, own_groups: ComparableClasses, source: str, other: str, first: str, second: str
) -> bool:
    """Return whether a class of `source` may be compared with a class of `other`."""
    own = own_groups.get(source)
    if own is None:
        return _grouped(profile, source, other, first, second)
    return second in own.get(first, ())


@cache
def _grouped(profile: str, source: str, other: str, first: str, second: str) -> bool:
    """Return whether the curated groups compare two classes of two sources.

    Cached: a build has millions of rows and a few thousand pairs of classes.
    """
    manifest, other_manifest = (manifest_of(name, profile=profile) for name in (source, other))
    return manifest is not None and manifest.comparable(first, second, other_manifest)


def check_repeated(build: BuildFolder, split: str) -> Findings:
    """Check that no image and no entity of a split occurs twice."""
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
                found.add(Rule.REPEATED, file, name, f"occurs {number} times")
    return found
