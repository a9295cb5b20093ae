"""`calico-eval --compare`: two or more evaluations side by side."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from calico.cli.evaluation.outputs import output_files, output_folders
from calico.cli.evaluation.reporting import check_build, write_comparison_report
from calico.cli.evaluation.scored_answers import build_folder
from mixedparts.errors import UsageError
from mixedparts.storage.leftovers import remove_leftovers
from mixedparts.storage.writer_lock import writing

# Options that a comparison reads. All others are of an evaluation: one that is given and ignored
# would promise something else than what is printed.
_READ = {
    "compare", "dataset", "split", "json", "markdown", "report", "report_samples", "rank_by",
    "full", "seed", "bootstrap", "quiet", "verbose",
}  # fmt: skip


def run_comparison(arguments: argparse.Namespace, defaults: Mapping[str, Any]) -> None:
    """Compare evaluations, print the table, and write what was asked for.

    Args:
        arguments: of the command.
        defaults: values of options that were not given.

    Raises:
        UsageError: an option has no meaning here, or the evaluations cannot be compared.
        InputError: an evaluation, its tables, or the dataset of the report cannot be read.
    """
    for name, value in vars(arguments).items():
        if name not in _READ and value != defaults.get(name):
            option = name.replace("_", "-")
            raise UsageError(
                f"--{option} has no meaning with --compare, which reads finished evaluations",
                "Type: calico-eval --compare FIRST.json SECOND.json [--json FILE] [--report DIR]",
            )
    from calico.evaluation.report import write_json, write_text
    from calico.evaluation.tables.comparison import as_text, compare_runs, document, read_runs
    from mixedparts.storage.build_folder import BuildFolder

    runs = read_runs(arguments.compare)
    split = str(runs[0].metadata["dataset"]["split"])
    if arguments.split not in (split, defaults["split"]):
        raise UsageError(
            f"the evaluations are of the split {split}, not of {arguments.split}",
            "Leave out --split: the evaluations name it.",
        )
    opened = None
    if arguments.report is not None:
        # Before the bootstrap: a dataset that is not there must not cost its time.
        opened = BuildFolder.open(build_folder(arguments.dataset, split, images=True))
        check_build(opened, runs[0])
    comparison = compare_runs(runs, arguments.seed, arguments.bootstrap, arguments.rank_by)
    text = as_text(comparison, arguments.full)
    print(text)
    with ExitStack() as locks:
        for path in (*output_files(arguments), *output_folders(arguments)):
            locks.enter_context(writing(path))
        if arguments.json is not None:
            remove_leftovers(arguments.json.parent, arguments.json.name)
            write_json(arguments.json, document(comparison))
        if arguments.markdown is not None:
            remove_leftovers(arguments.markdown.parent, arguments.markdown.name)
            write_text(arguments.markdown, f"# Comparison of evaluations\n\n{text}\n")
        if opened is not None:
            remove_leftovers(arguments.report)
            write_comparison_report(arguments, opened, comparison)
