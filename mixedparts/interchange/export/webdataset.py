"""Export as tar shards for the packages `webdataset` and `datasets`: a JSON file and its images.

Members of a sample: `ID.json` (the row of `pairs`, its objects and parts as one list `regions`) and
`ID.image1.jpg`, `ID.image2.jpg`, … with the bytes that the build stores. `datasets` takes columns
and types from the first five samples of the first shard, and `webdataset` decodes by suffix. So
every sample has the same members with one suffix, and no list or field of the JSON is ever empty.
Equal builds give equal bytes: members have no time and no owner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from itertools import islice
from typing import Any

import msgspec

from mixedparts.errors import missing_package
from mixedparts.interchange.export.dataset_ids import dataset_ids
from mixedparts.interchange.export.request import Job, Outcome
from mixedparts.interchange.export.rows import Row, exported_rows, image_split, used_image_rows
from mixedparts.interchange.export.safe_paths import member
from mixedparts.tables.stored_images import ImageReader, image_suffix, open_images

# Suffixes of members, by the suffixes of file names; both packages decode them with Pillow.
_MEMBER_SUFFIXES = {
    ".jpg": "jpg",
    ".jpeg": "jpg",
    ".png": "png",
    ".webp": "webp",
    ".bmp": "bmp",
}
_USE = """\
```python
import datasets

rows = datasets.load_dataset("webdataset", data_files={"train": "train-*.tar"}, split="train")
rows[0]["json"]["answer"], rows[0]["image1.SUFFIX"]  # a row of `pairs`, a PIL image
```

```python
import glob

import webdataset as wds

for sample in wds.WebDataset(sorted(glob.glob("train-*.tar")), shardshuffle=False).decode("pil"):
    sample["json"]["answer"], sample["image1.SUFFIX"]
```

| key of the JSON | meaning |
|---|---|
| `id`, `source`, `split`, `task`, `question`, `answer` | as in `pairs` |
| `images[]` | as in `pairs`, with the `format` of the stored bytes, such as `jpg` or `png` |
| `regions[]` | the objects, then the parts of `pairs`, each with the number of its `image` from 0 |
| … `kind` | `object`, or `common` or `unique` of a part |
| … `category` | class of the object, or of the part's object |
| … `name` | name of the part; of an object its class again |
| … `mask`, `bbox`, `area` | as in `pairs`: COCO RLE, x, y, w, h, pixels |
| `seg[]` | the n-th `[SEG]` of `answer` means `regions[seg[n]]` |

Bytes are as the build stores them, whatever the suffix of the member.
"""


def write_webdataset(job: Job) -> Outcome:
    """Write the tar shards of all splits, and return the result of the export.

    Raises:
        EnvironmentFault: the package webdataset is not installed.
    """
    try:
        from webdataset.writer import TarWriter
    except ImportError as error:
        raise missing_package(error, "the webdataset format") or error from error
    suffix = member_suffix(dataset_ids(job.build).suffixes)
    outcome = Outcome(use=_USE.replace("SUFFIX", suffix))
    outcome.notes = [
        "Previews, rejects and the manifest stay in the build.",
        "An image is stored again in every sample that shows it.",
    ]
    others: Counter[str] = Counter()
    for split in job.splits:
        work = job.out / ".pictures.arrow"
        wanted = used_image_rows(job, split)
        with open_images(job.build, image_split(split), wanted, work) as reader:
            job.progress.start(f"webdataset {split}", job.splits[split], "rows")
            rows = exported_rows(job, split)
            number = 0
            while batch := list(islice(rows, job.request.shard_rows)):
                path = job.out / f"{split}-{number:06d}.tar"
                # `encoder=False`: the members are bytes already, and an encoder would guess from
                # their suffixes. Time, user and group would make the bytes differ between runs.
                with (
                    path.open("wb") as stream,
                    TarWriter(
                        stream, user="", group="", encoder=False, mtime=0, compress=False
                    ) as tar,
                ):
                    for row in batch:
                        sample, formats = _sample(row, reader, suffix)
                        tar.write(sample)
                        others.update(name for name in formats if name != suffix)
                outcome.rows[split] += len(batch)
                number += 1
            job.progress.finish()
    outcome.notes += [
        f"{number} members named .{suffix} have the bytes of a {name} file: the images of this"
        " build have several formats, and all samples need equal member names. `datasets`,"
        " `webdataset` and Pillow decode by content; `images[].format` has the format."
        for name, number in sorted(others.items())
    ]
    return outcome


def member_suffix(suffixes: Collection[str]) -> str:
    """Return the suffix of all image members of an export, in all its splits.

    Args:
        suffixes: suffixes of the file names of all images of the build, such as `.jpeg`.

    Returns:
        The suffix of their common format; `jpg` if the names have several, or unknown ones.
    """
    names = {_MEMBER_SUFFIXES.get(suffix, "jpg") for suffix in suffixes}
    return names.pop() if len(names) == 1 else "jpg"


def _sample(row: Row, reader: ImageReader, suffix: str) -> tuple[dict[str, Any], list[str]]:
    """Return the key of a sample with the bytes of its members, and the formats of its images."""
    pixels = [reader.row(ref["row"])["image"]["bytes"] for ref in row["images"]]
    formats = [image_suffix(data) for data in pixels]
    members = {f"image{number}.{suffix}": data for number, data in enumerate(pixels, 1)}
    # `TarWriter` names the members after the first entry and does not write it.
    return {"__key__": member(row["id"]), "json": _encoded(row, formats), **members}, formats


def _encoded(row: Row, formats: list[str]) -> bytes:
    """Return a row of `pairs` as JSON in which every list has items.

    A row of the task common_object has no parts, and an empty list tells a reader no type: if the
    first rows have none, `datasets` refuses the parts of a later row.
    """
    classes = {item["image"]: item["category"] for item in row["objects"]}
    regions = [
        _region(item, "object", item["category"], item["category"]) for item in row["objects"]
    ]
    regions += [
        _region(part, part["kind"], classes[part["image"]], part["name"]) for part in row["parts"]
    ]
    first = {"object": 0, "part": len(row["objects"])}
    images = [{**ref, "format": name} for ref, name in zip(row["images"], formats, strict=True)]
    heads = {key: row[key] for key in ("id", "source", "split", "task")}
    texts = {key: row[key] for key in ("question", "answer")}
    seg = [first[item["kind"]] + item["index"] for item in row["seg"]]
    return msgspec.json.encode({**heads, "images": images, "regions": regions, **texts, "seg": seg})


def _region(item: Row, kind: str, category: str, name: str) -> dict[str, Any]:
    """Return an object or a part as an entry of `regions`."""
    named = {"image": item["image"], "kind": kind, "category": category, "name": name}
    return named | {key: item[key] for key in ("mask", "bbox", "area")}
