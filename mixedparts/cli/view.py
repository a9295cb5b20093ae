"""The command `mixedparts view`: samples of a build in a browser."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixedparts.cli.verbs import BUILD_HELP, add_verb
from mixedparts.settings.local_paths import local_path, place, typed

if TYPE_CHECKING:
    from mixedparts.viewer.selection import Query

_EXAMPLES = """\
  mixedparts view data/mixedparts --out view.html
  mixedparts view data/mixedparts --split test --task common_parts --class dog --limit 500
  mixedparts view data/mixedparts --ids 001b2dd759bddabf 0176237ddc345864
  mixedparts view data/mixedparts --split benchmark --predictions predictions.jsonl
  mixedparts view data/mixedparts --task unique_parts --sheet sheet.pdf
  mixedparts view data/mixedparts --serve --split test --class dog"""
# Options that choose rows: field of the query -> option and help.
_FILTERS = {
    "splits": ("--split", "NAME", "rows of these splits (all but the benchmark)"),
    "sources": ("--source", "NAME", "rows of these sources"),
    "tasks": ("--task", "NAME", "rows of these tasks"),
    "classes": ("--class", "NAME", "rows with an object of one of these classes"),
    "parts": ("--part", "NAME", "rows with a part of one of these names"),
    "ids": ("--ids", "ID", "rows with these ids, all of them"),
}
_FILE_ONLY = ("out", "limit", "max_side", "sheet")


def add_view(verbs: Any) -> None:
    """Add the subcommand `view`."""
    parser = add_verb(
        verbs,
        "view",
        _view,
        "show samples with their masks in a browser: one HTML file, or with --serve a whole build",
        _EXAMPLES,
    )
    add = parser.add_argument
    add("build", type=place, metavar="DIR", help=BUILD_HELP)
    add("--out", type=local_path, metavar="FILE", help="the file (view.html)")
    for field, (option, value, text) in _FILTERS.items():
        add(option, dest=field, nargs="+", metavar=value, help=text)
    add("--search", metavar="TEXT", help="rows with all of these words in question, answer or ids")
    add("--limit", type=int, metavar="N", help="at most N rows, evenly over splits, sources, tasks"
        " (120)")  # fmt: skip
    add("--max-side", type=int, metavar="N", help="scale down larger images; masks"
        " stay exact (1024 pixels)")  # fmt: skip
    add("--predictions", type=local_path, metavar="FILE", help="show a model's predictions"
        " beside the ground truth")  # fmt: skip
    add("--sheet", type=local_path, metavar="FILE", help="write a contact sheet for print instead:"
        " A4 at 300 dpi, .pdf or .png")  # fmt: skip
    add("--serve", action="store_true", help="serve all rows on 127.0.0.1 until Ctrl+C;"
        " other options are the first filters of the page")  # fmt: skip
    add("--port", type=int, metavar="N", help="port of --serve; 0: any free one (8765)")


def _view(arguments: argparse.Namespace) -> int:
    """Run `mixedparts view`, and print the path of the page or the address of the server."""
    from mixedparts.errors import UsageError

    if arguments.serve:
        return _serve(arguments)
    if arguments.port is not None:
        raise UsageError("--port belongs to --serve")
    for option, least in (("limit", 1), ("max_side", 16)):
        value = getattr(arguments, option)
        if value is not None and value < least:
            name = option.replace("_", "-")
            raise UsageError(f"--{name} must be at least {least}, not {value}")
    return _write(arguments) if arguments.sheet is None else _write_sheet(arguments)


def _query(arguments: argparse.Namespace) -> Query:
    from mixedparts.viewer.selection import Query
    from mixedparts.viewer.selection.query import words_of

    filters: dict[str, Any] = {name: tuple(getattr(arguments, name) or ()) for name in _FILTERS}
    return Query(**filters, words=words_of(arguments.search or ""))


def _write_sheet(arguments: argparse.Namespace) -> int:
    from mixedparts.errors import UsageError
    from mixedparts.reports.contact_sheet import LIMIT, write_contact_sheet
    from mixedparts.storage.locate import folder_to_read

    for option in ("out", "max_side", "predictions"):
        if getattr(arguments, option) is not None:
            raise UsageError(f"--{option.replace('_', '-')} is for the page, not for --sheet")
    limit = arguments.limit or LIMIT
    build = folder_to_read(arguments.build)
    sheet = write_contact_sheet(build, arguments.sheet, _query(arguments), limit)
    of = f" of {sheet.total:,} rows" if sheet.total > sheet.samples else ""
    print(f"{', '.join(map(str, sheet.files))}: {sheet.samples:,} samples{of}")
    return 0


def _write(arguments: argparse.Namespace) -> int:
    from mixedparts.progress import terminal_progress
    from mixedparts.storage.locate import folder_to_read
    from mixedparts.viewer.build_page import PageRequest, write_build_page

    given = {
        "limit": arguments.limit,
        "most_side": arguments.max_side,
        "predictions": arguments.predictions,
    }
    request = PageRequest(
        _query(arguments), **{name: value for name, value in given.items() if value}
    )
    out = arguments.out or Path("view.html")
    progress = terminal_progress(arguments.quiet)
    build = folder_to_read(arguments.build)
    written, chosen = write_build_page(build, out, request, progress)
    of = f" of {chosen.total:,} rows" if chosen.total > chosen.rows else ""
    size = f"{written.images:,} images, {written.bytes / 1e6:.1f} MB"
    print(f"{out}: {written.samples:,} samples{of}, {size}")
    if of:
        whole = f"mixedparts view {typed(arguments.build)} --serve"
        print(f"more of them: --limit N; all rows: {whole}")
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from mixedparts.errors import UsageError
    from mixedparts.exit_codes import INTERRUPTED
    from mixedparts.storage.locate import folder_to_read
    from mixedparts.viewer.server.run import PORT, serve

    for option in _FILE_ONLY:
        if getattr(arguments, option) is not None:
            name = f"--{option.replace('_', '-')}"
            raise UsageError(f"{name} is for a file; with --serve, the page shows all rows")
    port = PORT if arguments.port is None else arguments.port
    if not 0 <= port <= 65535:
        raise UsageError(f"--port must be from 0 to 65535, not {port}")
    try:
        serve(
            folder_to_read(arguments.build),
            port,
            arguments.predictions,
            _query(arguments),
            # Flushed: a program that starts the server waits for this line.
            ready=lambda address: print(f"{address}  (Ctrl+C ends it)", flush=True),
        )
    except KeyboardInterrupt:
        return INTERRUPTED  # without the line that the command can go on
    return 0
