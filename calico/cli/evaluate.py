"""`calico-eval`: score a checkpoint or a predictions file on a split of a built dataset."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calico.cli.options import (
    add_cache_options,
    add_device_option,
    add_search_options,
    add_verify_option,
    positive,
)
from calico.cli.scored_answers import (
    BASELINE_NAMES,
    answers_to_score,
    baseline_answers,
    check_input,
)
from mixedparts.errors import EnvironmentFault, InputError, UsageError
from mixedparts.exit_codes import run_command
from mixedparts.settings.local_paths import local_path
from mixedparts.storage.leftovers import remove_leftovers
from mixedparts.storage.writer_lock import writing

if TYPE_CHECKING:
    from calico.evaluation.ground_truth import SplitGroundTruth
    from calico.evaluation.report import Scored
    from calico.evaluation.text import TextModel
    from calico.predictions.types import Prediction
    from mixedparts.storage.build_folder import BuildFolder

_INTERRUPTED = 130
_EXAMPLES = """examples:
  calico-eval --dataset mixedparts --checkpoint runs/tiny --json result.json --markdown result.md
  calico-eval --dataset mixedparts --checkpoint runs/tiny --split test --save-predictions p.jsonl
  calico-eval --dataset mixedparts --predictions p.jsonl --split test --baselines all
  calico-eval --dataset mixedparts --predictions oracle"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _command(arguments))


def _command(arguments: argparse.Namespace) -> int:
    try:
        _run(arguments)
    except KeyboardInterrupt:
        # Only answers of a checkpoint take long enough to be cached.
        resumable = arguments.checkpoint is not None and arguments.save_predictions is not None
        then = (
            "the same command goes on where it stopped"
            if resumable
            else "no result was written; with --save-predictions FILE it could go on"
        )
        print(f"interrupted; {then}", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="calico-eval",
        description="Score a CALICO checkpoint, or any model's predictions, with AP50, mIoU,"
        " Recall, SS and S-IoU. The definitions are in docs/evaluation.md.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--dataset",
        default=None,
        help="build folder, 'mixedparts' (found like mixedparts.load_dataset) or a Hub id",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--checkpoint", type=local_path, metavar="DIR", help="what calico-train wrote"
    )
    what.add_argument(
        "--predictions",
        metavar="FILE",
        help=f"JSON lines of any model, or a baseline: {', '.join(BASELINE_NAMES)}",
    )
    add("--split", default="benchmark", help="default: benchmark")
    add("--json", type=local_path, metavar="FILE", help="write all metrics and variants here")
    add(
        "--markdown", type=local_path, metavar="FILE", help="write the tables and their origin here"
    )
    add("--full", action="store_true", help="print all variants of all groups with intervals")
    add("--limit", type=positive, metavar="N", help="score N samples, spread over the split")
    add("--batch-size", type=positive, default=8, metavar="N", help="samples at once (8)")
    add_search_options(parser)
    add_cache_options(parser)
    add_device_option(parser)
    add_verify_option(parser)
    add(
        "--save-predictions",
        type=local_path,
        metavar="FILE",
        help="keep what was scored as JSON lines; an interrupted evaluation of a checkpoint then"
        " goes on where it stopped",
    )
    _add_scoring_options(parser)
    return parser


def _add_scoring_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--seed", type=int, default=0, help="of the bootstrap intervals (0)")
    add("--bootstrap", type=_draws, default=1000, metavar="N", help="draws; 0: no intervals (1000)")
    add("--text-model", default="minilm", metavar="NAME", help="of SS: minilm, folder or Hub id")
    add(
        "--recall-text-model",
        metavar="NAME",
        help="of Recall; default: that of SS; bert-base-uncased for GLaMM's Recall",
    )
    beside = parser.add_mutually_exclusive_group()
    beside.add_argument(
        "--baselines",
        nargs="+",
        metavar="NAME",
        choices=(*BASELINE_NAMES, "all"),
        default=BASELINE_NAMES[:1],
        help=f"rows beside the result: {', '.join(BASELINE_NAMES)}, or all (most-frequent)",
    )
    beside.add_argument(
        "--no-baseline", dest="baselines", action="store_const", const=(), help="no such rows"
    )


def _run(arguments: argparse.Namespace) -> None:
    outputs = _outputs(arguments)
    for path in outputs:
        _check_output(path)
    from calico.evaluation.ground_truth import read_ground_truth
    from mixedparts.storage.build_folder import BuildFolder

    build = BuildFolder.open(_resolve(arguments.dataset, arguments.split))
    ground_truth = read_ground_truth(build, arguments.split, arguments.limit)
    check_input(arguments)
    with ExitStack() as locks:
        for path in outputs:
            locks.enter_context(writing(path))
            remove_leftovers(path.parent, path.name)
        _evaluate(arguments, build, ground_truth)


def _outputs(arguments: argparse.Namespace) -> list[Path]:
    """Return the files that are written, each once: a process cannot take a lock twice."""
    given = (arguments.json, arguments.markdown, arguments.save_predictions)
    return list({path.resolve(): path for path in given if path is not None}.values())


def _evaluate(
    arguments: argparse.Namespace, build: BuildFolder, ground_truth: SplitGroundTruth
) -> None:
    from calico.evaluation import report
    from calico.evaluation.text import GLAMM_MODEL, load_text_model

    # Text models are loaded before the predictions: a missing one must not cost hours.
    recall_name = arguments.recall_text_model or arguments.text_model
    ss_model = load_text_model(arguments.text_model)
    same = recall_name == arguments.text_model
    models = (ss_model, ss_model if same else load_text_model(recall_name))
    predictions, metadata = answers_to_score(arguments, build, ground_truth)
    if arguments.save_predictions is not None:
        from calico.evaluation.prediction_cache import unfinished_part
        from calico.predictions.files import write_predictions

        # The complete file first, then the cache is removed: a kill in between loses nothing.
        write_predictions(arguments.save_predictions, predictions.values())
        unfinished_part(arguments.save_predictions).unlink(missing_ok=True)
    scored = [_score(arguments, ground_truth, predictions, models, metadata)]
    scored += _baselines(arguments, build, ground_truth, models)
    _warn(scored[0], len(ground_truth.samples))
    print(report.table(scored))
    if arguments.full:
        print("\n" + report.full_table(scored[0]))
    if arguments.json is None and arguments.markdown is None:
        return
    document = report.document(
        scored,
        {
            "dataset": {
                "build_id": build.build_id,
                "split": ground_truth.split,
                "samples": len(ground_truth.samples),
                "left_out": len(ground_truth.others),
            },
            "seed": arguments.seed,
            "bootstrap": {"replicates": arguments.bootstrap, "unit": "sample", "level": 0.95},
            "text_models": {"ss": models[0].name, "recall": models[1].name},
            "recall_text_is_glamm": recall_name.endswith(GLAMM_MODEL),
        },
    )
    if arguments.json is not None:
        report.write_json(arguments.json, document)
    if arguments.markdown is not None:
        report.write_text(arguments.markdown, report.markdown_report(scored, document))


def _resolve(name: str | None, split: str) -> Path:
    """Return the folder of a build; of a build on the Hub, download what scoring needs.

    Raises:
        InputError: the build cannot be downloaded.
    """
    from mixedparts.storage.build_folder import MANIFEST, shard_pattern
    from mixedparts.storage.locate import resolve_build

    place = resolve_build(name)
    if isinstance(place, Path):
        return place
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    # The train split is for the most-frequent baseline. Images are not needed.
    wanted = [MANIFEST, shard_pattern("pairs", split), shard_pattern("pairs", "train")]
    try:
        return Path(snapshot_download(place, repo_type="dataset", allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"the dataset '{place}' cannot be fetched from the Hub: {reason}",
            "Give a build folder with --dataset, or look at the id and the connection.",
        ) from error


def _score(
    arguments: argparse.Namespace,
    ground_truth: SplitGroundTruth,
    predictions: dict[str, Prediction],
    models: tuple[TextModel, TextModel],
    metadata: dict[str, Any],
) -> Scored:
    from calico.evaluation.report import Scored
    from calico.evaluation.scoring import score
    from calico.evaluation.summary import summarise
    from calico.predictions.types import COUNTED

    # Irregular [SEG] are counted over the scored samples only: a file may have more.
    sums = score(ground_truth.samples, predictions, *models)
    given = [predictions[sample.id] for sample in ground_truth.samples if sample.id in predictions]
    counted = {"missing": sums.missing, "segments": sums.segments}
    counted |= {name: sum(getattr(one, name) for one in given) for name in COUNTED}
    summary = summarise(sums, arguments.seed, arguments.bootstrap)
    return Scored(metadata["name"], summary, {**metadata, **counted})


def _baselines(
    arguments: argparse.Namespace,
    build: BuildFolder,
    ground_truth: SplitGroundTruth,
    models: tuple[TextModel, TextModel],
) -> list[Scored]:
    """Score the requested baselines; one that the build cannot give is reported and left out."""
    asked = BASELINE_NAMES if "all" in arguments.baselines else arguments.baselines
    rows = []
    # A build without a train split has no most-frequent baseline; the other rows are complete.
    for name in (name for name in asked if name != arguments.predictions):
        try:
            predictions = baseline_answers(name, build, ground_truth.samples)
        except UsageError as error:
            print(f"calico-eval: no row for {name}: {error.message}", file=sys.stderr)
            continue
        metadata = {"name": name, "kind": "baseline"}
        rows.append(_score(arguments, ground_truth, predictions, models, metadata))
    return rows


def _warn(scored: Scored, samples: int) -> None:
    from calico.predictions.types import COUNTED

    missing = {"missing": f"of {samples} samples have no prediction and count as empty"}
    for key, meaning in (missing | COUNTED).items():
        if scored.metadata[key]:
            print(f"calico-eval: {scored.metadata[key]} {meaning}", file=sys.stderr)


def _check_output(path: Path) -> None:
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


def _draws(text: str) -> int:
    return 0 if text == "0" else positive(text, 1_000_000)
