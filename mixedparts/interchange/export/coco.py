"""Export as COCO instances: objects and parts are annotations, pairs have a key of their own.

One file a split, `annotations/instances_{split}.json`, images under `images/{split}/`: the layout
that datumaro looks for, and that pycocotools and supervision take by path. Readers of COCO see
ordinary instances with categories `dog` and `dog:head`; a part names its object in `object_id`.
Ids of categories, images and annotations are those of the whole build, see `dataset_ids`.
"""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from mixedparts.interchange.export.dataset_ids import DatasetIds, dataset_ids
from mixedparts.interchange.export.regions import AnnotationIds, CocoAnnotation
from mixedparts.interchange.export.request import Job, Outcome
from mixedparts.interchange.export.rows import Row, exported_entities, exported_rows, image_split
from mixedparts.interchange.export.safe_paths import inside
from mixedparts.interchange.export.spool import Spool, write_document
from mixedparts.tables.stored_images import open_images

PAIRS_KEY = "mixedparts_pairs"
_WORK = ".work"
_USE = """\
```python
from pycocotools.coco import COCO

coco = COCO("annotations/instances_train.json")
pair = coco.dataset["mixedparts_pairs"][0]
masks = [coco.annToMask(coco.anns[i]) for i in pair["seg"]]  # the n-th [SEG] of pair["answer"]
```

`datumaro` imports this folder as it is (`Dataset.import_from(FOLDER, "coco")`), `supervision` reads
a split with `DetectionDataset.from_coco("images/train", "annotations/instances_train.json")`.
Category, image and annotation ids are given once for the build: they mean the same in every file,
and files of several splits can be joined.

| key | meaning |
|---|---|
| `images[].source`, `.image_id`, `.sha256` | its origin, and the digest of its bytes |
| `categories[].supercategory` | `object` or `part`; a part's name is `object class:part` |
| `annotations[].object_id` | of a part: id of the annotation of its object |
| `annotations[].parts_known` | of an object: whether its source annotates its parts |
| `mixedparts_pairs[]` | one entry a row of `pairs`, in their order |
| … `images`, `objects` | ids of images and of object annotations, image by image |
| … `parts` | `{annotation, kind}` in the order of the row, kind `common` or `unique` |
| … `question`, `answer`, `seg` | the text, and the annotation that the n-th `[SEG]` means |
"""


def write_coco(job: Job) -> Outcome:
    """Write the COCO files of all splits, and return the result of the export."""
    outcome = Outcome(use=_USE)
    ids = dataset_ids(job.build)
    for split in job.splits:
        outcome.rows[split] = _CocoSplit(job, split, ids).write()
    outcome.notes = [
        "Masks are the unions of a class in an image; upstream's single instances are not in a"
        " build.",
        "Previews, rejects and the manifest stay in the build, and so do entities of images that no"
        " sample shows: a build has no pixels of those.",
    ]
    if not job.request.pictures:
        outcome.notes.append("Images were left out as asked (--no-pictures).")
    return outcome


class _CocoSplit:
    """Writes one split as a COCO file."""

    def __init__(self, job: Job, split: str, ids: DatasetIds) -> None:
        self._job = job
        self._split = split
        self._ids = ids
        self._categories = ids.categories
        self._annotation_ids = AnnotationIds()
        self._images: dict[int, str] = {}  # row of the images table -> file name of its source

    def write(self) -> int:
        """Write the file and its images, and return the number of pairs."""
        work = self._job.out / _WORK
        first = self._ids.first_annotation[image_split(self._split)]
        with (
            Spool(work / "images") as images,
            Spool(work / "annotations") as annotations,
            Spool(work / "pairs") as pairs,
        ):
            for number, entity in exported_entities(self._job, self._split, first):
                # The row is null if no sample uses the image; a build has no pixels of it then.
                if entity["row"] is None:
                    continue
                self._images.setdefault(entity["row"], entity["file_name"])
                for region in self._annotation_ids.add(entity, number):
                    annotations.add(self._annotation(region, entity["row"]))
            self._job.progress.start(f"coco {self._split}", self._job.splits[self._split], "rows")
            for row in exported_rows(self._job, self._split):
                pairs.add(self._pair(row))
            self._job.progress.finish()
            self._write_images(images, work)
            document = {
                "info": self._info(),
                "licenses": self._licences(),
                "categories": self._category_list(),
                "images": images,
                "annotations": annotations,
                PAIRS_KEY: pairs,
            }
            path = self._job.out / "annotations" / f"instances_{self._split}.json"
            write_document(path, document)
            written = pairs.items
        shutil.rmtree(work)
        return written

    def _image_id(self, row: int) -> int:
        """Return the id of an image from its row of the table `images`."""
        return self._ids.first_image[image_split(self._split)] + row

    def _pair(self, row: Row) -> dict[str, Any]:
        """Return the entry of a row of `pairs`."""
        objects, parts = self._annotation_ids.of_row(row)
        regions = {"object": objects, "part": parts}
        return {
            "id": row["id"],
            "source": row["source"],
            "task": row["task"],
            "images": [self._image_id(ref["row"]) for ref in row["images"]],
            "objects": objects,
            "parts": [
                {"annotation": number, "kind": part["kind"]}
                for number, part in zip(parts, row["parts"], strict=True)
            ],
            "question": row["question"],
            "answer": row["answer"],
            "seg": [regions[seg["kind"]][seg["index"]] for seg in row["seg"]],
        }

    def _annotation(self, region: CocoAnnotation, image_row: int) -> dict[str, Any]:
        """Return the COCO annotation of an object or part."""
        annotation = {
            "id": region.id,
            "image_id": self._image_id(image_row),
            "category_id": self._categories[region.category, region.part],
            **region.coco,
        }
        if region.part:
            return annotation | {"object_id": region.owner}
        return annotation | {"parts_known": region.value["parts_known"]}

    def _category_list(self) -> list[dict[str, Any]]:
        """Return every category of the build: datumaro refuses files with different lists."""
        categories = []
        for (category, part), number in self._categories.items():
            if part:
                names = {"name": f"{category}:{part}", "object": category, "part": part}
                categories.append({"id": number, "supercategory": "part", **names})
            else:
                categories.append({"id": number, "supercategory": "object", "name": category})
        return categories

    def _write_images(self, images: Spool, work: Path) -> None:
        """List every used image, and write its bytes unless the request excludes images."""
        split = image_split(self._split)
        build, with_pixels = self._job.build, self._job.request.pictures
        self._job.progress.start(f"images {self._split}", len(self._images), "images")
        licence_ids = {item["name"]: item["id"] for item in self._licences()}
        with open_images(build, split, self._images, work / "pictures.arrow") as reader:
            for row in sorted(self._images):
                stored = reader.row(row)
                name = self._file_name(stored["source"], row)
                if with_pixels:
                    target = inside(self._job.out / "images" / self._split, name)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(stored["image"]["bytes"])
                images.add(
                    {
                        "id": self._image_id(row),
                        "file_name": name,
                        "width": stored["width"],
                        "height": stored["height"],
                        "license": licence_ids.get(stored["licence"], 0),
                        **{key: stored[key] for key in ("source", "image_id", "sha256")},
                    }
                )
                self._job.progress.advance()
        self._job.progress.finish()

    def _file_name(self, source: str, row: int) -> str:
        """Return `source/file`, with the image id before names that two images share."""
        path = PurePosixPath(self._images[row])
        # datumaro knows an image by its name without suffix, and some file systems ignore case.
        if (source, path.stem.casefold()) in self._ids.shared_stems:
            return f"{source}/{self._image_id(row)}-{path.name}"
        return f"{source}/{path.name}"

    def _info(self) -> dict[str, Any]:
        manifest = self._job.build.manifest
        return {
            "description": f"MixedParts {self._split}",
            "version": manifest.get("code_version", "unknown"),
            "build_id": manifest["build_id"],
            "schema_version": manifest["schema_version"],
            "synthetic": manifest["synthetic"],
        }

    def _licences(self) -> list[dict[str, Any]]:
        sources = self._job.build.manifest["sources"].values()
        names = sorted({source.get("image_licence", "") for source in sources})
        return [{"id": n + 1, "name": name, "url": ""} for n, name in enumerate(names)]
