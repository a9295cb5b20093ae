"""The commands `mixedparts export` and `mixedparts import`."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from mixedparts.cli.verbs import BUILD_HELP, add_root, add_verb, sources_folder
from mixedparts.records import BENCHMARK, SPLITS
from mixedparts.settings.local_paths import local_path, place

# Written out here: importing the enumerations would load the packages that an export needs.
_FORMATS = ("published", "coco", "webdataset", "parquet")


def add_export(verbs: Any) -> None:
    """Add the subcommand `export`."""
    parser = add_verb(
        verbs,
        "export",
        _export,
        "write a build as the published bundle, COCO, WebDataset or self-contained Parquet",
        "  mixedparts export data/mixedparts --format published --out bundle\n"
        "  mixedparts export data/mixedparts --format coco --out coco --split train validation\n"
        "  mixedparts export data/mixedparts --format webdataset --out shards --shard-rows 500\n"
        "  mixedparts export data/mixedparts --format parquet --out few --limit 200",
    )
    add = parser.add_argument
    add("build", type=place, metavar="DIR", help=BUILD_HELP)
    add("--format", required=True, choices=_FORMATS, help="published, coco, webdataset or parquet")
    add("--out", type=local_path, required=True, metavar="OUT", help="folder to write")
    add("--split", nargs="+", choices=(*SPLITS, BENCHMARK), default=(), metavar="SPLIT",
        help="train, validation, test, benchmark (the first three)")  # fmt: skip
    add("--limit", type=int, metavar="N", help="rows of each split (all; parquet: 1,000)")
    add(
        "--shard-rows",
        type=int,
        default=1_000,
        metavar="N",
        help="rows of a shard of webdataset or parquet (1000)",
    )
    add("--no-pictures", action="store_true", help="coco: annotations only")
    add("--visibility", choices=("image-share", "object-share", "constant"), default="image-share",
        help="published: `visibility` is the mask's share of the image, of its object, or 0"
        " (image-share)")  # fmt: skip
    add("--annotations", choices=("own", "original"), default="own",
        help="published: own writes a PACO file and ADE part maps; original refers to the ids and"
        " maps of upstream's files, which needs --root (own)")  # fmt: skip
    add_root(parser)
    add("--overwrite", action="store_true", help="replace an earlier export there")
    add("--json", action="store_true", help="print the summary as JSON")


def _export(arguments: argparse.Namespace) -> int:
    """Run `mixedparts export`, and print its report."""
    from mixedparts.interchange.export.request import ExportRequest, Format, Origin, Visibility
    from mixedparts.interchange.export.run import export
    from mixedparts.progress import terminal_progress
    from mixedparts.storage.locate import folder_to_read

    # argparse has compared the values with the choices, so no enumeration can fail here.
    request = ExportRequest(
        build=folder_to_read(arguments.build),
        format=Format(arguments.format),
        out=arguments.out,
        splits=tuple(arguments.split),
        limit=arguments.limit,
        pictures=not arguments.no_pictures,
        shard_rows=arguments.shard_rows,
        visibility=Visibility(arguments.visibility),
        annotations=Origin(arguments.annotations),
        root=sources_folder(arguments.root),
    )
    report = export(request, terminal_progress(arguments.quiet), arguments.overwrite)
    print(json.dumps(report.values, indent=1) if arguments.json else report.text)
    return 0


def add_import(verbs: Any) -> None:
    """Add the subcommand `import`."""
    parser = add_verb(
        verbs,
        "import",
        _import,
        "make a build from the published bundle, or from one that `export` wrote",
        "  mixedparts import --format published Part_Segm --root sources --out data/published\n"
        "  mixedparts import --format published bundle --split test --out data/published_test",
    )
    add = parser.add_argument
    add(
        "bundle",
        type=local_path,
        metavar="BUNDLE",
        help="folder with mixed_parts_{train,val,test}.json",
    )
    add("--format", required=True, choices=("published",), help="format of the bundle")
    add("--out", type=local_path, required=True, metavar="DIR", help="build folder")
    add_root(parser)
    add("--split", nargs="+", choices=SPLITS, default=(), metavar="SPLIT",
        help="train, validation, test (all that exist)")  # fmt: skip
    add("--images", choices=("embed", "reference"), default="embed",
        help="store images, or only their paths (embed)")  # fmt: skip
    # Unlike a build, an import by default takes whatever can be used.
    add("--max-rejects", default="100%", metavar="LIMIT",
        help="fail when more records are rejected: a share (5%%) or a number (100%%)")  # fmt: skip
    add("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (all)")
    add("--overwrite", action="store_true", help="replace an earlier build there")
    add("--json", action="store_true", help="print the manifest's summary as JSON")


def _import(arguments: argparse.Namespace) -> int:
    """Run `mixedparts import`, and print the report of the build."""
    from mixedparts.pipeline.arrow_setup import set_up_arrow

    # Before the imports below: creating the first Arrow array would import pandas.
    set_up_arrow()
    from mixedparts.cards.summary import build_report
    from mixedparts.interchange.bundle_import.importing import ImportRequest, import_bundle
    from mixedparts.progress import terminal_progress
    from mixedparts.storage.locate import remember_build

    request = ImportRequest(
        bundle=arguments.bundle,
        root=sources_folder(arguments.root),
        out=arguments.out,
        splits=tuple(arguments.split),
        images=arguments.images,
        workers=arguments.workers,
        max_rejects=arguments.max_rejects,
    )
    manifest = import_bundle(request, terminal_progress(arguments.quiet), arguments.overwrite)
    remember_build(request.out)
    report = build_report(request.out, manifest)
    print(json.dumps(report.values, indent=1) if arguments.json else report.text)
    return 0
