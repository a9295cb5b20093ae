"""Answers that `calico-eval` scores: from a checkpoint, a predictions file or a baseline."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calico.cli.options import feature_cache, read_device_map, search_options
from mixedparts.errors import InputError, near_names
from mixedparts.files.opening import is_there, open_file
from mixedparts.storage.shards import sha256_of

if TYPE_CHECKING:
    from calico.evaluation.ground_truth import SampleGroundTruth, SplitGroundTruth
    from calico.evaluation.prediction_cache import PredictionCache
    from calico.inference.queries import Query
    from calico.predictions.types import Prediction
    from mixedparts.storage.build_folder import BuildFolder

# The keys of `calico.evaluation.baselines.BASELINES`, written again for --help without imports.
BASELINE_NAMES = ("most-frequent", "other-image", "wrong-labels", "boxes", "oracle")


def check_input(arguments: argparse.Namespace) -> None:
    """Check that checkpoint, file and device exist, before anything is loaded.

    Raises:
        InputError: there is no such checkpoint or file.
        UsageError: there is no such kind of device.
        EnvironmentFault: this machine has no such device.
    """
    folder: Path | None = arguments.checkpoint
    if folder is not None:
        from calico.checkpoints.save_load import find_checkpoint
        from calico.runtime.device import choose_device

        find_checkpoint(folder)
        choose_device(arguments.device)
    elif arguments.predictions not in BASELINE_NAMES:
        path = Path(arguments.predictions)
        hint = (
            f"Give a JSON-lines file (docs/evaluation.md) or one of: {', '.join(BASELINE_NAMES)}."
        )
        if not is_there(path):
            near = near_names(arguments.predictions, BASELINE_NAMES)
            raise InputError(
                f"there is no predictions file {path}{'.' if near else ''}{near}", hint
            )
        open_file(path, "the predictions file", hint).close()


def build_folder(name: str | None, split: str, images: bool = False) -> Path:
    """Return the folder of a build; of a build on the Hub, download what scoring needs.

    Args:
        name: of the dataset, as --dataset takes it.
        split: that is scored.
        images: download the images too, which a report shows.

    Returns:
        The folder.

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

    # The train split is for the most-frequent baseline. Scores alone need no images.
    wanted = [MANIFEST, shard_pattern("pairs", split), shard_pattern("pairs", "train")]
    wanted += [shard_pattern("images", "*")] if images else []
    try:
        return Path(snapshot_download(place, repo_type="dataset", allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"the dataset '{place}' cannot be fetched from the Hub: {reason}",
            "Give a build folder with --dataset, or look at the id and the connection.",
        ) from error


def answers_to_score(
    arguments: argparse.Namespace, build: BuildFolder, ground_truth: SplitGroundTruth
) -> tuple[dict[str, Prediction], dict[str, Any]]:
    """Return the answers to score and their metadata.

    Args:
        arguments: of the command.
        build: the dataset.
        ground_truth: of the samples to score.

    Returns:
        Predictions by sample id; name, kind and digest of their origin as JSON values.

    Raises:
        InputError: checkpoint, predictions file or dataset cannot be read.
        UsageError: an option cannot work, or cached answers are of another origin.
        EnvironmentFault: this machine has no such device, or a file cannot be written.
    """
    if arguments.checkpoint is not None:
        return _from_checkpoint(arguments, build, ground_truth)
    if arguments.predictions in BASELINE_NAMES:
        answers = baseline_answers(arguments.predictions, build, ground_truth.samples)
        return answers, {"name": arguments.predictions, "kind": "baseline"}
    from calico.predictions.files import read_predictions
    from calico.predictions.types import SYNTHETIC_KEY, SYNTHETIC_NOTE

    path = Path(arguments.predictions)
    answers = read_predictions(path, ground_truth.sizes(), ground_truth.others)
    # The digest names the file in reports: its name alone may be reused.
    metadata: dict[str, Any] = {"name": path.name, "kind": "file", "digest": sha256_of(path)}
    if any(answer.synthetic for answer in answers.values()):
        print(f"note: the model of {path} {SYNTHETIC_NOTE}", file=sys.stderr)
        metadata[SYNTHETIC_KEY] = True
    return answers, metadata


def baseline_answers(
    name: str, build: BuildFolder, samples: Sequence[SampleGroundTruth]
) -> dict[str, Prediction]:
    """Return the answers of a baseline by sample id.

    Args:
        name: one of `BASELINE_NAMES`.
        build: the dataset.
        samples: to answer.

    Returns:
        One prediction a sample.

    Raises:
        UsageError: the baseline needs a split that the build does not have.
        InputError: a shard cannot be read.
    """
    from calico.evaluation.baselines import BASELINES

    return {answer.id: answer for answer in BASELINES[name](build, samples)}


def _from_checkpoint(
    arguments: argparse.Namespace, build: BuildFolder, ground_truth: SplitGroundTruth
) -> tuple[dict[str, Prediction], dict[str, Any]]:
    from calico.checkpoints.digests import check_digests, folder_digest
    from calico.checkpoints.save_load import find_checkpoint
    from calico.inference.predictor import Predictor
    from calico.predictions.types import SYNTHETIC_KEY
    from mixedparts.loading import load_dataset
    from mixedparts.progress import terminal_progress

    place = find_checkpoint(arguments.checkpoint)
    if arguments.verify:
        check_digests(place)
    metadata: dict[str, Any] = {"name": place.name, "kind": "checkpoint"}
    metadata["digest"] = folder_digest(place)
    predictor = Predictor.from_pretrained(place, arguments.device, **read_device_map(arguments))
    cache = feature_cache(arguments)
    if cache is not None:
        predictor.use_cache(cache)
    chosen = search_options(arguments)
    if chosen:
        predictor.configure(chosen)
    table = load_dataset(arguments.dataset, config="pairs", split=ground_truth.split)

    stored = _prediction_cache(arguments, build, ground_truth, metadata["digest"], chosen)
    cached = stored.begin(ground_truth.samples) if stored else []
    answers = {answer.id: answer for answer in cached}
    # Outcomes of an interrupted evaluation count too, so that the report is the same.
    for answer in cached:
        predictor.outcomes.count(answer)
    # Cached answers are of the first samples, in the order of `rows`.
    remaining = ground_truth.rows[len(cached) :]

    progress = terminal_progress(arguments.quiet)
    if cached:
        progress.log(f"continuing after {len(cached)} of {len(ground_truth.rows)} samples")
    progress.start("predicting", len(remaining), "samples")
    queries = predictor.prepared(partial(_query, table), remaining)
    for prediction in predictor.predict(queries, batch_size=arguments.batch_size):
        answers[prediction.id] = prediction
        if stored:
            stored.add(prediction)
        progress.advance()
    progress.finish()
    metadata[SYNTHETIC_KEY] = any(answer.synthetic for answer in answers.values())
    metadata["changed"] = chosen
    return answers, {**metadata, "outcomes": asdict(predictor.outcomes)}


def _query(table: Any, position: int) -> Query:
    """Return the question of a row of a table of pairs, with its images."""
    from calico.inference.queries import row_query

    return row_query(table[position])


def _prediction_cache(
    arguments: argparse.Namespace,
    build: BuildFolder,
    ground_truth: SplitGroundTruth,
    digest: str,
    chosen: dict[str, Any],
) -> PredictionCache | None:
    """Return the cache of answers, None without --save-predictions."""
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
