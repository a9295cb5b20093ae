"""The command `mixedparts sample`."""

from __future__ import annotations

import argparse
import os
from typing import Any

from mixedparts.cli.verbs import add_verb
from mixedparts.settings.local_paths import local_path, typed

_IMAGES = 300
_SOURCES = ("paco", "partimagenet", "ade20k")


def add_sample(verbs: Any) -> None:
    """Add the subcommand `sample`."""
    parser = add_verb(
        verbs,
        "sample",
        _sample,
        "draw synthetic sources in the layouts of PACO, PartImageNet and ADE20K-Part-234",
        "  mixedparts sample --out sources\n"
        "  mixedparts sample --out sources --images 2000 --seed 7\n"
        "  mixedparts sample --out scale --annotations-only --profile full",
    )
    parser.add_argument(
        "--out", type=local_path, required=True, metavar="DIR", help="folder to write to"
    )
    parser.add_argument("--images", type=int, metavar="N", help=f"images a source ({_IMAGES})")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="another seed draws other images (0)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes (all cores)",
    )
    scale = parser.add_argument_group(
        "annotations at scale",
        "write as many random masks as the real datasets have, to measure builds; all images share "
        "a few small files (83,000 images with 740,000 objects and parts take minutes)",
    )
    scale.add_argument(
        "--annotations-only", action="store_true", help="write these instead of drawn images"
    )
    scale.add_argument(
        "--profile",
        choices=("full", "small"),
        help="full: the numbers of the real datasets; small: a hundredth (full)",
    )
    scale.add_argument(
        "--fraction",
        type=float,
        metavar="F",
        help="multiply the numbers of the profile, 0.01 or 10 for example (1)",
    )
    scale.add_argument(
        "--sources",
        nargs="+",
        choices=_SOURCES,
        metavar="NAME",
        help=f"which of {', '.join(_SOURCES)} to write (all)",
    )


def _sample(arguments: argparse.Namespace) -> int:
    """Run `mixedparts sample`, and print the command that builds from its output."""
    from mixedparts.progress import terminal_progress

    # Before any side effect: the folder must not appear for a command that fails.
    _check(arguments)
    progress = terminal_progress(arguments.quiet)
    # `make_sources` reports how many images are done in all, `Progress` wants the difference.
    done = 0

    def advance(now: int, total: int) -> None:
        nonlocal done
        progress.advance(now - done)
        done = now

    sources = arguments.sources or _SOURCES
    if arguments.annotations_only:
        from mixedparts.synthetic.scale import Order, make_annotations

        profile, fraction = arguments.profile or "full", arguments.fraction or 1.0
        order = Order(profile, fraction, arguments.seed, sources)
        progress.start("writing synthetic annotations", order.images, "images")
        make_annotations(arguments.out, order, arguments.workers, advance)
    else:
        from mixedparts.synthetic import make_sources

        images = arguments.images or _IMAGES
        # Every one of the three sources gets this number of images.
        progress.start("drawing synthetic images", len(_SOURCES) * images, "images")
        make_sources(arguments.out, images, arguments.seed, arguments.workers, advance)
    progress.finish()
    print(f"synthetic sources in {arguments.out}")
    print(f"next: mixedparts build --sources {' '.join(sources)} --root {typed(arguments.out)}")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Raise UsageError for numbers out of range and options that do not go together."""
    from mixedparts.errors import UsageError

    for name, least in (("images", 1), ("seed", 0), ("workers", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise UsageError(f"--{name} must be at least {least}, not {value}")
    of_scale = ("profile", "fraction", "sources")
    given = [f"--{name}" for name in of_scale if getattr(arguments, name) is not None]
    if given and not arguments.annotations_only:
        raise UsageError(
            f"{', '.join(given)}: only with --annotations-only", "Add --annotations-only."
        )
    if not arguments.annotations_only:
        return
    if arguments.images is not None:
        raise UsageError(
            "--images does not go with --annotations-only, whose --profile has the numbers of "
            "images",
            "Use --fraction to change them: --fraction 0.01 for a hundredth.",
        )
    from mixedparts.synthetic.scale import MOST_TIMES

    if arguments.fraction is not None and not 0 < arguments.fraction <= MOST_TIMES:
        raise UsageError(
            f"--fraction must be above 0 and at most {MOST_TIMES}, not {arguments.fraction}"
        )
