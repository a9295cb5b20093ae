"""What `calico-eval` writes beside its tables: scores of samples and regions, and the report."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calico.cli.options import positive
from mixedparts.errors import EnvironmentFault, UsageError
from mixedparts.settings.local_paths import local_path

if TYPE_CHECKING:
    from calico.cli.evaluation.result import Result
    from calico.evaluation.tables.collect import ScoreRecorder

# Metrics that a sample has alone: the keys of `calico.evaluation.summary.RATIOS`, written again for
# --help without imports.
RANKS = ("miou_strict", "miou", "recall_fixed", "recall_glamm", "label_f1", "label_precision",
         "label_recall", "ss_a", "ss_b", "ss_c", "s_iou_a", "s_iou_b", "s_iou_c")  # fmt: skip

# Names in the folders of the report and of the scores.
_OWN = re.compile(r"index\.html|figures|(samples|regions)(-.+)?\..+")


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for what is written."""
    add = parser.add_argument
    add("--json", type=local_path, metavar="FILE", help="write all metrics and variants here")
    add(
        "--markdown", type=local_path, metavar="FILE", help="write the tables and their inputs here"
    )
    add(
        "--scores",
        type=local_path,
        metavar="DIR",
        help="keep the scores of every sample and region here, as Parquet (with --json NAME.json:"
        " NAME.scores beside it)",
    )
    add(
        "--report",
        type=local_path,
        metavar="DIR",
        help="write an HTML report with figures and the worst, median and best samples",
    )
    add(
        "--report-samples",
        type=positive,
        default=24,
        metavar="N",
        help="worst samples on the report's page; half as many median and best ones (24)",
    )
    add(
        "--rank-by",
        choices=RANKS,
        default=RANKS[0],
        metavar="METRIC",
        help="metric of a sample by which the report and --compare order samples:"
        f" {', '.join(RANKS)} ({RANKS[0]})",
    )
    add("--full", action="store_true", help="print all variants of all groups with intervals")


def check_output_file(path: Path) -> None:
    """Check before any work that a file can be written.

    Raises:
        UsageError: the path is a folder.
        EnvironmentFault: there is no permission.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not a file to write")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise EnvironmentFault(f"{path} cannot be written: no permission in {above}")


def output_files(arguments: argparse.Namespace) -> list[Path]:
    """Return the files that are written.

    Raises:
        UsageError: two options name one file, or one names a file of the scores or of the report;
            what is written first would be lost.
    """
    options = {"--json": arguments.json, "--markdown": arguments.markdown}
    options["--save-predictions"] = arguments.save_predictions
    files = {option: path for option, path in options.items() if path is not None}
    seen: dict[Path, str] = {}
    for option, path in files.items():
        if (other := seen.setdefault(path.resolve(), option)) != option:
            raise UsageError(f"{other} and {option} are one file, {path}")
    for folder in output_folders(arguments):
        for option, path in files.items():
            if path.resolve().parent == folder.resolve() and _OWN.fullmatch(path.name):
                raise UsageError(
                    f"{option} {path} is a file that is written to {folder} anyway",
                    f"Give another name: {option} {path.with_suffix('.other')}",
                )
    return list(files.values())


def output_folders(arguments: argparse.Namespace) -> list[Path]:
    """Return the folders that are written, each once.

    Raises:
        UsageError: the scores and the report have one folder.
    """
    folders = [folder for folder in (scores_folder(arguments), arguments.report) if folder]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError(f"{folders[0]} cannot be the folder of the scores and of the report")
    return folders


def scores_folder(arguments: argparse.Namespace) -> Path | None:
    """Return the folder of the tables of scores, None where none are kept."""
    # The JSON of a comparison has no tables of its own.
    if arguments.scores is not None or arguments.json is None or arguments.compare is not None:
        folder: Path | None = arguments.scores
        return folder
    from calico.evaluation.tables.folder import default_folder

    return default_folder(arguments.json)


def keep_scores(
    arguments: argparse.Namespace, results: Sequence[Result], run: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the tables of scores.

    Args:
        arguments: of the command.
        results: the predictions, then the baselines.
        run: metadata of the evaluation.

    Returns:
        What the JSON says about them: folder, relative to the JSON, and digests, for each baseline
        too.

    Raises:
        EnvironmentFault: a file cannot be written.
    """
    from calico.evaluation.tables.folder import remove_baselines, write_scores

    folder = scores_folder(arguments)
    assert folder is not None
    remove_baselines(folder)
    main, *baselines = (
        write_scores(
            folder,
            result.rows,
            {**run, "predictions": dict(result.origin)},
            result.scored.name if place else None,
        )
        for place, result in enumerate(results)
        if result.rows is not None
    )
    beside = folder if arguments.json is None else _relative(folder, arguments.json.parent)
    named = zip((result.scored.name for result in results[1:]), baselines, strict=True)
    return {"folder": str(beside), **main, "baselines": dict(named)}


def _relative(folder: Path, start: Path) -> Path:
    try:
        return Path(os.path.relpath(folder.resolve(), start.resolve()))
    except ValueError:  # another drive of Windows
        return folder.resolve()


def recorder(arguments: argparse.Namespace, split: str) -> ScoreRecorder | None:
    """Return what collects the rows of the tables, None where nothing needs them."""
    if scores_folder(arguments) is None and arguments.report is None:
        return None
    from calico.evaluation.tables.collect import ScoreRecorder

    return ScoreRecorder(split)
