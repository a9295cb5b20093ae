"""One split of a published bundle: its records turned into entities, samples and rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from builders.bundle_readers import BUNDLED
from builders.bundle_records import RecordEntry, Refused
from mixedparts.entities.normalise import Names
from mixedparts.interchange.bundle_import.bundle import Bundle
from mixedparts.interchange.bundle_import.entities import AnnotationBook, ResolvedMask, Resolver
from mixedparts.interchange.bundle_import.layout import objects_file, records_file
from mixedparts.interchange.bundle_import.pairs import DroppedPair, SampleList
from mixedparts.interchange.bundle_import.tables import MaskStore, entity_table, places
from mixedparts.pairing.samples import sample_type
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.workspace import WORK, store_rejects
from mixedparts.progress import Progress
from mixedparts.records import Level, Reason, Reject
from mixedparts.sources.manifests import load_manifest
from mixedparts.storage.shards import Commit, commit


def task_name(source: str, split: str) -> str:
    """Return under which name the records of one source and split are committed."""
    return f"import-{source}-{split}"


class SplitImport:
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
        views = SampleList(book, entity_places >= 0, part_places >= 0)
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

    def _book(self) -> AnnotationBook:
        book = AnnotationBook()
        self._progress.start(f"records {self._split}", len(self._records), "records")
        for item in self._records:
            if isinstance(item, Refused):
                self._refuse(item)
            else:
                book.note(item)
        self._progress.advance(len(self._records))
        self._progress.finish()
        return book

    def _stated(self) -> Iterator[RecordEntry]:
        return (item for item in self._records if isinstance(item, RecordEntry))

    def _refuse(self, item: Refused | DroppedPair) -> None:
        source = item.source or self._config.sources[0]
        self._rejects.append(
            Reject(source, self._split, records_file(self._split), item.name, Level.PAIR,
                   item.reason, item.detail[:200])
        )  # fmt: skip

    def _read(self, source: str, book: AnnotationBook, store: MaskStore) -> None:
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
            found: list[ResolvedMask] = []
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

    def _distinct(self, book: AnnotationBook, views: SampleList) -> NDArray[np.int64]:
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
                    self._refuse(DroppedPair(item.name, item.source, Reason.DUPLICATE_ID, detail))
        return rows[np.sort(firsts)]

    def _kept(
        self,
        book: AnnotationBook,
        views: SampleList,
        rows: NDArray[np.int64],
        entity_places: NDArray[np.int64],
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
            name = task_name(source, self._split)
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
