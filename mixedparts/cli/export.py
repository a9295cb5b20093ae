"""`mixedparts export`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from mixedparts.cli.verbs import add_verb

_FORMATS = ("coco", "webdataset", "parquet")
_SPLITS = ("train", "validation", "test", "benchmark")


def add_export(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "export",
        _export,
        "write a build as COCO, WebDataset or self-contained Parquet",
        "  mixedparts export data/mixedparts --format coco --out coco --split train validation\n"
        "  mixedparts export data/mixedparts --format webdataset --out shards --shard-rows 500\n"
        "  mixedparts export data/mixedparts --format parquet --out few --limit 200",
    )
    add = parser.add_argument
    add("build", type=Path, metavar="DIR")
    add("--format", required=True, choices=_FORMATS)
    add("--out", type=Path, required=True, metavar="OUT", help="folder to write")
    add("--split", nargs="+", choices=_SPLITS, default=(), metavar="SPLIT",
        help="train, validation, test, benchmark (the first three)")  # fmt: skip
    add("--limit", type=int, metavar="N", help="rows of each split (all; parquet: 1,000)")
    add("--shard-rows", type=int, default=1_000, metavar="N", help="webdataset, parquet (1000)")
    add("--no-pictures", action="store_true", help="coco: annotations only")
    add("--overwrite", action="store_true", help="replace what an earlier export left there")
    add("--json", action="store_true", help="print the summary as JSON")
    add("--quiet", action="store_true", help="no progress")


def _export(arguments: argparse.Namespace) -> int:
    from mixedparts.export.request import ExportRequest, Format
    from mixedparts.export.run import export
    from mixedparts.progress import for_people

    request = ExportRequest(
        build=arguments.build,
        format=Format(arguments.format),
        out=arguments.out,
        splits=tuple(arguments.split),
        limit=arguments.limit,
        pictures=not arguments.no_pictures,
        shard_rows=arguments.shard_rows,
    )
    report = export(request, for_people(arguments.quiet), arguments.overwrite)
    print(json.dumps(report.values, indent=1) if arguments.json else report.text)
    return 0
