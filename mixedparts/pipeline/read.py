"""The first stage: native files to entities, one task a read shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mixedparts.entities.normalise import Entity, FilterCounts, Filters, Names, entities_of
from mixedparts.entities.table import entity_rows
from mixedparts.pipeline.plan import read_task
from mixedparts.pipeline.workspace import WORK, store_rejects, store_table
from mixedparts.records import ImageRecord, Reject
from mixedparts.sources.contract import ReadShard, get_source
from mixedparts.sources.manifests import FULL, manifest_of
from mixedparts.storage.shards import Commit, commit, committed


@dataclass(frozen=True, slots=True)
class ReadTask:
    """Read one shard of a source and normalise it."""

    build: Path
    shard: ReadShard
    filters: Filters
    profile: str = FULL

    @property
    def name(self) -> str:
        """Name of the task, unique in its build."""
        return read_task(self.shard)


def run_read(task: ReadTask) -> Commit:
    """Read, normalise and store the entities of one shard, unless that is done already."""
    done = committed(task.build, task.name, task.build / WORK)
    if done:
        return done
    counts: Counter[str] = Counter()
    rejects: list[Reject] = []
    dropped = FilterCounts()
    table = entity_rows(_read(task, dropped, rejects, counts))
    base = task.build / WORK
    files = [store_table(base, f"entities/{task.name}.arrow", table)]
    if rejects:
        files.append(store_rejects(base, f"rejects/{task.name}.arrow", rejects))
    reasons = Counter(str(reject.reason) for reject in rejects)
    record: dict[str, Any] = {
        "source": task.shard.source,
        "split": task.shard.split,
        "images": counts["images"],
        "records": counts["records"],
        "entities": table.num_rows,
        "parts": counts["parts"],
        "filtered": {"objects": dropped.objects, "parts": dropped.parts},
        "rejects": dict(sorted(reasons.items())),
    }
    return commit(task.build, Commit(task.name, tuple(files), record))


def _read(
    task: ReadTask, dropped: FilterCounts, rejects: list[Reject], counts: Counter[str]
) -> Iterator[tuple[ImageRecord, list[Entity]]]:
    names = _names(task.shard.source, task.shard.root, task.profile)
    for item in get_source(task.shard.source).read(task.shard):
        if isinstance(item, Reject):
            rejects.append(item)
            continue
        counts["images"] += 1
        counts["records"] += 1 + len(item.objects) + len(item.parts)
        entities = entities_of(item, names, task.filters, dropped)
        counts["parts"] += sum(len(entity.parts) for entity in entities)
        yield item, entities


@lru_cache
def _names(source: str, root: str, profile: str) -> Names:
    return Names(manifest_of(source, Path(root), profile))
