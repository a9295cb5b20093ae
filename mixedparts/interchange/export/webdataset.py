"""Export as tar shards for the `webdataset` package: a sample is a JSON file and its images.

Members of a sample: `ID.json` (the row of `pairs`) and `ID.image1.jpg`, `ID.image2.jpg`, … with the
bytes that the build stores. Equal builds give equal bytes: members have no time and no owner.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from mixedparts.errors import EnvironmentFault
from mixedparts.interchange.export.images import ImageReader, image_suffix, open_images
from mixedparts.interchange.export.request import Job, Outcome
from mixedparts.interchange.export.rows import Row, exported_rows, image_split, used_image_rows

_USE = """\
```python
import glob

import webdataset as wds

for sample in wds.WebDataset(sorted(glob.glob("train-*.tar")), shardshuffle=False).decode("pil"):
    sample["json"]["answer"], sample["image1.jpg"]  # a row of `pairs`, a PIL image
```

Masks are COCO RLE in `objects` and `parts` of the JSON; the n-th `[SEG]` of `answer` means the
region that `seg[n]` points to. An image keeps its format: `image1.jpg`, `image1.png`, ….
"""


def write_webdataset(job: Job) -> Outcome:
    """Write the tar shards of all splits, and return the result of the export.

    Raises:
        EnvironmentFault: the package webdataset is not installed.
    """
    try:
        from webdataset.writer import TarWriter
    except ImportError as error:
        raise EnvironmentFault(
            f"the webdataset format needs the package webdataset: {error}",
            "Install it with: pip install 'mixedparts[webdataset]'",
        ) from error
    outcome = Outcome(use=_USE)
    outcome.notes = [
        "Previews, rejects and the manifest stay in the build.",
        "An image is stored again in every sample that shows it.",
    ]
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
                        tar.write(dict(_members(row, reader)))
                outcome.rows[split] += len(batch)
                number += 1
            job.progress.finish()
    return outcome


def _members(row: Row, reader: ImageReader) -> Iterator[tuple[str, Any]]:
    """Yield the key of a sample and (suffix, bytes) of its members."""
    # `TarWriter` names the members after this entry and does not write it.
    yield "__key__", row["id"]
    yield "json", msgspec.json.encode(row)
    for number, ref in enumerate(row["images"], 1):
        data = reader.row(ref["row"])["image"]["bytes"]
        yield f"image{number}.{image_suffix(data)}", data
