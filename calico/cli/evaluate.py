"""`calico-eval`: score a checkpoint or a predictions file on a split of a built dataset."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from calico.cli.evaluation.outputs import (
    add_output_options,
    check_output_file,
    keep_scores,
    output_files,
    output_folders,
    recorder,
    scores_folder,
)
from calico.cli.evaluation.reporting import check_report
from calico.cli.evaluation.scored_answers import (
    BASELINE_NAMES,
    answers_to_score,
    baseline_answers,
    build_folder,
    check_input,
)
from calico.cli.options import (
    add_cache_options,
    add_device_map_options,
    add_device_option,
    add_search_options,
    add_verify_option,
    check_output_folder,
    positive,
)
from mixedparts.errors import UsageError
from mixedparts.exit_codes import run_command
from mixedparts.records import BENCHMARK, SPLITS
from mixedparts.settings.command_parser import CommandParser, add_common_options
from mixedparts.settings.local_paths import local_path
from mixedparts.storage.leftovers import remove_leftovers
from mixedparts.storage.writer_lock import writing

if TYPE_CHECKING:
    from calico.cli.evaluation.result import Result
    from calico.evaluation.ground_truth import SplitGroundTruth
    from calico.evaluation.report import Scored
    from calico.evaluation.tables.collect import ScoreRecorder
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
    parser = _parser()
    arguments = parser.parse_args(argv)
    defaults = {name: parser.get_default(name) for name in vars(arguments)}
    return run_command(lambda: _command(arguments, defaults))


def _command(arguments: argparse.Namespace, defaults: dict[str, Any]) -> int:
    try:
        _run(arguments, defaults)
    except KeyboardInterrupt:
        # Only answers of a checkpoint take long enough to be cached.
        resumable = arguments.checkpoint is not None and arguments.save_predictions is not None
        then = (
            "run the same command again to continue"
            if resumable
            else "no result was written; with --save-predictions FILE it could continue"
        )
        print(f"interrupted; {then}", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="calico-eval",
        description="Score a CALICO checkpoint, or any model's predictions, with AP50, mIoU,"
        " Recall, SS and S-IoU. The definitions are in docs/evaluation.md.",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add(
        "--dataset",
        default=None,
        help="build folder, address, 'mixedparts' (found like mixedparts.load_dataset), Hub id",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--checkpoint", type=local_path, metavar="DIR", help="checkpoint of calico-train"
    )
    what.add_argument(
        "--predictions",
        metavar="FILE",
        help=f"JSON lines of any model, or a baseline: {', '.join(BASELINE_NAMES)}",
    )
    what.add_argument(
        "--compare",
        nargs="+",
        type=local_path,
        metavar="FILE",
        help="JSON files of two or more evaluations; the others are compared with the first",
    )
    add("--split", default="benchmark", help="split to score (benchmark)")
    parser.names["split"] = lambda: (*SPLITS, BENCHMARK)
    add_output_options(parser)
    add("--limit", type=positive, metavar="N", help="score N samples, spread over the split")
    add("--batch-size", type=positive, default=8, metavar="N", help="samples at once (8)")
    add_search_options(parser)
    add_cache_options(parser)
    add_device_option(parser)
    add_device_map_options(parser)
    add_verify_option(parser)
    add(
        "--save-predictions",
        type=local_path,
        metavar="FILE",
        help="write the scored predictions as JSON lines; an interrupted evaluation of a checkpoint"
        " then continues where it stopped",
    )
    _add_scoring_options(parser)
    add_common_options(parser)
    return parser


def _add_scoring_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--seed", type=int, default=0, help="seed of the bootstrap (0)")
    add(
        "--bootstrap",
        type=_draws,
        default=1000,
        metavar="N",
        help="its draws; 0: no intervals (1000)",
    )
    add(
        "--text-model",
        default="minilm",
        metavar="NAME",
        help="for SS: minilm, folder or Hub id (minilm)",
    )
    add(
        "--recall-text-model",
        metavar="NAME",
        help="for Recall; GLaMM's uses bert-base-uncased (that of SS)",
    )
    beside = parser.add_mutually_exclusive_group()
    beside.add_argument(
        "--baselines",
        nargs="+",
        metavar="NAME",
        choices=(*BASELINE_NAMES, "all"),
        default=BASELINE_NAMES[:1],
        help=f"baselines beside the result: {', '.join(BASELINE_NAMES)}, or all (most-frequent)",
    )
    beside.add_argument(
        "--no-baseline", dest="baselines", action="store_const", const=(), help="no baselines"
    )


def _run(arguments: argparse.Namespace, defaults: dict[str, Any]) -> None:
    outputs, folders = output_files(arguments), output_folders(arguments)
    for path in outputs:
        check_output_file(path)
    for folder in folders:
        check_output_folder(folder)
    check_report(arguments)
    if arguments.compare is not None:
        from calico.cli.evaluation.comparing import run_comparison

        run_comparison(arguments, defaults)
        return
    from calico.evaluation.ground_truth import read_ground_truth
    from mixedparts.storage.build_folder import BuildFolder

    place = build_folder(arguments.dataset, arguments.split, arguments.report is not None)
    build = BuildFolder.open(place)
    ground_truth = read_ground_truth(build, arguments.split, arguments.limit)
    check_input(arguments)
    with ExitStack() as locks:
        for path in outputs:
            locks.enter_context(writing(path))
            remove_leftovers(path.parent, path.name)
        for folder in folders:
            locks.enter_context(writing(folder))
            remove_leftovers(folder)
        _evaluate(arguments, build, ground_truth)


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
    rows = recorder(arguments, ground_truth.split)
    main = _score(arguments, ground_truth, predictions, models, metadata, rows)
    results = [main, *_baselines(arguments, build, ground_truth, models)]
    scored = [result.scored for result in results]
    _warn(scored[0], len(ground_truth.samples))
    print(report.table(scored))
    if arguments.full:
        print("\n" + report.full_table(scored[0]))
    run = {
        "dataset": {
            "build_id": build.build_id,
            "split": ground_truth.split,
            "samples": len(ground_truth.samples),
            "left_out": len(ground_truth.others),
        },
        "synthetic_dataset": build.synthetic,
        "seed": arguments.seed,
        "bootstrap": {"replicates": arguments.bootstrap, "unit": "sample", "level": 0.95},
        "text_models": {"ss": models[0].name, "recall": models[1].name},
        "recall_text_is_glamm": recall_name.endswith(GLAMM_MODEL),
    }
    if scores_folder(arguments) is not None:
        run["scores"] = keep_scores(arguments, results, run)
    document = report.document(scored, run)
    if arguments.json is not None:
        report.write_json(arguments.json, document)
    if arguments.markdown is not None:
        report.write_text(arguments.markdown, report.markdown_report(scored, document))
    if arguments.report is not None:
        from calico.cli.evaluation.reporting import write_report

        write_report(arguments, build, ground_truth.split, results, predictions)


def _score(
    arguments: argparse.Namespace,
    ground_truth: SplitGroundTruth,
    predictions: dict[str, Prediction],
    models: tuple[TextModel, TextModel],
    metadata: dict[str, Any],
    rows: ScoreRecorder | None,
) -> Result:
    from calico.cli.evaluation.result import Result
    from calico.evaluation.report import Scored
    from calico.evaluation.scoring import score
    from calico.evaluation.summary import summarise
    from calico.predictions.types import COUNTED

    # Irregular [SEG] are counted over the scored samples only: a file may have more.
    sums = score(ground_truth.samples, predictions, *models, rows.record if rows else None)
    given = [predictions[sample.id] for sample in ground_truth.samples if sample.id in predictions]
    counted = {"missing": sums.missing, "segments": sums.segments}
    counted |= {name: sum(getattr(one, name) for one in given) for name in COUNTED}
    summary = summarise(sums, arguments.seed, arguments.bootstrap)
    return Result(
        Scored(metadata["name"], summary, {**metadata, **counted}),
        sums,
        rows.finish(sums, ground_truth.samples, predictions) if rows else None,
        metadata,
    )


def _baselines(
    arguments: argparse.Namespace,
    build: BuildFolder,
    ground_truth: SplitGroundTruth,
    models: tuple[TextModel, TextModel],
) -> list[Result]:
    """Score the requested baselines; one that the build cannot give is reported and left out."""
    asked = BASELINE_NAMES if "all" in arguments.baselines else arguments.baselines
    results = []
    # A build without a train split has no most-frequent baseline; the other rows are complete.
    for name in (name for name in asked if name != arguments.predictions):
        try:
            predictions = baseline_answers(name, build, ground_truth.samples)
        except UsageError as error:
            print(f"calico-eval: no row for {name}: {error.message}", file=sys.stderr)
            continue
        metadata = {"name": name, "kind": "baseline"}
        # The report shows metrics of baselines alone, so that only tables need their rows.
        rows = None if scores_folder(arguments) is None else recorder(arguments, ground_truth.split)
        results.append(_score(arguments, ground_truth, predictions, models, metadata, rows))
    return results


def _warn(scored: Scored, samples: int) -> None:
    from calico.predictions.types import COUNTED

    missing = {"missing": f"of {samples} samples have no prediction and count as empty"}
    for key, meaning in (missing | COUNTED).items():
        if scored.metadata[key]:
            print(f"calico-eval: {scored.metadata[key]} {meaning}", file=sys.stderr)


def _draws(text: str) -> int:
    return 0 if text == "0" else positive(text, 1_000_000)
