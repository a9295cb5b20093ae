"""`mixedparts verify`, `stats`, `view` and `sources`: verbs that only look."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from mixedparts.cli.verbs import add_verb


def add_verify(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "verify",
        _verify,
        "check a build: sizes (quick), digests and rows (full), every mask and answer (deep)",
        "  mixedparts verify data/mixedparts --level deep",
    )
    parser.add_argument("build", type=Path, metavar="DIR")
    parser.add_argument("--level", choices=("quick", "full", "deep"), default="full")
    parser.add_argument("--json", action="store_true")


def _verify(arguments: argparse.Namespace) -> int:
    from mixedparts.verify import verify

    problems = verify(arguments.build, arguments.level)
    if arguments.json:
        print(json.dumps({"level": arguments.level, "problems": problems}, indent=1))
    else:
        for problem in problems:
            print(problem)
        print(f"{arguments.build}: {len(problems)} problems at level {arguments.level}")
    return 1 if problems else 0


def add_stats(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "stats",
        _stats,
        "count samples, images, classes, parts and mask areas of a build",
        "  mixedparts stats data/mixedparts --json",
    )
    parser.add_argument("build", type=Path, metavar="DIR")
    parser.add_argument("--json", action="store_true")


def _stats(arguments: argparse.Namespace) -> int:
    from mixedparts.stats import as_text, collect

    values = collect(arguments.build)
    print(json.dumps(values, indent=1) if arguments.json else as_text(values))
    return 0


def add_view(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "view",
        _view,
        "write an HTML page with samples of a build, masks drawn in",
        "  mixedparts view data/mixedparts --out view.html",
    )
    parser.add_argument("build", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, default=Path("view.html"), metavar="FILE")


def _view(arguments: argparse.Namespace) -> int:
    from mixedparts.view.page import write_page

    rows = write_page(arguments.build, arguments.out)
    print(f"{arguments.out}: {rows} samples")
    return 0


def add_sources(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "sources",
        _sources,
        "list the known sources, or show one: files, licence, classes",
        "  mixedparts sources\n  mixedparts sources show paco",
    )
    parser.add_argument("action", nargs="?", choices=("show",))
    parser.add_argument("name", nargs="?", metavar="NAME")


def _sources(arguments: argparse.Namespace) -> int:
    from mixedparts.errors import UsageError
    from mixedparts.reports import source_list, source_report

    if arguments.action and not arguments.name:
        raise UsageError("show which source?", "For example: mixedparts sources show paco")
    print(source_report(arguments.name) if arguments.name else source_list())
    return 0
