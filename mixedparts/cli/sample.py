"""The command `mixedparts sample`."""

from __future__ import annotations

import argparse
import os
from typing import Any

from mixedparts.cli.verbs import add_verb
from mixedparts.settings.local_paths import local_path


def add_sample(verbs: Any) -> None:
    """Add the subcommand `sample`."""
    parser = add_verb(
        verbs,
        "sample",
        _sample,
        "draw synthetic sources in the native layouts of all three",
        "  mixedparts sample --out sources\n"
        "  mixedparts sample --out sources --images 2000 --seed 7",
    )
    parser.add_argument(
        "--out", type=local_path, required=True, metavar="DIR", help="folder to write to"
    )
    parser.add_argument(
        "--images", type=int, default=300, metavar="N", help="images a source (default 300)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N")


def _sample(arguments: argparse.Namespace) -> int:
    """Run `mixedparts sample`, and print the command that builds from its output."""
    from mixedparts.errors import UsageError
    from mixedparts.progress import terminal_progress
    from mixedparts.synthetic import make_sources

    # Before any side effect: the folder must not appear for a command that fails.
    for name, least in (("images", 1), ("seed", 0), ("workers", 1)):
        if getattr(arguments, name) < least:
            raise UsageError(f"--{name} must be at least {least}, not {getattr(arguments, name)}")
    progress = terminal_progress(arguments.quiet)
    # `make_sources` reports how many images are done in all, `Progress` wants the difference.
    done = 0

    def advance(now: int, total: int) -> None:
        nonlocal done
        progress.advance(now - done)
        done = now

    # Every one of the three sources gets this number of images.
    progress.start("drawing synthetic images", 3 * arguments.images, "images")
    make_sources(arguments.out, arguments.images, arguments.seed, arguments.workers, advance)
    progress.finish()
    print(f"synthetic sources in {arguments.out}")
    print(f"next: mixedparts build --sources paco partimagenet ade20k --root {arguments.out}")
    return 0
