"""The first stage: from native files to entities, one task for each read shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mixedparts.entities.normalise import Entity, FilterCounts, Filters, Names, entities_of_images
from mixedparts.entities.table import entity_rows
from mixedparts.pipeline.plan import read_task
from mixedparts.pipeline.record_counts import RecordCounts
from mixedparts.pipeline.workspace import WORK, store_rejects, store_table
from mixedparts.records import ImageRecord, Reject
from mixedparts.sources.contract import ReadShard, get_source
from mixedparts.sources.manifests import FULL, manifest_of
from mixedparts.storage.shards import Commit, commit, committed
from mixedparts.tables.image_files import file_bytes

# Images whose masks are united together; see `entities_of_images`.
_GROUP = 32


@dataclass(frozen=True, slots=True)
class ReadTask:
    """Task that reads one shard of a source and normalises its records.

    Attributes:
        build: the build folder.
        shard: the image records to read.
        filters: which objects and parts are large enough to be used.
        profile: decides the names of classes and parts.
        described: digest of the manifest of a source that describes itself, else empty.
    """

    build: Path
    shard: ReadShard
    filters: Filters
    profile: str = FULL
    described: str = ""

    @property
    def name(self) -> str:
        """Name of the task, unique in its build; also the name of its commit record."""
        return read_task(self.shard)


def run_read(task: ReadTask) -> Commit:
    """Read, normalise and store the entities of one shard, unless that is done already.

    Raises:
        InputError: the annotation file cannot be read as a whole, or an image is gone after it was
            checked.
        OSError: a working file cannot be written.
    """
    done = committed(task.build, task.name, task.build / WORK)
    if done:
        return done
    counts: Counter[str] = Counter()
    rejects: list[Reject] = []
    dropped = FilterCounts()
    levels = RecordCounts()
    table = entity_rows(_read(task, dropped, rejects, counts, levels))
    base = task.build / WORK
    files = [store_table(base, f"entities/{task.name}.arrow", table)]
    if rejects:
        files.append(store_rejects(base, f"rejects/{task.name}.arrow", rejects))
    reasons = Counter(str(reject.reason) for reject in rejects)
    # The commit record has all counts, so that later stages and later runs need not read the table.
    record: dict[str, Any] = {
        "source": task.shard.source,
        "split": task.shard.split,
        "images": counts["images"],
        "records": counts["records"],
        "entities": table.num_rows,
        "parts": counts["parts"],
        "filtered": {"objects": dropped.objects, "parts": dropped.parts},
        "rejects": dict(sorted(reasons.items())),
        **levels.values(),
    }
    return commit(task.build, Commit(task.name, tuple(files), record))


def _read(
    task: ReadTask,
    dropped: FilterCounts,
    rejects: list[Reject],
    counts: Counter[str],
    levels: RecordCounts,
) -> Iterator[tuple[ImageRecord, int, list[Entity]]]:
    """Yield each image record that has entities, with the size of its image file and the entities.

    Args:
        task: the task.
        dropped: counts entities and parts that the filters drop.
        rejects: gets the rejected records.
        counts: gets the numbers of images, records and parts.
        levels: counts the records and rejects of each level.
    """
    names = _names(task.shard.source, task.shard.root, task.profile, task.described)
    for records in _images(task, rejects, counts, levels):
        found = entities_of_images(records, names, task.filters, dropped)
        for record, entities in zip(records, found, strict=True):
            if entities:
                counts["parts"] += sum(len(entity.parts) for entity in entities)
                yield record, file_bytes(task.shard.root, record), entities


def _images(
    task: ReadTask, rejects: list[Reject], counts: Counter[str], levels: RecordCounts
) -> Iterator[list[ImageRecord]]:
    """Yield the image records of a shard in groups; arguments as in `_read`."""
    group: list[ImageRecord] = []
    records = 0
    for item in get_source(task.shard.source).read(task.shard):
        if isinstance(item, Reject):
            rejects.append(item)
            levels.add_reject(item)
            continue
        levels.add_image(item)
        # An image, each of its objects and each of its parts is one record, as each reject is one.
        # Together they give the share of rejected records.
        records += 1 + len(item.objects) + len(item.parts)
        counts["images"] += 1
        group.append(item)
        if len(group) == _GROUP:
            yield group
            group = []
    counts["records"] += records
    yield group


# A worker process reads many shards of few sources. The digest is part of the key only: a process
# may build again after the description of a source was edited.
@lru_cache
def _names(source: str, root: str, profile: str, described: str) -> Names:
    """Return the canonical names of a source."""
    return Names(manifest_of(source, Path(root), profile))
