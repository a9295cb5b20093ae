"""A build in the published bundle's layout and record schema.

Source: the card of the published dataset and the authors' loaders (layout and keys); what they
leave open is an option of `ExportRequest`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mixedparts.errors import InputError, UsageError
from mixedparts.interchange.bundle_import.layout import (
    DATASETS,
    maps_folder,
    objects_file,
    parts_file,
    records_file,
)
from mixedparts.interchange.export.ade_files import AdeWriter
from mixedparts.interchange.export.annotation_files import (
    AnnotationWriter,
    Named,
    PacoWriter,
    PartImageNetWriter,
    digest,
)
from mixedparts.interchange.export.paco_original import PacoOriginal
from mixedparts.interchange.export.record_list import Entry, RecordList
from mixedparts.interchange.export.request import Job, Origin, Outcome, Visibility
from mixedparts.interchange.export.rows import Row, entities_of, image_split, rows_of
from mixedparts.records import Task
from mixedparts.sources.manifests import FULL, load_manifest

_USE = """\
`mixed_parts_{train,val,test}.json` are lists of records, annotation files stand per source beside
them. Lay the folder over the upstream pictures as the published bundle is laid, or read it back:

```
mixedparts import --format published BUNDLE --root SOURCES --out data/imported
```
"""
_Known = dict[tuple[str, str, str], list[Named]]


def write_bundle(job: Job) -> Outcome:
    """Write the records and annotation files of all splits.

    Raises:
        UsageError: the build has nothing that the bundle can hold.
        InputError: upstream's file is not what the build was read from.
    """
    outcome = Outcome(use=_USE)
    bundle = _Bundle(job, outcome)
    for split in job.splits:
        known = bundle.write_entities(split)
        bundle.write_records(split, known)
    bundle.close()
    if not outcome.rows.total():
        raise UsageError(
            "no row fits the published bundle, which knows two images of one of "
            + ", ".join(DATASETS),
            "Other formats hold any row: coco, webdataset, parquet.",
        )
    outcome.notes += [
        "Questions and answers are not part of a record; an import words them anew, alike for equal"
        " pairs.",
        "Pictures are not part of a bundle.",
        "Previews, rejects and the manifest (filters, renames, inputs) stay in the build.",
        "`visibility` is not documented upstream; here it is"
        f" {_MEANINGS[job.request.visibility]} (--visibility).",
    ]
    if job.request.annotations is Origin.ORIGINAL:
        outcome.notes.append(
            "PACO ids are those of upstream's file, part maps of ADE are upstream's: neither is"
            " here. An import of it holds only what records name, no entity without a pair."
        )
    return outcome


_MEANINGS = {
    Visibility.IMAGE_SHARE: "the area of the mask over that of its image",
    Visibility.OBJECT_SHARE: "for parts the area over that of their object, for objects over the"
    " image",
    Visibility.CONSTANT: "0 everywhere",
}


class _Bundle:
    """A bundle on its way to disk."""

    def __init__(self, job: Job, outcome: Outcome) -> None:
        self._job = job
        self._outcome = outcome
        self._work = job.out / ".work"
        self._writers: dict[str, AnnotationWriter] = {}

    def write_entities(self, split: str) -> _Known:
        """Write the annotations of a split; returns them by source, image and class."""
        known: _Known = {}
        for entity in entities_of(self._job, split):
            if entity["source"] not in DATASETS:
                continue
            named = self._writer(entity["source"], image_split(split)).add(entity)
            if named is not None:
                key = entity["source"], entity["image_id"], entity["category"]
                known.setdefault(key, []).append(named)
        return known

    def _writer(self, source: str, split: str) -> AnnotationWriter:
        file = objects_file(source, split)
        if file not in self._writers:
            profile = self._job.manifest["configuration"].get("profile", FULL)
            manifest, out = load_manifest(source, profile), self._job.out
            original = self._job.request.annotations is Origin.ORIGINAL
            if source == "paco":
                self._writers[file] = (
                    PacoOriginal(self._job.request.root, split, manifest)
                    if original
                    else PacoWriter(out / file, self._work, manifest)
                )
            elif source == "partimagenet":
                parts = out / parts_file(split)
                self._writers[file] = PartImageNetWriter(out / file, parts, self._work, manifest)
            else:
                maps: Path | None = None if original else out / maps_folder(split)
                self._writers[file] = AdeWriter(out / file, maps, self._work, manifest)
        return self._writers[file]

    def write_records(self, split: str, known: _Known) -> None:
        """Write a split's list of records."""
        job = self._job
        job.progress.start(f"published {split}", job.splits[split], "rows")
        with RecordList(self._work) as records:
            for row in rows_of(job, split):
                reason = self._unfit(row)
                if reason is None:
                    named = [_find(known, row, image) for image in (0, 1)]
                    if None in named:
                        reason = "a class or part that upstream does not have"
                if reason is not None:
                    self._outcome.left_out[reason] += 1
                    continue
                both = [item for item in named if item is not None]
                ids = [item.image for item in both]
                is_object = row["task"] == Task.COMMON_OBJECT
                entry = _entry(row, both, job.request.visibility)
                records.add(DATASETS[row["source"]], ids, is_object, entry)
                self._outcome.rows[split] += 1
            job.progress.finish()
            if self._outcome.rows[split]:
                records.write(job.out / records_file(image_split(split)))

    @staticmethod
    def _unfit(row: Row) -> str | None:
        if len(row["images"]) != 2:
            return "more than two images"
        if "+" in row["source"]:
            return "images of two sources"
        if row["source"] not in DATASETS:
            return f"source {row['source']} is not one of {', '.join(DATASETS)}"
        return None

    def close(self) -> None:
        """Write the annotation files."""
        for writer in self._writers.values():
            writer.close()
            self._outcome.notes += writer.notes()
        shutil.rmtree(self._work, ignore_errors=True)


def _find(known: _Known, row: Row, image: int) -> Named | None:
    """Return the ids of the entity that a row shows in one of its images.

    Raises:
        InputError: the row's masks are not those of the entity.
    """
    item = row["objects"][image]
    key = row["source"], row["images"][image]["image_id"], item["category"]
    if key not in known:
        return None
    wanted = {p["name"]: digest(p["mask"]["counts"]) for p in row["parts"] if p["image"] == image}
    wanted[""] = digest(item["mask"]["counts"])
    for named in known[key]:
        if wanted.items() <= named.digests.items():
            return named
    raise InputError(
        f"pairs row {row['id']}: its masks of {item['category']} are not those of the entities",
        "Look at what `mixedparts verify --level deep` says of this build.",
    )


def _entry(row: Row, named: list[Named], visibility: Visibility) -> Entry:
    """Return what a record says of a row."""
    one, two = named
    cats = [item["category"] for item in row["objects"]]
    seen = [_share(row, item, visibility) for item in row["objects"]]
    ids = [list(one.objects), list(two.objects)]
    if row["task"] == Task.COMMON_OBJECT:
        return {"cat": cats[0], "ann_ids": ids, "visibility": seen}
    key = "part_cat_ids" if row["source"] == "ade20k" else "part_ann_ids"
    entry: Entry = {"cats": cats, "ann_ids": ids, "visibility": seen, "common": None}
    if row["task"] == Task.UNIQUE_PARTS:
        names = [[p["name"] for p in row["parts"] if p["image"] == image] for image in (0, 1)]
        nested = [[list(item.parts[n]) for n in mine]
                  for item, mine in zip(named, names, strict=True)]  # fmt: skip
        return {**entry, "unique": {"part_cats": names, key: nested}}
    common: list[dict[str, Any]] = []
    for first, second in _twins(row):
        shares = [_share(row, part, visibility) for part in (first, second)]
        ids = [list(item.parts[first["name"]]) for item in named]
        common.append({"part_cat": first["name"], "part_visibility": shares, key: ids})
    return {**entry, "common": common, "unique": None}


def _twins(row: Row) -> list[tuple[Row, Row]]:
    """Return the two masks of every common part, in the order of the row."""
    second = {part["name"]: part for part in row["parts"] if part["image"] == 1}
    return [(part, second[part["name"]]) for part in row["parts"] if part["image"] == 0]


def _share(row: Row, region: Row, visibility: Visibility) -> float:
    if visibility is Visibility.CONSTANT:
        return 0.0
    whole: int = region["mask"]["size"][0] * region["mask"]["size"][1]
    if visibility is Visibility.OBJECT_SHARE and "name" in region:
        whole = row["objects"][region["image"]]["area"]
    return round(float(region["area"]) / whole, 6)
