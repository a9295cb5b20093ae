"""The command `mixedparts build`.

Options come from the command line, else from `--config`, else from `MIXEDPARTS_ROOT` (root only),
else from the defaults of `BuildConfig`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixedparts.cli.verbs import ROOT_VARIABLE, add_verb
from mixedparts.exit_codes import WAITING
from mixedparts.settings.local_paths import as_path, local_path

if TYPE_CHECKING:
    from mixedparts.pipeline.config import BuildConfig
    from mixedparts.progress import Progress

WAIT_SECONDS = 600.0


def add_build(verbs: Any) -> None:
    """Add the subcommand `build`."""
    parser = add_verb(
        verbs,
        "build",
        _build,
        "build the dataset from source folders, or continue an interrupted build",
        "  mixedparts build --sources paco partimagenet ade20k\n"
        "  mixedparts build --sources paco --source-root paco=/data/paco --out data/paco_only\n"
        "  mixedparts build --sources ade20k --samples 10000 --seed 3 --workers 8\n"
        "  mixedparts build --sources paco partimagenet --dry-run\n"
        "  mixedparts build --sources paco partimagenet ade20k --profile published\n"
        "  mixedparts build --sources paco --classes mug 'trash can' --tasks unique_parts"
        " --per-image-limit 40\n"
        "  mixedparts build --sources paco partimagenet --cross-source --images-per-sample 3\n"
        "  mixedparts build --config build.yaml",
    )
    parser.add_options = _add_options


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for every field of the configuration, and those of the command alone."""
    from mixedparts.pipeline.config import BuildConfig
    from mixedparts.settings.options import add_field_options

    add_field_options(parser, BuildConfig, result=True)
    add_field_options(parser, BuildConfig, result=False)
    add = parser.add_argument
    add(
        "--source-root",
        action="append",
        metavar="NAME=DIR",
        default=[],
        help="folder or address of one source",
    )
    add(
        "--config",
        type=local_path,
        metavar="FILE",
        help="YAML with these options; flags take precedence",
    )
    add(
        "--wait",
        type=float,
        nargs="?",
        const=WAIT_SECONDS,
        metavar="SECONDS",
        help="with --shard-range: wait for the other shares, until none of them has finished a task"
        f" for SECONDS ({WAIT_SECONDS:.0f}); without it, or after that: exit code {WAITING}",
    )
    add("--dry-run", action="store_true", help="show what would be built, and write nothing")
    add("--overwrite", action="store_true", help="replace an earlier build there")
    add("--json", action="store_true", help="print the manifest's summary as JSON")


def _build(arguments: argparse.Namespace) -> int:
    """Run `mixedparts build`, and print its report."""
    from mixedparts.pipeline.arrow_setup import set_up_arrow
    from mixedparts.pipeline.engines.worker_pool import warm_up

    # Worker processes import their modules while this process imports its own.
    if arguments.workers != 1 and not arguments.dry_run and arguments.engine != "ray":
        warm_up()
    # Before the imports below: creating the first Arrow array would import pandas.
    set_up_arrow()
    from mixedparts.cards.summary import build_report
    from mixedparts.pipeline.build import build
    from mixedparts.progress import terminal_progress
    from mixedparts.storage.locate import remember_build

    config = _build_config(arguments)
    progress = terminal_progress(arguments.quiet)
    if arguments.dry_run:
        return _dry_run(config, progress, arguments.json)
    manifest = build(config, progress, arguments.overwrite)
    # With --shard-range, other runs may still have work to do; then there is no manifest yet.
    if "waiting" in manifest:
        print(json.dumps(manifest) if arguments.json else f"waiting: {manifest['waiting']}")
        return WAITING
    remember_build(config.out)
    report = build_report(config.out, manifest)
    print(json.dumps(report.values, indent=1) if arguments.json else report.text)
    return 0


def _dry_run(config: BuildConfig, progress: Progress, as_json: bool) -> int:
    """Print what a build would contain.

    Raises:
        ProblemsFound: the build would fail because too many records are rejected.
    """
    from mixedparts.errors import ProblemsFound
    from mixedparts.pipeline.dry_run import dry_run

    trial = dry_run(config, progress)
    print(json.dumps(trial.report.values, indent=1) if as_json else trial.report.text)
    if trial.refused:
        raise ProblemsFound(f"the build would fail: {trial.refused}")
    return 0


def _build_config(arguments: argparse.Namespace) -> BuildConfig:
    """Return the configuration from flags, configuration file and environment.

    Raises:
        UsageError: an option or a value of the configuration file is not valid.
        InputError: the configuration file cannot be read.
    """
    from mixedparts.pipeline.config import BuildConfig, parse_shard_range, read_config
    from mixedparts.settings.options import given_options

    values: dict[str, Any] = {"workers": os.cpu_count() or 1}
    if os.environ.get(ROOT_VARIABLE):
        values["root"] = _place_of(os.environ[ROOT_VARIABLE], ROOT_VARIABLE)
    if arguments.config:
        values |= read_config(arguments.config)
    values |= given_options(arguments, BuildConfig)
    # Flags add to the roots of the configuration file, source by source.
    values["source_roots"] = {
        **values.get("source_roots", {}),
        **source_roots(arguments.source_root),
    }
    if arguments.wait is not None:
        values["wait"] = arguments.wait
    if arguments.shard_range:
        values["shard_range"] = parse_shard_range(arguments.shard_range, "--shard-range")
    # Without sources, `BuildConfig` itself raises the error, together with all other faults.
    return BuildConfig(**{"sources": (), **values})


def source_roots(items: Sequence[str]) -> dict[str, Path]:
    """Return folder or address of each source that `--source-root NAME=DIR` names.

    Raises:
        UsageError: an item is not of this form.
    """
    from mixedparts.errors import UsageError

    roots = {}
    for item in items:
        name, equals, folder = item.partition("=")
        if not (name and equals and folder):
            raise UsageError(f"--source-root wants NAME=DIR, not '{item}'")
        roots[name] = _place_of(folder, "--source-root")
    return roots


def _place_of(text: str, origin: str) -> Path:
    """Return the folder or address that an option or a variable names.

    Raises:
        UsageError: an address names no bucket.
    """
    from mixedparts.errors import UsageError

    try:
        return as_path(text)
    except ValueError as error:
        raise UsageError(f"{origin}: {error}") from None
