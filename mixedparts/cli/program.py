"""The parser of the `mixedparts` command, with all of its subcommands."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence

from mixedparts.cli.build import add_build
from mixedparts.cli.environment import add_env
from mixedparts.cli.export import add_export, add_import
from mixedparts.cli.inspect import add_stats, add_verify
from mixedparts.cli.push import add_push
from mixedparts.cli.sample import add_sample
from mixedparts.cli.sources import add_sources
from mixedparts.cli.unfinished import add_finalize, add_status
from mixedparts.cli.verbs import VerbParser
from mixedparts.cli.view import add_view
from mixedparts.settings.command_parser import CommandParser, add_program_options

_EXAMPLES = """\
examples:
  mixedparts sample --out sources --images 200
  mixedparts build --sources paco partimagenet ade20k --root sources
  mixedparts status data/mixedparts       # of a build on a cluster; then: finalize
  mixedparts verify data/mixedparts --level full
  mixedparts stats data/mixedparts
  mixedparts view data/mixedparts --out view.html     # or, for all rows: --serve
  mixedparts export data/mixedparts --format coco --out coco
  mixedparts push data/mixedparts --repo-id me/mixedparts --dry-run
  mixedparts sources show paco
  mixedparts env                          # versions, for a bug report
  eval "$(mixedparts --print-completion bash)"

exit codes: 0 ok, 1 problems found, 2 usage, 3 missing or unreadable input or environment,
4 this share of a build is done and others are not, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, run the subcommand, and return its exit code.

    Args:
        argv: the arguments; None: those of the process.
    """
    # `add_verb` has set the function of the subcommand as the default of `verb`.
    arguments = _parser().parse_args(argv)
    verb: Callable[[argparse.Namespace], int] = arguments.verb
    return verb(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="mixedparts",
        description="Build, check and look at the MixedParts dataset.",
        epilog=_EXAMPLES,
    )
    add_program_options(parser)
    parser.names.update(
        sources=_sources, name=_sources, tasks=_tasks, splits=_splits, profile=_profiles
    )
    verbs = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=VerbParser
    )
    # In the order in which a user needs them: `--help` lists them so.
    add_sample(verbs)
    add_build(verbs)
    add_status(verbs)
    add_finalize(verbs)
    add_verify(verbs)
    add_stats(verbs)
    add_view(verbs)
    add_export(verbs)
    add_import(verbs)
    add_push(verbs)
    add_sources(verbs)
    add_env(verbs)
    return parser


def _sources() -> Iterable[str]:
    from mixedparts.sources.contract import available

    return available()


def _tasks() -> Iterable[str]:
    from mixedparts.records import Task

    return map(str, Task)


def _profiles() -> Iterable[str]:
    from mixedparts.sources.manifests import profiles

    return profiles()


def _splits() -> Iterable[str]:
    from mixedparts.records import BENCHMARK, SPLITS

    return (*SPLITS, BENCHMARK)
