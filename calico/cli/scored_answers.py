"""Where the answers come from that `calico-eval` scores: a checkpoint, a file or a baseline."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calico.cli.options import feature_cache, search_options
from mixedparts.errors import InputError

if TYPE_CHECKING:
    from calico.evaluation.ground_truth import SampleGroundTruth, SplitGroundTruth
    from calico.evaluation.prediction_cache import PredictionCache
    from calico.predictions.types import Prediction
    from mixedparts.storage.build_folder import BuildFolder

BASELINE_NAMES = ("most-frequent", "other-image", "wrong-labels", "boxes", "oracle")


def check_input(arguments: argparse.Namespace) -> None:
    """Refuse a checkpoint, file or device that is not there before anything is loaded."""
    folder: Path | None = arguments.checkpoint
    if folder is not None:
        from calico.checkpoints.save_load import find_checkpoint
        from calico.runtime.device import choose_device

        find_checkpoint(folder)
        choose_device(arguments.device)
    elif arguments.predictions not in BASELINE_NAMES and not Path(arguments.predictions).is_file():
        raise InputError(
            f"there is no predictions file {arguments.predictions}",
            f"Give a JSON-lines file (docs/evaluation.md) or one of: {', '.join(BASELINE_NAMES)}.",
        )


def answers_to_score(
    arguments: argparse.Namespace, build: BuildFolder, ground_truth: SplitGroundTruth
) -> tuple[dict[str, Prediction], dict[str, Any]]:
    """Return what is to be scored by sample id, and where it comes from."""
    if arguments.checkpoint is not None:
        return _from_checkpoint(arguments, build, ground_truth)
    if arguments.predictions in BASELINE_NAMES:
        found = baseline_answers(arguments.predictions, build, ground_truth.samples)
        return found, {"name": arguments.predictions, "kind": "baseline"}
    from calico.predictions.files import read_predictions

    path = Path(arguments.predictions)
    found = read_predictions(path, ground_truth.sizes(), ground_truth.others)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return found, {"name": path.name, "kind": "file", "digest": digest}


def baseline_answers(
    name: str, build: BuildFolder, samples: Sequence[SampleGroundTruth]
) -> dict[str, Prediction]:
    """Return what a baseline says, by sample id."""
    from calico.evaluation.baselines import BASELINES

    return {answer.id: answer for answer in BASELINES[name](build, samples)}


def _from_checkpoint(
    arguments: argparse.Namespace, build: BuildFolder, ground_truth: SplitGroundTruth
) -> tuple[dict[str, Prediction], dict[str, Any]]:
    from calico.checkpoints.digests import folder_digest
    from calico.checkpoints.save_load import find_checkpoint
    from calico.inference.predictor import Predictor
    from mixedparts.loading import load_dataset
    from mixedparts.progress import terminal_progress

    place = find_checkpoint(arguments.checkpoint)
    metadata = {"name": place.name, "kind": "checkpoint", "digest": folder_digest(place)}
    predictor = Predictor.from_pretrained(place, arguments.device)
    cache = feature_cache(arguments)
    if cache is not None:
        predictor.use_cache(cache)
    chosen = search_options(arguments)
    if chosen:
        predictor.configure(chosen)
    table = load_dataset(arguments.dataset, config="pairs", split=ground_truth.split)

    kept = _kept(arguments, build, ground_truth, metadata["digest"], chosen)
    found = {answer.id: answer for answer in (kept.begin(ground_truth.samples) if kept else ())}
    for answer in found.values():
        predictor.outcomes.count(answer)

    def rows() -> Iterator[Any]:
        for position in ground_truth.rows[len(found) :]:
            yield table[position]

    progress = terminal_progress()
    if found:
        progress.log(f"going on after {len(found)} of {len(ground_truth.rows)} samples")
    progress.start("predicting", len(ground_truth.rows) - len(found), "samples")
    for prediction in predictor.predict_rows(rows(), batch_size=arguments.batch_size):
        found[prediction.id] = prediction
        if kept:
            kept.add(prediction)
        progress.advance()
    progress.finish()
    return found, {**metadata, "changed": chosen, "outcomes": asdict(predictor.outcomes)}


def _kept(
    arguments: argparse.Namespace,
    build: BuildFolder,
    ground_truth: SplitGroundTruth,
    digest: str,
    chosen: dict[str, Any],
) -> PredictionCache | None:
    """Return where answers are kept as they come, if they are to be saved."""
    if arguments.save_predictions is None:
        return None
    from calico.evaluation.prediction_cache import PredictionCache

    origin = {
        "dataset": build.build_id,
        "split": ground_truth.split,
        "limit": arguments.limit,
        "checkpoint": digest,
        "generation": chosen,
    }
    return PredictionCache(arguments.save_predictions, origin, arguments.batch_size)
