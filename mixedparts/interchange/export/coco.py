"""Export as COCO instances: objects and parts are annotations, pairs have a key of their own.

One file a split, `annotations/{split}.json`, images under `images/{split}/`. Readers of COCO see
ordinary instances with categories `dog` and `dog:head`; a part names its object in `object_id`.
"""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from mixedparts.interchange.export.images import open_images
from mixedparts.interchange.export.regions import AnnotationNumbers, CocoAnnotation
from mixedparts.interchange.export.request import Job, Outcome
from mixedparts.interchange.export.rows import Row, exported_entities, exported_rows, image_split
from mixedparts.interchange.export.spool import Spool, write_document

PAIRS_KEY = "mixedparts_pairs"
_WORK = ".work"
_USE = """\
```python
from pycocotools.coco import COCO

coco = COCO("annotations/train.json")
pair = coco.dataset["mixedparts_pairs"][0]
masks = [coco.annToMask(coco.anns[i]) for i in pair["seg"]]  # the n-th [SEG] of pair["answer"]
```

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
    for split in job.splits:
        outcome.rows[split] = _CocoSplit(job, split).write()
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

    def __init__(self, job: Job, split: str) -> None:
        self._job = job
        self._split = split
        self._numbers = AnnotationNumbers()
        self._categories: dict[tuple[str, str], int] = {}
        self._images: dict[int, int] = {}  # row of the images table -> id

    def write(self) -> int:
        """Write the file and its images, and return the number of pairs."""
        work = self._job.out / _WORK
        with (
            Spool(work / "images") as images,
            Spool(work / "annotations") as annotations,
            Spool(work / "pairs") as pairs,
        ):
            for entity in exported_entities(self._job, self._split):
                # The row is null if no sample uses the image; a build has no pixels of it then.
                if entity["row"] is not None:
                    self._add_entity(entity, annotations)
            self._job.progress.start(f"coco {self._split}", self._job.splits[self._split], "rows")
            for row in exported_rows(self._job, self._split):
                pairs.add(self._pair(row, annotations))
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
            write_document(self._job.out / "annotations" / f"{self._split}.json", document)
            written = pairs.items
        shutil.rmtree(work)
        return written

    def _add_entity(self, entity: Row, annotations: Spool) -> None:
        """Add the annotations of an entity and its parts, whether a sample shows them or not."""
        image_id = self._images.setdefault(entity["row"], len(self._images) + 1)
        # In the shape of a `pairs` row, so that the masks get the same numbers as in the pairs.
        as_row = {
            "objects": [{"image": 0, **entity}],
            "parts": [{"image": 0, **part} for part in entity["parts"]],
        }
        objects, parts = self._numbers.annotations_of(as_row, [str(entity["row"])])
        for region in (*objects, *parts):
            if region.is_new:
                annotations.add(self._annotation(region, image_id))

    def _pair(self, row: Row, annotations: Spool) -> dict[str, Any]:
        """Return the entry of a row, and add those of its annotations that are new."""
        image_ids = [
            self._images.setdefault(ref["row"], len(self._images) + 1) for ref in row["images"]
        ]
        image_keys = [str(ref["row"]) for ref in row["images"]]
        objects, parts = self._numbers.annotations_of(row, image_keys)
        # In a sound build all of them come from the table `entities` and are not new.
        for region in (*objects, *parts):
            if region.is_new:
                annotations.add(self._annotation(region, image_ids[region.image]))
        regions = {"object": objects, "part": parts}
        return {
            "id": row["id"],
            "source": row["source"],
            "task": row["task"],
            "images": image_ids,
            "objects": [region.number + 1 for region in objects],
            "parts": [
                {"annotation": region.number + 1, "kind": part["kind"]}
                for region, part in zip(parts, row["parts"], strict=True)
            ],
            "question": row["question"],
            "answer": row["answer"],
            "seg": [regions[seg["kind"]][seg["index"]].number + 1 for seg in row["seg"]],
        }

    def _annotation(self, region: CocoAnnotation, image_id: int) -> dict[str, Any]:
        """Return the COCO annotation of an object or part."""
        key = region.category, region.part
        annotation = {
            "id": region.number + 1,  # some readers take an id of 0 for a missing one
            "image_id": image_id,
            "category_id": self._categories.setdefault(key, len(self._categories) + 1),
            **region.coco,
        }
        if region.part:
            return annotation | {"object_id": region.owner + 1}
        return annotation | {"parts_known": region.value.get("parts_known", True)}

    def _category_list(self) -> list[dict[str, Any]]:
        """Return the categories that annotations use, numbered in the order of first use."""
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
        taken: set[str] = set()
        with open_images(build, split, self._images, work / "pictures.arrow") as reader:
            for row, number in self._images.items():
                stored = reader.row(row)
                name = _free_name(stored, taken)
                if with_pixels:
                    target = self._job.out / "images" / self._split / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(stored["image"]["bytes"])
                images.add(
                    {
                        "id": number,
                        "file_name": name,
                        "width": stored["width"],
                        "height": stored["height"],
                        "license": licence_ids.get(stored["licence"], 0),
                        **{key: stored[key] for key in ("source", "image_id", "sha256")},
                    }
                )
                self._job.progress.advance()
        self._job.progress.finish()

    def _info(self) -> dict[str, Any]:
        manifest = self._job.build.manifest
        return {
            "description": f"MixedParts {self._split}",
            "version": manifest["code_version"],
            "build_id": manifest["build_id"],
            "schema_version": manifest["schema_version"],
            "synthetic": manifest["synthetic"],
        }

    def _licences(self) -> list[dict[str, Any]]:
        sources = self._job.build.manifest["sources"].values()
        names = sorted({source.get("image_licence", "") for source in sources})
        return [{"id": n + 1, "name": name, "url": ""} for n, name in enumerate(names)]


def _free_name(stored: dict[str, Any], taken: set[str]) -> str:
    """Return `source/file`; where two folders share a file name, the second gets its image id."""
    path = PurePosixPath(stored["image"]["path"] or stored["image_id"])
    name = f"{stored['source']}/{path.name}"
    if name in taken:
        name = f"{stored['source']}/{stored['image_id']}-{path.name}"
    taken.add(name)
    return name
