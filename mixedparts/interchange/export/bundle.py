"""Export in the layout and record schema of the authors' bundle.

Source: the card of the authors' dataset and their loaders (layout and keys). What they leave open
is an option of `ExportRequest`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mixedparts.errors import InputError, UsageError
from mixedparts.interchange.bundle_import.layout import (
    DATASETS,
    objects_file,
    part_maps_folder,
    parts_file,
    records_file,
)
from mixedparts.interchange.export.ade_files import AdeWriter
from mixedparts.interchange.export.annotation_files import (
    AnnotatedEntity,
    AnnotationWriter,
    PacoWriter,
    digest,
)
from mixedparts.interchange.export.dataset_ids import dataset_ids
from mixedparts.interchange.export.paco_original import PacoOriginal
from mixedparts.interchange.export.part_image_net_files import (
    PartImageNetWriter,
    part_image_net_categories,
)
from mixedparts.interchange.export.record_list import Entry, RecordList
from mixedparts.interchange.export.request import Job, Origin, Outcome, Visibility
from mixedparts.interchange.export.rows import Row, exported_entities, exported_rows, image_split
from mixedparts.records import Task
from mixedparts.sources.manifests import load_manifest

_USE = """\
`mixed_parts_{train,val,test}.json` are lists of records; beside them are the annotation files of
each source. Put the folder over the upstream images, as with the published bundle, or read it back:

```
mixedparts import --format published BUNDLE --root SOURCES --out data/imported
```
"""
# (source, image id, class) -> ids; an imported build can have several entities under one key.
_Written = dict[tuple[str, str, str], list[AnnotatedEntity]]


def write_bundle(job: Job) -> Outcome:
    """Write the records and annotation files of all splits, and return the result of the export.

    Raises:
        UsageError: no row fits the bundle.
        InputError: upstream's file is not the one that the build was read from, or the masks of a
            row differ from those of the build's entities.
    """
    outcome = Outcome(use=_USE)
    bundle = _BundleWriter(job, outcome)
    for split in job.splits:
        # Entities first: the records refer to their annotation ids.
        written = bundle.write_entities(split)
        bundle.write_records(split, written)
    bundle.close()
    if not outcome.rows.total():
        raise UsageError(
            "no row fits the published bundle, which has only samples of two images of one of "
            + ", ".join(DATASETS),
            "These formats contain any row: coco, webdataset, parquet.",
        )
    outcome.notes += [
        "Questions and answers are not part of a record; an import writes them again, with equal"
        " text for equal pairs.",
        "Images are not part of a bundle.",
        "Previews, rejects and the manifest (filters, renames, inputs) stay in the build.",
        "`visibility` is not documented upstream; here it is"
        f" {_MEANINGS[job.request.visibility]} (--visibility).",
    ]
    if job.request.annotations is Origin.ORIGINAL:
        outcome.notes.append(
            "PACO ids are those of upstream's file, part maps of ADE are upstream's: neither is"
            " here. An import has only the entities that records name, none without a pair."
        )
    return outcome


_MEANINGS = {
    Visibility.IMAGE_SHARE: "the area of the mask over that of its image",
    Visibility.OBJECT_SHARE: "for parts the area over that of their object, for objects over the"
    " image",
    Visibility.CONSTANT: "0 everywhere",
}


class _BundleWriter:
    """Writes annotation files and records, and counts the rows that a bundle cannot represent."""

    def __init__(self, job: Job, outcome: Outcome) -> None:
        self._job = job
        self._outcome = outcome
        self._work = job.out / ".work"
        self._writers: dict[str, AnnotationWriter] = {}
        self._ids = dataset_ids(job.build)

    def write_entities(self, split: str) -> _Written:
        """Write the annotations of a split, and return their ids by source, image and class."""
        written: _Written = {}
        first = self._ids.first_annotation[image_split(split)]
        for number, entity in exported_entities(self._job, split, first):
            if entity["source"] not in DATASETS:
                continue
            annotated = self._writer(entity["source"], image_split(split)).add(entity, number)
            if annotated is not None:
                key = entity["source"], entity["image_id"], entity["category"]
                written.setdefault(key, []).append(annotated)
        return written

    def _writer(self, source: str, split: str) -> AnnotationWriter:
        """Return the writer of a source's annotation file, which several splits may share."""
        file = objects_file(source, split)
        # ADE20K's val file serves validation and test, so writers are looked up by file.
        if file not in self._writers:
            profile = self._job.build.profile
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
                terms = self._ids.terms_of(source)
                categories = part_image_net_categories(manifest, terms)
                self._writers[file] = PartImageNetWriter(out / file, parts, self._work, categories)
            else:
                maps: Path | None = None if original else out / part_maps_folder(split)
                self._writers[file] = AdeWriter(out / file, maps, self._work, manifest)
        return self._writers[file]

    def write_records(self, split: str, written: _Written) -> None:
        """Write a split's list of records, and count the rows that a record cannot represent."""
        job = self._job
        job.progress.start(f"published {split}", job.splits[split], "rows")
        with RecordList(self._work) as records:
            # Rows that do not fit are counted and reported, never dropped silently.
            for row in exported_rows(job, split):
                reason = self._unfit(row)
                if reason is None:
                    sides = [_find(written, row, image) for image in (0, 1)]
                    if None in sides:
                        reason = "a class or part that upstream does not have"
                if reason is not None:
                    self._outcome.left_out[reason] += 1
                    continue
                both = [side for side in sides if side is not None]  # narrows the type
                ids = [side.image for side in both]
                is_object = row["task"] == Task.COMMON_OBJECT
                entry = _entry(row, both, job.request.visibility)
                records.add(DATASETS[row["source"]], ids, is_object, entry)
                self._outcome.rows[split] += 1
            job.progress.finish()
            if self._outcome.rows[split]:
                records.write(job.out / records_file(image_split(split)))

    @staticmethod
    def _unfit(row: Row) -> str | None:
        """Return why a record cannot represent a row; None if it can."""
        if len(row["images"]) != 2:
            return "more than two images"
        # A row of two sources has both names, joined by "+".
        if "+" in row["source"]:
            return "images of two sources"
        if row["source"] not in DATASETS:
            return f"source {row['source']} is not one of {', '.join(DATASETS)}"
        return None

    def close(self) -> None:
        """Write the annotation files, and collect the notes of their writers."""
        for writer in self._writers.values():
            writer.close()
            self._outcome.notes += writer.notes()
        shutil.rmtree(self._work, ignore_errors=True)


def _find(written: _Written, row: Row, image: int) -> AnnotatedEntity | None:
    """Return the ids of the entity that a row shows in one of its images; None if it has none.

    Raises:
        InputError: the row's masks are not those of the entity.
    """
    item = row["objects"][image]
    key = row["source"], row["images"][image]["image_id"], item["category"]
    if key not in written:
        return None
    # The masks select among several entities of one key, and prove that the ids mean the masks of
    # the row: an import must give the row back.
    wanted = {p["name"]: digest(p["mask"]["counts"]) for p in row["parts"] if p["image"] == image}
    wanted[""] = digest(item["mask"]["counts"])
    for annotated in written[key]:
        if wanted.items() <= annotated.digests.items():
            return annotated
    raise InputError(
        f"pairs row {row['id']}: its masks of {item['category']} are not those of the entities",
        "Look at what `mixedparts verify --level deep` reports for this build.",
    )


def _entry(row: Row, sides: list[AnnotatedEntity], visibility: Visibility) -> Entry:
    """Return the entry of a record for a row.

    Common objects have one class `cat`. Part rows have two classes `cats`, and their parts under
    `common` or `unique`; the other of the two is null.
    """
    first_side, second_side = sides
    cats = [item["category"] for item in row["objects"]]
    shares = [_share(row, item, visibility) for item in row["objects"]]
    ids = [list(first_side.objects), list(second_side.objects)]
    if row["task"] == Task.COMMON_OBJECT:
        return {"cat": cats[0], "ann_ids": ids, "visibility": shares}
    # ADE20K's parts are values of a segmentation map, those of the others are annotations.
    key = "part_cat_ids" if row["source"] == "ade20k" else "part_ann_ids"
    entry: Entry = {"cats": cats, "ann_ids": ids, "visibility": shares, "common": None}
    if row["task"] == Task.UNIQUE_PARTS:
        names = [[p["name"] for p in row["parts"] if p["image"] == image] for image in (0, 1)]
        nested = [[list(side.parts[n]) for n in part_names]
                  for side, part_names in zip(sides, names, strict=True)]  # fmt: skip
        return {**entry, "unique": {"part_cats": names, key: nested}}
    common: list[dict[str, Any]] = []
    for first, second in _common_parts(row):
        shares = [_share(row, part, visibility) for part in (first, second)]
        ids = [list(side.parts[first["name"]]) for side in sides]
        common.append({"part_cat": first["name"], "part_visibility": shares, key: ids})
    return {**entry, "common": common, "unique": None}


def _common_parts(row: Row) -> list[tuple[Row, Row]]:
    """Return the two regions of every common part, in the order of the row."""
    second = {part["name"]: part for part in row["parts"] if part["image"] == 1}
    return [(part, second[part["name"]]) for part in row["parts"] if part["image"] == 0]


def _share(row: Row, region: Row, visibility: Visibility) -> float:
    """Return the visibility of an object or part: a share in [0, 1], rounded to 6 digits."""
    if visibility is Visibility.CONSTANT:
        return 0.0
    whole: int = region["mask"]["size"][0] * region["mask"]["size"][1]
    if visibility is Visibility.OBJECT_SHARE and "name" in region:
        whole = row["objects"][region["image"]]["area"]
    return round(float(region["area"]) / whole, 6)
