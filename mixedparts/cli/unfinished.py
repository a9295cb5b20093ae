"""The commands `mixedparts status` and `finalize`, for builds that several runs make."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from mixedparts.cli.verbs import add_verb
from mixedparts.settings.local_paths import address_of, place


def add_status(verbs: Any) -> None:
    """Add the subcommand `status`."""
    parser = add_verb(
        verbs,
        "status",
        _status,
        "show the progress of a build, what failed and what to do next; changes nothing",
        "  mixedparts status data/mixedparts\n"
        "  mixedparts status data/mixedparts --json\n"
        "  mixedparts status data/mixedparts --check\n"
        "  mixedparts status s3://bucket/mixedparts",
    )
    parser.add_argument("build", type=place, metavar="OUT", help="build folder or address")
    parser.add_argument(
        "--check",
        action="store_true",
        help="also read every file and compare it with its record (folders only)",
    )
    parser.add_argument("--json", action="store_true", help="print all values as JSON")


def _status(arguments: argparse.Namespace) -> int:
    """Run `mixedparts status`."""
    from dataclasses import replace

    from mixedparts.errors import UsageError
    from mixedparts.pipeline.runs.build_place import BuildPlace, OnDiskPlace
    from mixedparts.pipeline.runs.status import build_status, damaged_tasks
    from mixedparts.reports.build_status import status_report

    address = address_of(arguments.build)
    if address is None:
        where: BuildPlace = OnDiskPlace(arguments.build)
    elif arguments.check:
        raise UsageError("--check reads the files of a folder, not of an address")
    else:
        from mixedparts.pipeline.remote.unfinished import InStorePlace

        where = InStorePlace(address)
    status = build_status(where)
    if arguments.check:
        status = replace(status, damaged=damaged_tasks(arguments.build))
    report = status_report(status)
    print(json.dumps(report.values, indent=1) if arguments.json else report.text)
    return 0


def add_finalize(verbs: Any) -> None:
    """Add the subcommand `finalize`."""
    parser = add_verb(
        verbs,
        "finalize",
        _finalize,
        "finish a build that an interrupted run or shares (--shard-range) have started",
        "  mixedparts finalize data/mixedparts\n"
        "  mixedparts finalize data/mixedparts --workers 8\n"
        "  mixedparts finalize data/mixedparts --engine ray --ray-address auto\n"
        "  mixedparts finalize data/mixedparts --root /data/sources    # if they have moved",
    )
    add = parser.add_argument
    add("build", type=place, metavar="OUT", help="build folder or address")
    add("--root", type=place, metavar="DIR", help="sources' folder or address (as in the last run)")
    add("--source-root", action="append", metavar="NAME=DIR", default=[],
        help="folder of one source (as in the last run)")  # fmt: skip
    add("--max-rejects", metavar="LIMIT", help="as in `build` (as in the last run)")
    add("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (all)")
    add("--engine", choices=("local", "ray"), default="local", help="where tasks run (local)")
    add("--ray-address", metavar="ADDRESS", help="running Ray cluster, as in `build`")
    add("--json", action="store_true", help="print the manifest's summary as JSON")


def _finalize(arguments: argparse.Namespace) -> int:
    """Run `mixedparts finalize`, and print the report of the build."""
    from mixedparts.pipeline.arrow_setup import set_up_arrow

    # Before the imports below: creating the first Arrow array would import pandas.
    set_up_arrow()
    from mixedparts.cards.summary import build_report
    from mixedparts.cli.build import source_roots
    from mixedparts.pipeline.runs.completion import CompletionRequest, finalize_build
    from mixedparts.progress import terminal_progress
    from mixedparts.storage.locate import remember_build

    names = ("root", "max_rejects", "workers", "engine", "ray_address")
    where = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if roots := source_roots(arguments.source_root):
        where["source_roots"] = roots
    request = CompletionRequest(arguments.build, where)
    manifest = finalize_build(request, terminal_progress(arguments.quiet))
    remember_build(arguments.build)
    report = build_report(arguments.build, manifest)
    print(json.dumps(report.values, indent=1) if arguments.json else report.text)
    return 0
