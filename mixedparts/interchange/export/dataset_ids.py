"""Ids that the files of an export share: given once for a build, whichever splits are written.

They follow from the tables `entities` and `images` of all splits. A user can join the files of two
splits, and a category id that a model learned from one file means the same class in every other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from mixedparts.records import SPLITS
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.storage.checked_rows import checked_batches

Term = tuple[str, str, str]  # source, object class, part name; an empty part is the object itself
_COLUMNS = ["source", "image_id", "file_name", "category", "parts.list.element.name"]
_BATCH = 20_000  # entities, without their masks
_NAMES = ["source", "category", "part"]


@dataclass(frozen=True, slots=True)
class DatasetIds:
    """What is numbered once for all splits of a build.

    Attributes:
        terms: every class and part of each source, sorted.
        first_image: split -> id of row 0 of its `images` table; the next rows count on.
        first_annotation: split -> id of its first entity. The parts of an entity have the next
            ids, and the next entity the id after those.
        shared_stems: (source, lower-case stem of a file name) that two different images have.
        suffixes: lower-case suffixes of all file names, such as `.jpg`.
    """

    terms: tuple[Term, ...]
    first_image: dict[str, int]
    first_annotation: dict[str, int]
    shared_stems: frozenset[tuple[str, str]]
    suffixes: frozenset[str]

    @property
    def categories(self) -> dict[tuple[str, str], int]:
        """Return (class, part) -> category id, counted from 1 in the order of the names."""
        # Some readers take an id of 0 for the background or for a missing one.
        names = sorted({(category, part) for _, category, part in self.terms})
        return {name: number for number, name in enumerate(names, 1)}

    def terms_of(self, source: str) -> list[tuple[str, str]]:
        """Return (class, part) of every class and part of a source, sorted."""
        return [(category, part) for name, category, part in self.terms if name == source]


def dataset_ids(build: BuildFolder) -> DatasetIds:
    """Return the ids of a build; all splits are read, without masks.

    Raises:
        DamagedShard: a shard of `entities` is missing or damaged.
    """
    terms: set[Term] = set()
    image_of_stem: dict[tuple[str, str], str] = {}
    shared: set[tuple[str, str]] = set()
    suffixes: set[str] = set()
    images = annotations = 1
    first_image, first_annotation = {}, {}
    for split in SPLITS:
        first_image[split], first_annotation[split] = images, annotations
        images += build.count("images", split)
        for batch in checked_batches(build, "entities", split, _COLUMNS, _BATCH):
            named = _terms(batch)
            # One id for each entity and each part that it has.
            annotations += named.num_rows
            distinct = named.group_by(_NAMES).aggregate([])
            terms.update(zip(*(distinct[name].to_pylist() for name in _NAMES), strict=True))
            files = pa.table([batch[name] for name in _COLUMNS[:3]], _COLUMNS[:3])
            for row in files.group_by(_COLUMNS[:3]).aggregate([]).to_pylist():
                name = PurePosixPath(row["file_name"])
                suffixes.add(name.suffix.lower())
                key = row["source"], name.stem.casefold()
                if image_of_stem.setdefault(key, row["image_id"]) != row["image_id"]:
                    shared.add(key)
    return DatasetIds(
        tuple(sorted(terms)), first_image, first_annotation, frozenset(shared), frozenset(suffixes)
    )


def _terms(batch: pa.RecordBatch) -> pa.Table:
    """Return source, class and part of each entity of a batch (without part) and of each part."""
    parents = pc.list_parent_indices(batch["parts"])
    names = pc.struct_field(pc.list_flatten(batch["parts"]), "name")
    objects = [batch["source"], batch["category"], pa.array([""] * batch.num_rows, pa.string())]
    parts = [batch["source"].take(parents), batch["category"].take(parents), names]
    return pa.concat_tables([pa.table(objects, _NAMES), pa.table(parts, _NAMES)])
