"""Import of one split of a bundle: its records become entities, samples and rejects.

The annotation files are far larger than memory allows, so the records are read three times: to
learn which annotations they name, and, after the masks are on disk, to settle what they state about
each entity, and to make the samples.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixedparts.entities.normalise import Names
from mixedparts.interchange.bundle_import.agreement import Agreement
from mixedparts.interchange.bundle_import.bundle import Bundle
from mixedparts.interchange.bundle_import.contract import RecordEntry, Refused, bundle_format
from mixedparts.interchange.bundle_import.entities import AnnotationBook, ResolvedMask, Resolver
from mixedparts.interchange.bundle_import.layout import DATASETS, objects_file, records_file
from mixedparts.interchange.bundle_import.pairs import SampleList
from mixedparts.interchange.bundle_import.tables import (
    MaskStore,
    entity_table,
    mask_reader,
    row_of_number,
)
from mixedparts.pairing.samples import sample_type
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.record_counts import RecordCounts
from mixedparts.pipeline.workspace import WORK, store_rejects
from mixedparts.progress import Progress
from mixedparts.records import Level, Reason, Reject, Task
from mixedparts.sources.manifests import load_manifest
from mixedparts.storage.shards import Commit, commit
from mixedparts.tables.image_files import file_bytes


def task_name(source: str, split: str) -> str:
    """Return the task name under which one source and split of an import is committed."""
    return f"import-{source}-{split}"


def _tasks(entry: RecordEntry) -> list[str]:
    """Return the tasks that an entry states a pair for."""
    if entry.is_object:
        return [str(Task.COMMON_OBJECT)]
    common = any(side.common for side in entry.sides)
    unique = any(side.unique for side in entry.sides)
    return [str(Task.COMMON_PARTS)] * common + [str(Task.UNIQUE_PARTS)] * unique


class SplitImport:
    """Reads the records of one split: for their entities, what they state of them, their pairs.

    Args:
        bundle: the bundle to read.
        config: configuration of the build; working files go to its `out` folder.
        split: the split to read, a key of `bundle.files`.
        progress: receives the progress of reading records and images.
    """

    def __init__(self, bundle: Bundle, config: BuildConfig, split: str, progress: Progress) -> None:
        self._bundle = bundle
        self._config = config
        self._split = split
        self._progress = progress
        self._records = bundle.files[split]
        self._rejects: list[Reject] = []
        self._stated: Counter[tuple[str, str]] = Counter()
        self._levels: defaultdict[str, RecordCounts] = defaultdict(RecordCounts)
        self._images: Counter[str] = Counter()
        self._entities: Counter[str] = Counter()
        self._pairs: Counter[str] = Counter()

    def run(self) -> tuple[pa.Table, NDArray[np.void]]:
        """Read the split.

        Returns:
            The entity table, and (n,) samples of `sample_type(2)` that refer to its rows, without
            ids and in the order of the records.
        """
        book = self._book()
        with MaskStore(self._config.out / WORK, self._split) as store:
            for source in self._bundle.used[self._split]:
                self._read(source, book, store)
        objects, parts = store.open()
        object_rows = row_of_number(objects, "entity", len(book.entities))
        part_rows = row_of_number(parts, "part", book.part_count)
        agreement = Agreement(
            book, mask_reader(objects, object_rows), mask_reader(parts, part_rows)
        )
        for entry in self._entries():
            agreement.count(entry)
        agreement.settle()
        pairs = SampleList(book, agreement)
        for position, entry in enumerate(self._entries()):
            for dropped in pairs.add(entry, position):
                self._refuse(dropped)
        rows = self._distinct(pairs)
        owners = self._selected(agreement, rows)
        chosen = [agreement.parts(owner) for owner in owners]
        table, row_of = entity_table(
            objects,
            parts,
            [int(object_rows[agreement.objects[owner]]) for owner in owners],
            [[int(part_rows[part]) for part in own.values()] for own in chosen],
            # A record that names no parts does not say that there are none.
            [self._bundle.min_part_area is not None or bool(own) for own in chosen],
        )
        sources = table["source"].to_pylist()
        self._entities.update(sources)
        # The rows refer to owners by number; the samples refer to rows of the entity table.
        renumbered = np.full(len(agreement.owners), -1, np.int64)
        renumbered[owners] = row_of
        samples = np.zeros(len(rows), sample_type(2))
        samples["entities"] = renumbered[rows[:, :2]]
        samples["task"] = rows[:, 2]
        self._pairs.update(sources[first] for first in samples["entities"][:, 0].tolist())
        return table, samples

    def _book(self) -> AnnotationBook:
        """Return the entities that the records name, and note the records that are refused."""
        book = AnnotationBook()
        self._progress.start(f"records {self._split}", len(self._records), "records")
        for item in self._records:
            if isinstance(item, Refused):
                self._refuse(item)
            else:
                book.add_entry(item)
                self._stated.update((item.source, task) for task in _tasks(item))
        self._progress.advance(len(self._records))
        self._progress.finish()
        return book

    def _entries(self) -> Iterator[RecordEntry]:
        return (item for item in self._records if isinstance(item, RecordEntry))

    def _refuse(self, item: Refused) -> None:
        # Rejects are stored source by source. A record that names no source, or one of which no
        # record is usable, counts under the first, so that the total includes it.
        source, detail = item.source, item.detail
        if source not in self._config.sources:
            detail = f"{DATASETS[source]}: {detail}" if source else detail
            source = self._config.sources[0]
        self._rejects.append(
            Reject(source, self._split, records_file(self._split), item.name, Level.PAIR,
                   item.reason, detail[:200])
        )  # fmt: skip

    def _read(self, source: str, book: AnnotationBook, store: MaskStore) -> None:
        """Read one source's annotation files and store the masks of its entities."""
        wanted = book.images(source)
        whole = self._bundle.whole
        names = Names(load_manifest(source, self._bundle.profile))
        file = objects_file(source, self._split)
        least = self._bundle.min_part_area
        resolver = Resolver(book, source, self._split, file, names)
        # None lets the reader yield every image of the split, also those that no record names.
        place = self._bundle.place(source, self._split)
        reader = bundle_format().annotations(source, place, None if whole else wanted)
        unseen = set(wanted)
        self._progress.start(f"reading {source} {self._split}", len(wanted), "images")
        for item in reader.records(self._split):
            if isinstance(item, Reject):
                self._rejects.append(item)
                # One cause, one reject: the reader has reported this image or annotation.
                if item.level is Level.IMAGE:
                    unseen.discard(item.record_id)
                else:
                    resolver.refused.add(item.record_id)
                continue
            if least is not None:
                resolver.add_image(item, least)
            resolved: list[ResolvedMask] = []
            for outcome in resolver.resolve(item):
                if isinstance(outcome, Reject):
                    self._rejects.append(outcome)
                else:
                    resolved.append(outcome)
            store.add(item, file_bytes(place.image_root, item), resolved, book)
            self._images[source] += 1
            self._levels[source].add_image(item)
            self._progress.advance(item.image_id in wanted)
            unseen.discard(item.image_id)
        self._progress.finish()
        # What is left was named by a record and occurs in no annotation file.
        for image in sorted(unseen):
            self._rejects.append(
                Reject(source, self._split, file, image, Level.IMAGE, Reason.UNKNOWN_IMAGE,
                       "a record names it")
            )  # fmt: skip

    def _distinct(self, pairs: SampleList) -> NDArray[np.int64]:
        """Return the rows of `pairs` without repeated ones, and refuse the repetitions.

        Returns:
            (n, 4) int64: owner of the first and of the second entity, task, position of the record.
        """
        rows = np.array(pairs.rows, np.int64).reshape(-1, 4)
        # The order of the two images makes no difference: (a, b) and (b, a) are one pair.
        keys = np.column_stack((np.sort(rows[:, :2], axis=1), rows[:, 2]))
        _, firsts = np.unique(keys, axis=0, return_index=True)
        repeated = np.setdiff1d(np.arange(len(rows)), firsts)
        if len(repeated):
            positions = set(rows[repeated, 3].tolist())
            for position, entry in enumerate(self._entries()):
                if position in positions:
                    detail = "these two objects were paired by a record before"
                    self._refuse(Refused(entry.name, entry.source, Reason.DUPLICATE_ID, detail))
        return rows[np.sort(firsts)]

    def _selected(self, agreement: Agreement, rows: NDArray[np.int64]) -> list[int]:
        """Return the owners that the rows use, and for a whole bundle also all others."""
        if self._bundle.whole:
            return [number for number, item in enumerate(agreement.objects) if item >= 0]
        used: list[int] = np.unique(rows[:, :2]).tolist()
        return used

    def commits(self) -> list[Commit]:
        """Store the rejects, and return one commit record for each source.

        The records have the keys of a read shard's record, so that the later stages of a build
        accept them.
        """
        base = self._config.out / WORK
        records = []
        for source in self._config.sources:
            rejects = [reject for reject in self._rejects if reject.source == source]
            stated = {task: n for (name, task), n in sorted(self._stated.items()) if name == source}
            levels = self._levels[source]
            levels.read[Level.PAIR] = self._pairs[source]
            for reject in rejects:
                levels.add_reject(reject)
            name = task_name(source, self._split)
            files = (store_rejects(base, f"rejects/{name}.arrow", rejects),) if rejects else ()
            counts: dict[str, Any] = {
                "source": source,
                "split": self._split,
                "images": self._images[source],
                "records": self._images[source] + self._pairs[source],
                "entities": self._entities[source],
                "filtered": {},
                "rejects": dict(sorted(Counter(str(reject.reason) for reject in rejects).items())),
                "stated": stated,
                **levels.values(),
            }
            records.append(commit(self._config.out, Commit(name, files, counts)))
        return records
