"""The commands `mixedparts verify` and `stats`, which only read a build."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from mixedparts.cli.verbs import BUILD_HELP, add_verb
from mixedparts.settings.local_paths import address_of, local_path, place, shown


def add_verify(verbs: Any) -> None:
    """Add the subcommand `verify`."""
    parser = add_verb(
        verbs,
        "verify",
        _verify,
        "check a build: records and sizes (quick), digests and counts (full), every image, mask and"
        " row (deep)",
        "  mixedparts verify data/mixedparts --level deep\n"
        "  mixedparts verify data/mixedparts --level full --json",
    )
    parser.add_argument("build", type=place, metavar="DIR", help=BUILD_HELP)
    parser.add_argument(
        "--level",
        choices=("quick", "full", "deep"),
        default="full",
        help="each level includes the one before it: quick, full, deep (full)",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes (all cores)")
    parser.add_argument("--json", action="store_true", help="print the problems as JSON")


def _verify(arguments: argparse.Namespace) -> int:
    """Run `mixedparts verify`, print the problems, and return 1 if there are any."""
    from mixedparts.errors import UsageError
    from mixedparts.progress import terminal_progress
    from mixedparts.verification.verify import verify

    if arguments.workers is not None and arguments.workers < 1:
        raise UsageError(f"--workers must be at least 1, not {arguments.workers}")
    # --json implies --quiet.
    progress = terminal_progress(arguments.quiet or arguments.json)
    if (address := address_of(arguments.build)) is None:
        found = verify(arguments.build, arguments.level, arguments.workers, progress)
    else:
        from mixedparts.verification.at_address import verify_at

        found = verify_at(address, arguments.level, arguments.workers, progress)
    if arguments.json:
        report = {
            "level": arguments.level,
            "problems": list(map(str, found.listed)),
            "number": found.total,
            "rules": dict(sorted(found.counts.items())),
        }
        print(json.dumps(report, indent=1))
        return 1 if found.total else 0
    for problem in found.listed:
        print(problem)
    # Findings list the first 1,000 problems and count the others.
    if found.total > len(found.listed):
        print(f"… and {found.total - len(found.listed)} more")
    print(f"{shown(arguments.build)}: {found.total} problems at level {arguments.level}")
    return 1 if found.total else 0


def add_stats(verbs: Any) -> None:
    """Add the subcommand `stats`."""
    parser = add_verb(
        verbs,
        "stats",
        _stats,
        "count samples, images, classes, parts, uses, mask areas and answers of a build, and"
        " compare them with the paper",
        "  mixedparts stats data/mixedparts\n"
        "  mixedparts stats data/mixedparts --json > stats.json\n"
        "  mixedparts stats data/mixedparts --html stats.html\n"
        "  mixedparts stats data/mixedparts --plots plots --formats svg pdf",
    )
    parser.add_argument("build", type=place, metavar="DIR", help=BUILD_HELP)
    parser.add_argument("--json", action="store_true", help="print all numbers")
    parser.add_argument(
        "--html", type=local_path, metavar="FILE", help="page with plots and tables"
    )
    parser.add_argument("--plots", type=local_path, metavar="OUT", help="folder to draw plots into")
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=("png", "svg", "pdf"),
        default=("png", "svg", "pdf"),
        help="formats of the plots (all three); text in SVG and PDF stays text",
    )


def _stats(arguments: argparse.Namespace) -> int:
    """Run `mixedparts stats`: print the statistics; draw the plots and write the page if asked."""
    from mixedparts.reports.statistics import collect
    from mixedparts.reports.statistics_report import as_text, values_of
    from mixedparts.storage.digest_list import check_output
    from mixedparts.storage.locate import folder_to_read

    for out in (arguments.plots, arguments.html):
        if out is not None:
            check_output(arguments.build, out)
    if arguments.plots or arguments.html:
        from mixedparts.reports.plots import load_matplotlib

        load_matplotlib()  # a missing package shows before the counting, which can take long
    found = collect(folder_to_read(arguments.build))
    print(json.dumps(values_of(found), indent=1) if arguments.json else as_text(found))
    # Paths to stderr: stdout must stay valid JSON with --json.
    if arguments.plots:
        from mixedparts.reports.plots import draw_plots

        for path in draw_plots(found, arguments.plots, dict.fromkeys(arguments.formats)):
            print(path, file=sys.stderr)
    if arguments.html:
        from mixedparts.reports.statistics_page import write_statistics_page

        write_statistics_page(found, arguments.html)
        print(arguments.html, file=sys.stderr)
    return 0
