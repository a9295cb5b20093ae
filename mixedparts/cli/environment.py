"""The command `mixedparts env`: versions and machine, for a bug report."""

from __future__ import annotations

import argparse
import json
from typing import Any

from mixedparts.cli.verbs import add_verb


def add_env(verbs: Any) -> None:
    """Add the subcommand `env`."""
    parser = add_verb(
        verbs,
        "env",
        _env,
        "print versions, machine and settings, to paste into a bug report",
        "  mixedparts env\n  mixedparts env --json",
    )
    parser.add_argument("--json", action="store_true", help="print all values as JSON")


def _env(arguments: argparse.Namespace) -> int:
    """Run `mixedparts env`."""
    from mixedparts.reports.environment import environment

    found = environment()
    if arguments.json:
        print(json.dumps(found, indent=1))
        return 0
    width = max(len(name) for section in found.values() for name in section)
    for title, section in found.items():
        print(f"{title}:")
        for name, value in section.items():
            print(f"  {name:<{width}}  {value}")
    return 0
