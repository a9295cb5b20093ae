"""`calico-eval --report`: the page of an evaluation and of a comparison."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mixedparts.errors import UsageError
from mixedparts.progress import Progress, terminal_progress

if TYPE_CHECKING:
    from calico.cli.evaluation.result import Result
    from calico.evaluation.tables.comparison import Comparison, Run
    from calico.predictions.types import Prediction
    from mixedparts.storage.build_folder import BuildFolder
    from mixedparts.viewer import WrittenPage


def check_report(arguments: argparse.Namespace) -> None:
    """Check before any work that figures can be drawn.

    Raises:
        EnvironmentFault: matplotlib is not installed.
    """
    if arguments.report is not None:
        from mixedparts.reports.plots.style import load_matplotlib

        load_matplotlib()


def write_report(
    arguments: argparse.Namespace,
    build: BuildFolder,
    split: str,
    results: Sequence[Result],
    predictions: Mapping[str, Prediction],
) -> None:
    """Write the report of an evaluation.

    Args:
        arguments: of the command.
        build: the dataset.
        split: that was scored.
        results: the predictions, whose rows are kept, then the baselines.
        predictions: by sample id.

    Raises:
        InputError: an image of the dataset cannot be read.
        EnvironmentFault: a file cannot be written.
    """
    from calico.evaluation.page.write import Evaluated, ReportOptions, write_evaluation
    from calico.evaluation.tables.folder import frames_of

    main = results[0]
    assert main.rows is not None  # `recorder` keeps them for the report
    scored = [result.scored for result in results]
    evaluated = Evaluated(build, split, scored, main.table, frames_of(main.rows), predictions)
    options = ReportOptions(
        arguments.report_samples, arguments.rank_by, arguments.seed, arguments.bootstrap
    )
    written = write_evaluation(arguments.report, evaluated, options, _progress(arguments))
    _say(arguments, written)


def check_build(build: BuildFolder, run: Run) -> None:
    """Check that a build is the one that was evaluated.

    Raises:
        UsageError: it is another one.
    """
    wanted = run.metadata["dataset"]["build_id"]
    if build.build_id != wanted:
        raise UsageError(
            f"{build.path} is build {build.build_id}; the evaluations are of build {wanted}",
            "Give the folder of that build: --dataset DIR.",
        )


def write_comparison_report(
    arguments: argparse.Namespace, build: BuildFolder, comparison: Comparison
) -> None:
    """Write the report of a comparison.

    Args:
        arguments: of the command.
        build: the dataset.
        comparison: to report.

    Raises:
        InputError: an image of the dataset cannot be read.
        EnvironmentFault: a file cannot be written.
    """
    from calico.evaluation.page.write import write_comparison

    number = arguments.report_samples
    written = write_comparison(arguments.report, build, comparison, number, _progress(arguments))
    _say(arguments, written)


def _progress(arguments: argparse.Namespace) -> Progress:
    return terminal_progress(getattr(arguments, "quiet", False))


def _say(arguments: argparse.Namespace, written: WrittenPage) -> None:
    # To stderr: stdout has the tables.
    place = arguments.report / "index.html"
    print(f"{place}: {written.samples} samples, {written.bytes / 1e6:.1f} MB", file=sys.stderr)
