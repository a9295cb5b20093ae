"""Evaluation of a model in memory, which training runs between two steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from calico.config.calico import CalicoConfig
from calico.dataset.images import ImageTable
from calico.dataset.pairs import BuiltDataset
from calico.dataset.sample import Sample
from calico.evaluation.ground_truth import read_ground_truth
from calico.evaluation.scoring import score
from calico.evaluation.summary import HEADLINE, MetricGroup, summarise
from calico.evaluation.text import SentenceEncoder, TextModel, load_text_model
from calico.inference.predictor import Predictor
from calico.inference.queries import Query
from calico.model.calico import Calico
from calico.predictions.types import Prediction
from calico.processing.feature_cache import FeatureCache
from calico.processing.images import open_image
from mixedparts.progress import Progress, Silent

REPORTED = (*HEADLINE.values(), "miou_strict", "label_f1")
OVERALL = "overall"
_DIGITS = 6  # later digits of text vectors depend on which texts are encoded together


def evaluate_model(
    model: Calico,
    tokenizer: PreTrainedTokenizerBase,
    config: CalicoConfig,
    dataset: BuiltDataset,
    split: str,
    limit: int | None = None,
    *,
    text_model: TextModel | None = None,
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
) -> dict[str, dict[str, float]]:
    """Answer samples by free generation and score the answers, without a checkpoint.

    The training flags of all modules, gradients and torch's random states are unchanged afterwards.

    Args:
        model: on any device, in training or evaluation mode.
        tokenizer: that goes with it.
        config: of the model, with the options and batch size of generation.
        dataset: the build.
        split: whose samples are answered.
        limit: greatest number of samples, spread evenly over the split; None answers all.
        text_model: of SS and Recall; the packaged MiniLM by default.
        cache: of features of frozen encoders.
        progress: counts samples.

    Returns:
        Task, or "overall" for the mean over tasks, to `REPORTED` metric to its value in [0, 1]
        (SS: [-1, 1]).

    Raises:
        UsageError: the build has no such split.
        InputError: the build or one of its images cannot be read.
        EnvironmentFault: the text model cannot be loaded.
    """
    predictions = answer_samples(
        model, tokenizer, config, dataset, split, limit, cache=cache, progress=progress
    )
    return score_answers(predictions, dataset, split, limit, text_model)


def answer_samples(
    model: Calico,
    tokenizer: PreTrainedTokenizerBase,
    config: CalicoConfig,
    dataset: BuiltDataset,
    split: str,
    limit: int | None = None,
    *,
    share: tuple[int, int] = (0, 1),
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
) -> dict[str, Prediction]:
    """Answer the samples of `evaluate_model`, or the share of one of several processes.

    The training flags of all modules, gradients and torch's random states are unchanged afterwards.

    Args:
        model: as `evaluate_model`.
        tokenizer: as `evaluate_model`.
        config: as `evaluate_model`.
        dataset: as `evaluate_model`.
        split: as `evaluate_model`.
        limit: as `evaluate_model`.
        share: rank of this process and number of processes; each takes every n-th sample.
        cache: as `evaluate_model`.
        progress: counts the samples of the share.

    Returns:
        The answers by the id of their sample.

    Raises:
        UsageError: the build has no such split.
        InputError: the build or one of its images cannot be read.
    """
    rank, count = share
    rows = read_ground_truth(dataset.build, split, limit).rows[rank::count]
    progress = progress or Silent()
    predictions = {}
    with _undisturbed(model):
        predictor = Predictor(model, config, tokenizer)
        if cache is not None:
            predictor.use_cache(cache)
        progress.start(f"evaluating on {split}", len(rows), "samples")
        for prediction in predictor.predict(predictor.prepared(_Queries(dataset, split), rows)):
            predictions[prediction.id] = prediction
            progress.advance()
        progress.finish()
    return predictions


def score_answers(
    predictions: Mapping[str, Prediction],
    dataset: BuiltDataset,
    split: str,
    limit: int | None = None,
    text_model: TextModel | None = None,
) -> dict[str, dict[str, float]]:
    """Score answers of `answer_samples`, those of all processes together.

    Args:
        predictions: by the id of their sample.
        dataset: as `evaluate_model`.
        split: as `evaluate_model`.
        limit: as `evaluate_model`.
        text_model: as `evaluate_model`.

    Returns:
        As `evaluate_model`.

    Raises:
        UsageError: the build has no such split.
        InputError: the build cannot be read.
        EnvironmentFault: the text model cannot be loaded.
    """
    samples = read_ground_truth(dataset.build, split, limit).samples
    # Loading the text model may draw random numbers.
    with torch.random.fork_rng(devices=[]):
        encoder = text_model or _packaged_text_model()
    # No bootstrap: intervals would take longer than the metrics themselves.
    summary = summarise(score(samples, predictions, encoder, encoder), replicates=0)
    return {OVERALL: _values(summary.overall)} | {
        task: _values(group) for task, group in summary.tasks.items()
    }


def _values(group: MetricGroup) -> dict[str, float]:
    return {metric: round(group.metrics[metric].value, _DIGITS) for metric in REPORTED}


class _Queries:
    """Makes the questions of rows of a split with their images, in any process."""

    def __init__(self, dataset: BuiltDataset, split: str) -> None:
        self._dataset = dataset
        self._pairs = dataset.pairs(split)
        # Rows of one split may show images of another: each reference names the split of its image.
        self._tables: dict[str, ImageTable] = {}

    def __call__(self, row: int) -> Query:
        sample: Sample = self._pairs[row]
        return Query(
            id=sample.id,
            question=sample.question,
            images=tuple(
                open_image(self._table(ref.split).read(ref.row), f"{ref.image_id} of {ref.split}")
                for ref in sample.images
            ),
            keys=tuple(f"{ref.split}/{ref.row}" for ref in sample.images),
        )

    def _table(self, split: str) -> ImageTable:
        if split not in self._tables:
            self._tables[split] = self._dataset.images(split)
        return self._tables[split]


@lru_cache(maxsize=1)
def _packaged_text_model() -> SentenceEncoder:
    """Return the default text model, loaded once a process."""
    return load_text_model()


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode inside the `with` block; restore flags and random states after it."""
    # Flag by flag: `train()` afterwards would also switch on parts that are frozen.
    flags = {module: module.training for module in model.modules()}
    weights = model.parameters()
    devices = {weight.device for weight in weights if weight.device.type == "cuda"}
    model.eval()
    try:
        with torch.random.fork_rng(devices=sorted(devices, key=str)):
            yield
    finally:
        for module, training in flags.items():
            module.training = training
