"""The command `mixedparts sources`: metadata of each source, and checks of all manifests."""

from __future__ import annotations

import argparse
import json
from typing import Any

from mixedparts.cli.verbs import add_root, add_verb, sources_folder


def add_sources(verbs: Any) -> None:
    """Add the subcommand `sources`."""
    parser = add_verb(
        verbs,
        "sources",
        _sources,
        "list the known sources, show one (files, checksums, counts, licence, classes, parts,"
        " groups), or check the curated groups and names",
        "  mixedparts sources\n  mixedparts sources show paco --root sources\n"
        "  mixedparts sources show partimagenet --profile published --json\n"
        "  mixedparts sources check",
    )
    parser.add_argument("action", nargs="?", choices=("show", "check"), help="leave it out to list")
    parser.add_argument("name", nargs="?", metavar="NAME", help="source to show")
    add_root(parser)
    parser.add_argument(
        "--profile", default="full", metavar="NAME", help="full, or published (full)"
    )
    parser.add_argument("--json", action="store_true", help="print all values as JSON")


def _sources(arguments: argparse.Namespace) -> int:
    """Run `mixedparts sources`: list the sources, show one, or check the manifests."""
    from mixedparts.errors import UsageError

    # argparse cannot express that NAME belongs to `show` only.
    if arguments.action == "check":
        if arguments.name:
            raise UsageError("'check' takes no name", "It checks all manifests together.")
        return _check(arguments.json)
    from mixedparts.reports.sources import source_list, source_report

    if arguments.action and not arguments.name:
        raise UsageError("show which source?", "For example: mixedparts sources show paco")
    if arguments.name:
        root = sources_folder(arguments.root)
        report = source_report(arguments.name, root, arguments.profile)
    else:
        report = source_list()
    print(json.dumps(report.values, indent=1) if arguments.json else report.text)
    return 0


def _check(as_json: bool) -> int:
    """Print the faults of the curated groups and names, and return 1 if there are any."""
    from mixedparts.sources.checks import manifest_faults

    faults = manifest_faults()
    if as_json:
        print(json.dumps({"faults": faults}, indent=1))
    else:
        for fault in faults:
            print(fault)
        print(f"manifests: {len(faults)} faults")
    return 1 if faults else 0
