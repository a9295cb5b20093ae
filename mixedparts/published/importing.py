"""A build out of a published bundle: its pairs instead of drawn ones, everything else alike."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixedparts import __version__, publish
from mixedparts.build import Stages, event_log, prepare
from mixedparts.config import BuildConfig
from mixedparts.engines import get_engine
from mixedparts.entity_table import EntityColumns, map_table
from mixedparts.errors import InputError
from mixedparts.normalise import Names
from mixedparts.pair_stage import store_samples
from mixedparts.plan import Plan, SourcePlan, code_digest, digests_below, is_synthetic, store_plan
from mixedparts.progress import Progress
from mixedparts.published.bundle import Bundle, open_bundle
from mixedparts.published.entities import Book, Found, Resolver
from mixedparts.published.layout import objects_file, records_file
from mixedparts.published.pairs import Lost, ViewList
from mixedparts.published.readers import BUNDLED
from mixedparts.published.records import Refused, Stated
from mixedparts.published.tables import MaskStore, entity_table, places
from mixedparts.records import Level, Reason, Reject
from mixedparts.reject_limit import check_rejects, parse_limit
from mixedparts.sample_table import in_order, sample_type
from mixedparts.schema import SCHEMA_VERSION
from mixedparts.shards import Commit, WrittenFile, commit, committed
from mixedparts.sources import SPLITS
from mixedparts.taxonomy import load_manifest, manifests_digest
from mixedparts.workspace import WORK, store_rejects, store_table
from mixedparts.write_stage import run_write, write_tasks

_VERSION = "published-1"


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What an import is asked for.

    Attributes:
        bundle: folder that holds `mixed_parts_{train,val,test}.json`.
        root: folder of the upstream pictures and files that the bundle does not hold.
        out: the build folder.
        splits: those to take; empty: all that are there.
        images: `embed` or `reference`, as in a build.
        max_rejects: as in a build, but by default an import takes whatever can be used.
    """

    bundle: Path
    root: Path
    out: Path
    splits: tuple[str, ...] = ()
    images: str = "embed"
    workers: int = 1
    max_rejects: str = "100%"


def import_published(
    request: ImportRequest, progress: Progress, overwrite: bool = False
) -> dict[str, Any]:
    """Make a build folder out of a bundle, or finish one that was interrupted.

    Returns:
        The manifest.

    Raises:
        InputError: a file of the bundle or of its sources is missing, or nothing can be used.
        UsageError: the folder holds another build, or something that is no build.
    """
    bundle = open_bundle(request.bundle, request.root, request.splits)
    config = _config(bundle, request)
    plan = _plan(bundle, config)
    prepare(config, plan, overwrite)
    finished = publish.finished(config.out)
    if finished is not None:
        progress.say(f"{config.out} is complete; nothing to do.")
        return finished
    publish.begin(config.out)
    with event_log(config.out) as log, closing(get_engine("local", config.workers)) as engine:
        log("begin", build_id=plan.build_id)
        store_plan(config.out, plan, [])
        reads, paired = _paired(bundle, config, progress)
        check_rejects(config.out, parse_limit(config.max_rejects), reads)
        tasks = write_tasks(config, paired)
        sizes = [task.stop - task.start for task in tasks]
        written = Stages(config, engine, progress, log).run(
            "writing", tasks, run_write, sizes, "rows"
        )
        assert written is not None  # there is no shard range
        manifest = publish.publish(config, plan, reads, paired, written)
        log("end", build_id=plan.build_id)
    return manifest


def _config(bundle: Bundle, request: ImportRequest) -> BuildConfig:
    """Return the choices of the build; the bundle has filtered already, and divided ADE itself."""
    sources = tuple(sorted({name for used in bundle.used.values() for name in used}))
    roots = {
        source: next(
            bundle.place(source, split).pictures
            for split, used in bundle.used.items()
            if source in used
        )
        for source in sources
    }
    return BuildConfig(
        sources=sources,
        root=request.root,
        source_roots=roots,
        out=request.out,
        images=request.images,
        min_object_area=0.0,
        min_part_area=0.0,
        profile=bundle.profile,
        ade20k_test="official",
        workers=request.workers,
        max_rejects=request.max_rejects,
    )


def _plan(bundle: Bundle, config: BuildConfig) -> Plan:
    inputs: dict[str, dict[str, str]] = {source: {} for source in config.sources}
    for source, name, path in bundle.inputs():
        inputs[source][name] = digests_below(path.parent, [path.name])[path.name]
    sources = tuple(
        SourcePlan(
            source,
            _VERSION,
            tuple(split for split in SPLITS if source in bundle.used.get(split, ())),
            bundle.synthetic or is_synthetic(config.source_root(source), _tops(source)),
            inputs[source],
        )
        for source in config.sources
    )
    identity = {
        "configuration": config.identity() | {"imported": "published", "whole": bundle.whole},
        "schema_version": SCHEMA_VERSION,
        "code_version": f"{__version__}+{code_digest()[:12]}",
        "manifests": manifests_digest(),
        "sources": {source.name: asdict(source) for source in sources},
    }
    text = json.dumps(identity, sort_keys=True)
    build_id = hashlib.sha256(text.encode()).hexdigest()[:32]
    known = {name: load_manifest(name, bundle.profile) for name in config.sources}
    return Plan(build_id, json.loads(text), sources, known)


def _tops(source: str) -> tuple[str, ...]:
    folders = {"paco": ("coco", "coco_2017", "paco"), "partimagenet": ("PartImageNet",)}
    return folders.get(source, ("ADE20KPart234",))


def _paired(bundle: Bundle, config: BuildConfig, progress: Progress) -> tuple[list[Commit], Commit]:
    """Read every split, and store entities and samples as pairing does.

    Raises:
        InputError: no pair can be used.
    """
    base = config.out / WORK
    names = [_task(source, split) for split in bundle.files for source in config.sources]
    done = [committed(config.out, name, base) for name in (*names, "pair")]
    if all(done):
        *reads, paired = [record for record in done if record is not None]
        return reads, paired
    reads = []
    splits: dict[str, EntityColumns] = {}
    samples: dict[str, NDArray[np.void]] = {}
    files: list[WrittenFile] = []
    for split in bundle.files:
        split_import = _SplitImport(bundle, config, split, progress)
        table, rows = split_import.run()
        reads += split_import.commits()
        if len(rows):
            files.append(store_table(base, f"{split}.arrow", table))
            splits[split] = EntityColumns.of(map_table(base / f"{split}.arrow"))
            samples[split] = in_order(split, splits[split], rows)
    if not samples:
        reasons = Counter(str(reject) for record in reads for reject in record.counts["rejects"])
        raise InputError(
            f"no pair of {bundle.root} can be used; rejected for {', '.join(sorted(reasons))}",
            "Check that --root holds the pictures and files that the bundle refers to.",
        )
    return reads, store_samples(config, splits, samples, [], files)


def _task(source: str, split: str) -> str:
    return f"import-{source}-{split}"


class _SplitImport:
    """Reads the records of one split twice: first for their entities, then for their pairs."""

    def __init__(self, bundle: Bundle, config: BuildConfig, split: str, progress: Progress) -> None:
        self._bundle = bundle
        self._config = config
        self._split = split
        self._progress = progress
        self._records = bundle.files[split]
        self._rejects: list[Reject] = []
        self._images: Counter[str] = Counter()
        self._entities: Counter[str] = Counter()
        self._pairs: Counter[str] = Counter()

    def run(self) -> tuple[pa.Table, NDArray[np.void]]:
        """Return the entities, and the samples by their rows, not yet in order."""
        book = self._book()
        with MaskStore(self._config.out / WORK, self._split) as store:
            for source in self._bundle.used[self._split]:
                self._read(source, book, store)
        objects, parts = store.open()
        entity_places = places(objects, "entity", len(book.entities))
        part_places = places(parts, "part", book.part_count)
        views = ViewList(book, entity_places >= 0, part_places >= 0)
        for position, item in enumerate(self._stated()):
            for lost in views.add(item, position):
                self._refuse(lost)
        rows = self._distinct(book, views)
        kept = self._kept(book, views, rows, entity_places)
        table, row_of = entity_table(objects, parts, entity_places, part_places, list(kept))
        sources = table["source"].to_pylist()
        self._entities.update(sources)
        renumbered = np.full(len(views.numbers), -1, np.int64)
        for place, view in enumerate(kept):
            number = views.numbers.get(view)
            if number is not None:
                renumbered[number] = row_of[place]
        samples = np.zeros(len(rows), sample_type(2))
        samples["entities"] = renumbered[rows[:, :2]]
        samples["task"] = rows[:, 2]
        self._pairs.update(sources[first] for first in samples["entities"][:, 0].tolist())
        return table, samples

    def _book(self) -> Book:
        book = Book()
        self._progress.start(f"records {self._split}", len(self._records), "records")
        for item in self._records:
            if isinstance(item, Refused):
                self._refuse(item)
            else:
                book.note(item)
        self._progress.advance(len(self._records))
        self._progress.finish()
        return book

    def _stated(self) -> Iterator[Stated]:
        return (item for item in self._records if isinstance(item, Stated))

    def _refuse(self, item: Refused | Lost) -> None:
        source = item.source or self._config.sources[0]
        self._rejects.append(
            Reject(source, self._split, records_file(self._split), item.name, Level.PAIR,
                   item.reason, item.detail[:200])
        )  # fmt: skip

    def _read(self, source: str, book: Book, store: MaskStore) -> None:
        """Find the masks of one source's entities."""
        wanted = book.images(source)
        whole = self._bundle.whole
        names = Names(load_manifest(source, self._bundle.profile))
        file = objects_file(source, self._split)
        resolver = Resolver(book, source, self._split, file, names)
        reader = BUNDLED[source](self._bundle.place(source, self._split), None if whole else wanted)
        unseen = set(wanted)
        self._progress.start(f"reading {source} {self._split}", len(wanted), "images")
        for item in reader.records(self._split):
            if isinstance(item, Reject):
                self._rejects.append(item)
                if item.level is Level.IMAGE:
                    unseen.discard(item.record_id)
                else:
                    resolver.refused.add(item.record_id)
                continue
            if whole:
                resolver.note_all(item)
            found: list[Found] = []
            for outcome in resolver.resolve(item):
                if isinstance(outcome, Reject):
                    self._rejects.append(outcome)
                else:
                    found.append(outcome)
            store.add(item, found, book)
            self._images[source] += 1
            self._progress.advance(item.image_id in wanted)
            unseen.discard(item.image_id)
        self._progress.finish()
        for image in sorted(unseen):
            self._rejects.append(
                Reject(source, self._split, file, image, Level.IMAGE, Reason.UNKNOWN_IMAGE,
                       "a record names it")
            )  # fmt: skip

    def _distinct(self, book: Book, views: ViewList) -> NDArray[np.int64]:
        """Return (n, 4) first view, second view, task, position; a pair counts once a task."""
        rows = np.frombuffer(views.rows, np.int64).reshape(-1, 4) if views.rows else np.zeros(
            (0, 4), np.int64
        )  # fmt: skip
        classes: dict[tuple[str, str, str], int] = {}
        class_of = np.array(
            [
                classes.setdefault(book.entities[entity].key[:3], len(classes))
                for entity, _ in views.numbers
            ],
            np.int64,
        )
        if not len(rows):
            return rows
        both = np.sort(class_of[rows[:, :2]], axis=1)
        keys = np.column_stack((both, rows[:, 2]))
        _, firsts = np.unique(keys, axis=0, return_index=True)
        late = np.setdiff1d(np.arange(len(rows)), firsts)
        if len(late):
            told = set(rows[late, 3].tolist())
            for position, item in enumerate(self._stated()):
                if position in told:
                    detail = "these two objects were paired by a record before"
                    self._refuse(Lost(item.name, item.source, Reason.DUPLICATE_ID, detail))
        return rows[np.sort(firsts)]

    def _kept(
        self, book: Book, views: ViewList, rows: NDArray[np.int64], entity_places: NDArray[np.int64]
    ) -> dict[tuple[int, frozenset[int]], None]:
        """Return the views of the rows, and for a whole bundle also what no row uses."""
        all_views = list(views.numbers)
        kept = dict.fromkeys(all_views[number] for number in np.unique(rows[:, :2]).tolist())
        if self._bundle.whole:
            shown = {entity for entity, _ in kept}
            for entity in np.flatnonzero(entity_places >= 0).tolist():
                if entity not in shown:
                    kept[entity, frozenset(views.base(entity).values())] = None
        return kept

    def commits(self) -> list[Commit]:
        """Store the rejects; return a record for each source, as reading leaves one a shard."""
        base = self._config.out / WORK
        found = []
        for source in self._config.sources:
            mine = [reject for reject in self._rejects if reject.source == source]
            name = _task(source, self._split)
            files = (store_rejects(base, f"rejects/{name}.arrow", mine),) if mine else ()
            counts: dict[str, Any] = {
                "source": source,
                "split": self._split,
                "images": self._images[source],
                "records": self._images[source] + self._pairs[source],
                "entities": self._entities[source],
                "filtered": {},
                "rejects": dict(sorted(Counter(str(reject.reason) for reject in mine).items())),
            }
            found.append(commit(self._config.out, Commit(name, files, counts)))
        return found
