"""The command `mixedparts push`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from mixedparts.cli.verbs import BUILD_HELP, add_verb
from mixedparts.settings.local_paths import place


def add_push(verbs: Any) -> None:
    """Add the subcommand `push`."""
    parser = add_verb(
        verbs,
        "push",
        _push,
        "send a build to a dataset repository of a Hub, by default without images",
        "  mixedparts push data/mixedparts --repo-id me/mixedparts --dry-run\n"
        "  mixedparts push data/mixedparts --repo-id me/mixedparts",
    )
    parser.add_argument("build", type=place, metavar="DIR", help=BUILD_HELP)
    parser.add_argument("--repo-id", required=True, metavar="OWNER/NAME", help="dataset repository")
    parser.add_argument(
        "--with-pixels", action="store_true", help="send images too; check their licences first"
    )
    parser.add_argument("--public", action="store_true", help="a new repository is public")
    parser.add_argument("--dry-run", action="store_true", help="print what would be sent")
    parser.add_argument("--json", action="store_true", help="print the plan or the result as JSON")


def _push(arguments: argparse.Namespace) -> int:
    """Run `mixedparts push`: print the plan, and send the files unless it is a dry run."""
    from mixedparts.hub.push import HuggingFaceHub, push, push_plan
    from mixedparts.progress import terminal_progress
    from mixedparts.storage.locate import folder_to_read

    progress = terminal_progress(arguments.quiet)
    build = folder_to_read(arguments.build, whole=True, progress=progress)
    # The plan also checks the build and the options, before anything is sent.
    plan = push_plan(build, arguments.repo_id, arguments.with_pixels)
    if arguments.dry_run:
        print(json.dumps(plan.values, indent=1) if arguments.json else plan.text)
        if not arguments.json:
            print("dry run: nothing was sent")
        return 0
    # The plan names the licences; it goes to stderr because stdout has the result, maybe as JSON.
    print(plan.text, file=sys.stderr)
    sent = push(
        build,
        arguments.repo_id,
        arguments.with_pixels,
        not arguments.public,  # a new repository is private by default
        HuggingFaceHub.connect(),
        progress,
    )
    if arguments.json:
        print(json.dumps({"repo_id": arguments.repo_id, **sent}))
    else:
        print(f"{arguments.repo_id}: " + ", ".join(f"{n} files {what}" for what, n in sent.items()))
    return 0
